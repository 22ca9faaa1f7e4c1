package strictyaml

import (
	"encoding/json"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Kind is what a node is.
type Kind int

// The kinds of nodes.
const (
	Null Kind = iota
	Bool
	Number
	String
	Sequence
	Mapping
)

// String names a kind in a fault's words.
func (k Kind) String() string {
	return [...]string{"nothing", "true or false", "a number", "a string", "a list", "a mapping"}[k]
}

// Node is one value of a document.
type Node struct {
	Kind    Kind
	Line    int
	Text    string  // a scalar as it is written; of a string, its value
	JSON    string  // of a number: as JSON writes it, without loss; empty for what JSON can't say
	Items   []*Node // of a sequence
	Entries []Entry // of a mapping, in the order of the file
}

// Entry is one key of a mapping.
type Entry struct {
	Key   string
	Line  int
	Value *Node
}

// jsonNumber is a number that YAML and JSON write alike.
var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// converter makes Nodes of a parser's tree.
type converter struct {
	anchors map[string]*Node
	nodes   int // how many more there may be
}

func (c *converter) node(in ast.Node, depth int) (*Node, *Fault) {
	line := in.GetToken().Position.Line
	if c.nodes--; c.nodes < 0 {
		return nil, &Fault{Line: line, Text: "holds too many values"}
	}
	if depth > maxDepth {
		return nil, &Fault{Line: line, Text: "nests too deep"}
	}
	switch n := in.(type) {
	case *ast.MappingNode:
		return c.mapping(line, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(line, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		return c.sequence(line, n.Values, depth)
	case *ast.AnchorNode:
		return c.anchor(n, depth)
	case *ast.AliasNode:
		return c.alias(n)
	case *ast.TagNode:
		return c.tag(n)
	}
	if node := scalar(in); node != nil {
		return node, nil
	}
	return nil, &Fault{Line: line, Text: "isn't YAML that is understood here"}
}

func scalar(in ast.Node) *Node {
	node := &Node{Line: in.GetToken().Position.Line, Text: in.GetToken().Value}
	switch n := in.(type) {
	case *ast.NullNode:
		node.Kind = Null
	case *ast.BoolNode:
		node.Kind = Bool
		node.Text = strconv.FormatBool(n.Value)
	case *ast.IntegerNode:
		node.Kind = Number
		node.JSON = numberJSON(node.Text, n.Value)
	case *ast.FloatNode:
		node.Kind = Number
		node.JSON = numberJSON(node.Text, n.Value)
	case *ast.InfinityNode, *ast.NanNode:
		node.Kind = Number
	case *ast.StringNode:
		// An integer beyond 64 bits comes as a plain string.
		if n.Token.Type == token.StringType && jsonNumber.MatchString(n.Value) {
			return &Node{Kind: Number, Line: node.Line, Text: n.Value, JSON: n.Value}
		}
		node.Kind, node.Text = String, n.Value
	case *ast.LiteralNode:
		node.Kind, node.Text = String, n.Value.Value
	default:
		return nil
	}
	return node
}

func numberJSON(text string, value any) string {
	if jsonNumber.MatchString(text) {
		return text
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return ""
	}
	return string(encoded)
}

func (c *converter) mapping(line int, values []*ast.MappingValueNode, depth int) (*Node, *Fault) {
	node := &Node{Kind: Mapping, Line: line}
	seen := make(map[string]int, len(values))
	for _, value := range values {
		at := value.Key.GetToken().Position.Line
		if value.Key.IsMergeKey() {
			return nil, &Fault{Line: at, Text: "merge keys (<<) aren't supported: write the keys out"}
		}
		key := scalar(keyNode(value.Key))
		if key == nil {
			return nil, &Fault{Line: at, Text: "a key must be a plain word"}
		}
		if before, twice := seen[key.Text]; twice {
			return nil, &Fault{Line: at, Text: "key " + quote(key.Text) + " is there already, in line " + strconv.Itoa(before)}
		}
		seen[key.Text] = at
		child, fault := c.node(value.Value, depth+1)
		if fault != nil {
			return nil, fault
		}
		node.Entries = append(node.Entries, Entry{Key: key.Text, Line: at, Value: child})
	}
	return node, nil
}

// keyNode is what stands behind an explicit "? ".
func keyNode(key ast.MapKeyNode) ast.Node {
	if explicit, ok := key.(*ast.MappingKeyNode); ok {
		return explicit.Value
	}
	return key
}

func (c *converter) sequence(line int, values []ast.Node, depth int) (*Node, *Fault) {
	node := &Node{Kind: Sequence, Line: line, Items: make([]*Node, 0, len(values))}
	for _, value := range values {
		child, fault := c.node(value, depth+1)
		if fault != nil {
			return nil, fault
		}
		node.Items = append(node.Items, child)
	}
	return node, nil
}

func (c *converter) anchor(n *ast.AnchorNode, depth int) (*Node, *Fault) {
	node, fault := c.node(n.Value, depth+1)
	if fault == nil {
		c.anchors[n.Name.GetToken().Value] = node
	}
	return node, fault
}

// alias shares what its anchor names, and pays for a copy: whoever walks the
// tree afterwards meets every copy.
func (c *converter) alias(n *ast.AliasNode) (*Node, *Fault) {
	line := n.GetToken().Position.Line
	node, known := c.anchors[n.Value.GetToken().Value]
	if !known {
		return nil, &Fault{Line: line, Text: "alias without an anchor before it"}
	}
	size, depth := node.size()
	if c.nodes -= size; c.nodes < 0 || depth > maxDepth {
		return nil, &Fault{Line: line, Text: "aliases multiply to too many values"}
	}
	return node, nil
}

// size counts the values below a node, and how deep they nest.
func (n *Node) size() (values, depth int) {
	values = 1
	count := func(child *Node) {
		v, d := child.size()
		values, depth = values+v, max(depth, d+1)
	}
	for _, item := range n.Items {
		count(item)
	}
	for _, entry := range n.Entries {
		count(entry.Value)
	}
	return values, depth
}

// tag accepts !!str of a scalar, which is how YAML says "not a number".
func (c *converter) tag(n *ast.TagNode) (*Node, *Fault) {
	node := scalar(n.Value)
	if n.GetToken().Value != "!!str" || node == nil {
		return nil, &Fault{Line: n.GetToken().Position.Line, Text: "tags aren't supported"}
	}
	node.Kind, node.JSON = String, ""
	return node, nil
}

package strictyaml

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
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
	done  map[*yaml.Node]*Node // what has an anchor
	nodes int                  // how many more there may be
}

func (c *converter) node(in *yaml.Node, depth int) (node *Node, fault *Fault) {
	if c.nodes--; c.nodes < 0 {
		return nil, &Fault{Line: in.Line, Text: "holds too many values"}
	}
	if depth > maxDepth {
		return nil, &Fault{Line: in.Line, Text: fmt.Sprintf("nests deeper than %d", maxDepth)}
	}
	if in.Style&yaml.TaggedStyle != 0 && (in.Kind != yaml.ScalarNode || in.ShortTag() != "!!str") {
		return nil, &Fault{Line: in.Line, Text: "tags aren't supported"}
	}
	switch in.Kind {
	case yaml.MappingNode:
		node, fault = c.mapping(in, depth)
	case yaml.SequenceNode:
		node, fault = c.sequence(in, depth)
	case yaml.AliasNode:
		return c.alias(in, depth)
	default:
		node = scalar(in)
	}
	if in.Anchor != "" && fault == nil {
		c.done[in] = node
	}
	return node, fault
}

func scalar(in *yaml.Node) *Node {
	node := &Node{Kind: String, Line: in.Line, Text: in.Value}
	switch in.ShortTag() {
	case "!!null":
		node.Kind = Null
	case "!!bool":
		node.Kind, node.Text = Bool, strings.ToLower(in.Value)
	case "!!int", "!!float":
		node.Kind, node.JSON = Number, numberJSON(in)
	}
	return node
}

// numberJSON keeps what YAML and JSON write alike, and translates the rest: 0x10, .5.
func numberJSON(in *yaml.Node) string {
	if jsonNumber.MatchString(in.Value) {
		return in.Value
	}
	var value any
	if err := in.Decode(&value); err != nil {
		return ""
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return "" // infinity and NaN
	}
	return string(encoded)
}

func (c *converter) mapping(in *yaml.Node, depth int) (*Node, *Fault) {
	node := &Node{Kind: Mapping, Line: in.Line}
	seen := make(map[string]int, len(in.Content)/2)
	for pair := range slices.Chunk(in.Content, 2) {
		key := pair[0]
		before, twice := seen[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			return nil, &Fault{Line: key.Line, Text: "a key must be a plain word"}
		case key.ShortTag() == "!!merge":
			return nil, &Fault{Line: key.Line, Text: "merge keys (<<) aren't supported: write the keys out"}
		case twice:
			return nil, &Fault{Line: key.Line, Text: fmt.Sprintf("key %s is there already, in line %d", quote(key.Value), before)}
		}
		seen[key.Value] = key.Line
		child, fault := c.node(pair[1], depth+1)
		if fault != nil {
			return nil, fault
		}
		node.Entries = append(node.Entries, Entry{Key: key.Value, Line: key.Line, Value: child})
	}
	return node, nil
}

func (c *converter) sequence(in *yaml.Node, depth int) (*Node, *Fault) {
	node := &Node{Kind: Sequence, Line: in.Line, Items: make([]*Node, 0, len(in.Content))}
	for _, item := range in.Content {
		child, fault := c.node(item, depth+1)
		if fault != nil {
			return nil, fault
		}
		node.Items = append(node.Items, child)
	}
	return node, nil
}

// alias shares what its anchor names, and pays for a copy: whoever walks the
// tree afterwards meets every copy.
func (c *converter) alias(in *yaml.Node, depth int) (*Node, *Fault) {
	node, known := c.done[in.Alias]
	if !known {
		return nil, &Fault{Line: in.Line, Text: "an alias inside of what it names"}
	}
	size, below := node.size()
	if c.nodes -= size; c.nodes < 0 || depth+below > maxDepth {
		return nil, &Fault{Line: in.Line, Text: "aliases multiply to too many values"}
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

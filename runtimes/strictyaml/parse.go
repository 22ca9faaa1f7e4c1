package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a file. A YAML parser is a place to be careful in.
const (
	MaxBytes = 1 << 20
	maxDepth = 100
	maxNodes = 100_000 // after aliases are expanded
)

// parse reads one document. It returns nil for an empty one, and one fault at
// most: after a syntax error nothing that follows means much.
func parse(data []byte, limit int) (*Node, *Fault) {
	if text := unreadable(data, limit); text != "" {
		return nil, &Fault{Text: text}
	}
	tokens := lexer.Tokenize(string(data))
	if nestsTooDeep(tokens) {
		return nil, &Fault{Text: fmt.Sprintf("nests deeper than %d", maxDepth)}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxFault(err)
	}
	bodies := 0
	conv := converter{anchors: map[string]*Node{}, nodes: maxNodes}
	if limit > MaxBytes {
		conv.nodes = limit
	}
	var root *Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if bodies++; bodies > 1 {
			return nil, &Fault{Line: doc.Body.GetToken().Position.Line, Text: "a second document begins here: a file holds one"}
		}
		var fault *Fault
		if root, fault = conv.node(doc.Body, 0); fault != nil {
			return nil, fault
		}
	}
	return root, nil
}

// unreadable says why data isn't even tried.
func unreadable(data []byte, limit int) string {
	switch {
	case len(data) > limit:
		return fmt.Sprintf("is larger than %d bytes", limit)
	case !utf8.Valid(data):
		return "isn't UTF-8"
	case bytes.IndexByte(data, 0) >= 0:
		return "holds a NUL byte"
	}
	return ""
}

// nestsTooDeep looks for what would make the parser recurse without bound. It
// runs before the parser, since a stack that is too deep can't be recovered from.
func nestsTooDeep(tokens token.Tokens) bool {
	flow := 0
	var block []int // columns of the open block collections
	for _, tk := range tokens {
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow = max(0, flow-1)
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if flow == 0 {
				block = open(block, column(tk))
			}
		}
		if flow+len(block) > 2*maxDepth {
			return true
		}
	}
	return false
}

// open closes the collections that don't enclose col, and opens one there.
func open(block []int, col int) []int {
	for len(block) > 0 && block[len(block)-1] >= col {
		block = block[:len(block)-1]
	}
	return append(block, col)
}

// column is where a collection begins: for "key:" at the key.
func column(tk *token.Token) int {
	if key := tk.Prev; tk.Type == token.MappingValueType && key != nil && key.Position.Line == tk.Position.Line {
		return key.Position.Column
	}
	return tk.Position.Column
}

func syntaxFault(err error) *Fault {
	fault := &Fault{Text: "isn't YAML"}
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		fault.Text += ": " + syntax.GetMessage()
		if token := syntax.GetToken(); token != nil && token.Position != nil {
			fault.Line = token.Position.Line
		}
	}
	return fault
}

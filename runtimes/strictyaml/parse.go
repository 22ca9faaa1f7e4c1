package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bounds of a file. A YAML parser is a place to be careful in: the one used here
// takes linear time, and refuses to nest without bound.
const (
	MaxBytes = 1 << 20
	maxDepth = 100
	maxNodes = 100_000 // after aliases are expanded, of a text that isn't longer itself
)

// Tree reads one document of up to limit bytes. It returns nil for an empty one,
// and one fault at most: after a syntax error nothing that follows means much.
func Tree(data []byte, limit int) (*Node, *Fault) {
	if text := unreadable(data, limit); text != "" {
		return nil, &Fault{Text: text}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxFault(err)
	}
	if err := decoder.Decode(&second); err == nil {
		return nil, &Fault{Line: second.Content[0].Line, Text: "a second document begins here: a file holds one"}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxFault(err)
	}
	conv := converter{done: map[*yaml.Node]*Node{}, nodes: max(maxNodes, len(data))}
	return conv.node(document.Content[0], 0)
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

// parserError is how the parser writes its errors.
var parserError = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(.*)$`)

func syntaxFault(err error) *Fault {
	fault := &Fault{Text: "isn't YAML"}
	if parts := parserError.FindStringSubmatch(err.Error()); parts != nil {
		fault.Line, _ = strconv.Atoi(parts[1]) // 0 where the parser names none
		fault.Text += ": " + shorten(parts[2])
	}
	return fault
}

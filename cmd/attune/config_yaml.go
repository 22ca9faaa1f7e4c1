package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// yamlReader walks a parsed file along the settings, so that every fault is
// found, each with its line: a decoder stops at the first.
type yamlReader struct {
	file     string // base name, for origins
	settings []setting
	origins  map[string]string
	faults   []Fault
}

// applyYAML sets what a configuration file says. Unknown keys are faults.
func applyYAML(settings []setting, origins map[string]string, file string, data []byte) []Fault {
	r := &yamlReader{file: file, settings: settings, origins: origins}
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		return []Fault{r.syntaxFault(err)}
	}
	for i, doc := range parsed.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType || doc.Body.Type() == ast.NullType:
		case i > 0:
			r.fault("", doc.Body, "a second document: keep one, without ---")
		default:
			r.section("", doc.Body)
		}
	}
	return r.faults
}

// syntaxFault keeps the first line of a parser's message, which is followed by
// an excerpt of the file: that could hold a secret.
func (r *yamlReader) syntaxFault(err error) Fault {
	var syntax yaml.Error
	if errors.As(err, &syntax) && syntax.GetToken() != nil {
		origin := fmt.Sprintf("%s:%d", r.file, syntax.GetToken().Position.Line)
		return Fault{Origin: origin, Reason: "is not YAML: " + syntax.GetMessage()}
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return Fault{Origin: r.file, Reason: "is not YAML: " + first}
}

// section reads a mapping whose keys are below prefix ("server.").
func (r *yamlReader) section(prefix string, node ast.Node) {
	entries, ok := mappingEntries(node)
	if !ok {
		r.fault(strings.TrimSuffix(prefix, "."), node, "is not a section: write its keys indented below it")
		return
	}
	for _, entry := range entries {
		key := prefix + entry.Key.GetToken().Value
		s, known := find(r.settings, key)
		switch {
		case known:
			r.set(s, entry.Value)
		case r.hasSection(key + "."):
			r.sectionOrEmpty(key+".", entry.Value)
		default:
			r.fault("", entry.Key, unknownKey(r.settings, key))
		}
	}
}

// sectionOrEmpty lets a section be empty, as when all its keys are commented out.
func (r *yamlReader) sectionOrEmpty(prefix string, node ast.Node) {
	if node.Type() != ast.NullType {
		r.section(prefix, node)
	}
}

// set reads one value into its setting.
func (r *yamlReader) set(s setting, node ast.Node) {
	r.origins[s.Key] = r.origin(node)
	switch s.Value.Interface().(type) {
	case []string:
		r.setList(s, node)
	case map[string]string:
		r.setMap(s, node)
	default:
		text, ok := scalarText(node)
		if !ok {
			r.fault(s.Key, node, "has no plain value: write one, or remove the key to use the default")
			return
		}
		if err := s.setScalar(text); err != nil {
			r.fault(s.Key, node, err.Error())
		}
	}
}

func (r *yamlReader) setList(s setting, node ast.Node) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		r.fault(s.Key, node, "is not a list: write [a, b], or [] for none")
		return
	}
	items := []string{}
	for _, value := range sequence.Values {
		text, ok := scalarText(value)
		if !ok || text == "" {
			r.fault(s.Key, value, "holds an item that is no plain text: write [a, b]")
			return
		}
		items = append(items, text)
	}
	s.Value.Set(reflect.ValueOf(items))
}

func (r *yamlReader) setMap(s setting, node ast.Node) {
	entries, ok := mappingEntries(node)
	if !ok {
		r.fault(s.Key, node, "is not a mapping: write NAME: value indented below it, or {} for none")
		return
	}
	pairs := map[string]string{}
	for _, entry := range entries {
		name := entry.Key.GetToken().Value
		text, ok := scalarText(entry.Value)
		if !ok {
			r.fault(s.Key, entry.Value, name+" has no plain value: write one, or remove it")
			continue
		}
		pairs[name] = text
	}
	s.Value.Set(reflect.ValueOf(pairs))
}

func (r *yamlReader) fault(key string, node ast.Node, reason string) {
	r.faults = append(r.faults, Fault{Key: key, Origin: r.origin(node), Reason: reason})
}

func (r *yamlReader) origin(node ast.Node) string {
	if token := node.GetToken(); token != nil {
		return fmt.Sprintf("%s:%d", r.file, token.Position.Line)
	}
	return r.file
}

func (r *yamlReader) hasSection(prefix string) bool {
	for _, s := range r.settings {
		if strings.HasPrefix(s.Key, prefix) {
			return true
		}
	}
	return false
}

// mappingEntries returns the pairs of a mapping; the parser has a type of its
// own for a mapping of one pair.
func mappingEntries(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch mapping := node.(type) {
	case *ast.MappingNode:
		return mapping.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{mapping}, true
	}
	return nil, false
}

// scalarText returns a scalar as it was written, quotes resolved. Anchors,
// aliases and tags are no plain values.
func scalarText(node ast.Node) (string, bool) {
	switch scalar := node.(type) {
	case *ast.StringNode:
		return scalar.Value, true
	case *ast.LiteralNode:
		return scalar.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return scalar.GetToken().Value, true
	}
	return "", false
}

package main

import (
	"fmt"
	"reflect"
	"strings"

	"attune/runtimes/strictyaml"
)

// yamlReader walks a parsed file along the settings, so that every fault is
// found, each with its line.
type yamlReader struct {
	file     string // base name, for origins
	settings []setting
	origins  map[string]string
	faults   []Fault
}

// applyYAML sets what a configuration file says. Unknown keys are faults.
func applyYAML(settings []setting, origins map[string]string, file string, data []byte) []Fault {
	r := &yamlReader{file: file, settings: settings, origins: origins}
	root, fault := strictyaml.Tree(data, strictyaml.MaxBytes)
	if fault != nil {
		return []Fault{{Origin: r.origin(fault.Line), Reason: fault.Text}}
	}
	if root != nil && root.Kind != strictyaml.Null {
		r.section("", root)
	}
	return r.faults
}

// section reads a mapping whose keys are below prefix ("server.").
func (r *yamlReader) section(prefix string, node *strictyaml.Node) {
	if node.Kind != strictyaml.Mapping {
		r.fault(strings.TrimSuffix(prefix, "."), node.Line, "is not a section: write its keys indented below it")
		return
	}
	for _, entry := range node.Entries {
		key := prefix + entry.Key
		s, known := find(r.settings, key)
		switch {
		case known:
			r.set(s, entry.Value)
		case !r.hasSection(key + "."):
			r.fault("", entry.Line, unknownKey(r.settings, key))
		case entry.Value.Kind != strictyaml.Null: // a section may be empty, as when all its keys are commented out
			r.section(key+".", entry.Value)
		}
	}
}

// set reads one value into its setting.
func (r *yamlReader) set(s setting, node *strictyaml.Node) {
	r.origins[s.Key] = r.origin(node.Line)
	switch s.Value.Interface().(type) {
	case []string:
		r.setList(s, node)
	case map[string]string:
		r.setMap(s, node)
	default:
		if !isPlain(node) {
			r.fault(s.Key, node.Line, "has no plain value: write one, or remove the key to use the default")
			return
		}
		if err := s.setScalar(node.Text); err != nil {
			r.fault(s.Key, node.Line, err.Error())
		}
	}
}

func (r *yamlReader) setList(s setting, node *strictyaml.Node) {
	if node.Kind != strictyaml.Sequence {
		r.fault(s.Key, node.Line, "is not a list: write [a, b], or [] for none")
		return
	}
	items := []string{}
	for _, item := range node.Items {
		if !isPlain(item) || item.Text == "" {
			r.fault(s.Key, item.Line, "holds an item that is no plain text: write [a, b]")
			return
		}
		items = append(items, item.Text)
	}
	s.Value.Set(reflect.ValueOf(items))
}

func (r *yamlReader) setMap(s setting, node *strictyaml.Node) {
	if node.Kind != strictyaml.Mapping {
		r.fault(s.Key, node.Line, "is not a mapping: write NAME: value indented below it, or {} for none")
		return
	}
	pairs := map[string]string{}
	for _, entry := range node.Entries {
		if !isPlain(entry.Value) {
			r.fault(s.Key, entry.Line, entry.Key+" has no plain value: write one, or remove it")
			continue
		}
		pairs[entry.Key] = entry.Value.Text
	}
	s.Value.Set(reflect.ValueOf(pairs))
}

func isPlain(node *strictyaml.Node) bool {
	return node.Kind == strictyaml.String || node.Kind == strictyaml.Number || node.Kind == strictyaml.Bool
}

func (r *yamlReader) fault(key string, line int, reason string) {
	r.faults = append(r.faults, Fault{Key: key, Origin: r.origin(line), Reason: reason})
}

// origin names a line; 0 is the file as a whole.
func (r *yamlReader) origin(line int) string {
	if line == 0 {
		return r.file
	}
	return fmt.Sprintf("%s:%d", r.file, line)
}

func (r *yamlReader) hasSection(prefix string) bool {
	for _, s := range r.settings {
		if strings.HasPrefix(s.Key, prefix) {
			return true
		}
	}
	return false
}

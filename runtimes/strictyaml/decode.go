package strictyaml

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ScalarSetter is a struct that has a short form: one scalar.
type ScalarSetter interface{ SetScalar(text string) }

// Document is a file that has been read.
type Document struct {
	Source string // what faults call the file
	root   *Node
	faults *Faults
}

// Options of Read. The zero value is useful.
type Options struct {
	Later []string // top-level keys that a later version will understand
}

// Read decodes a file into the struct that v points to, by its yaml tags. What
// can be decoded is there even if something else can't. Faults go to faults.
func Read(source string, data []byte, v any, faults *Faults, opt Options) *Document {
	doc := &Document{Source: source, faults: faults}
	root, fault := Tree(data, MaxBytes)
	if fault != nil {
		fault.File = source
		faults.Add(fault)
		return doc
	}
	if root == nil {
		root = &Node{Kind: Null}
	}
	doc.root = root
	if root.Kind == Null {
		faults.Addf(source, 0, "is empty")
		return doc
	}
	(&decoder{doc: doc, later: opt.Later}).value(root, reflect.ValueOf(v).Elem(), "")
	return doc
}

// Has tells whether a top-level key is there, and is not null.
func (d *Document) Has(key string) bool {
	node, _ := d.find([]string{key})
	return node != nil && node.Kind != Null
}

// Parsed tells whether the file could be read at all.
func (d *Document) Parsed() bool { return d.root != nil && d.root.Kind == Mapping }

// Faultf records a fault at a path of keys and list indexes. The line is that
// of the deepest part of the path that is there.
func (d *Document) Faultf(path []string, format string, args ...any) {
	_, line := d.find(path)
	d.faults.Addf(d.Source, line, format, args...)
}

// Line is the line of the deepest part of a path that is there.
func (d *Document) Line(path []string) int {
	_, line := d.find(path)
	return line
}

// At makes a path.
func At(keys ...string) []string { return keys }

func (d *Document) find(path []string) (*Node, int) {
	node, line := d.root, 0
	for _, step := range path {
		child, at := node.child(step)
		if child == nil {
			return nil, line
		}
		node, line = child, at
	}
	return node, line
}

func (n *Node) child(step string) (*Node, int) {
	if n == nil {
		return nil, 0
	}
	for _, entry := range n.Entries {
		if entry.Key == step {
			return entry.Value, entry.Line
		}
	}
	if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Items) {
		return n.Items[i], n.Items[i].Line
	}
	return nil, 0
}

type decoder struct {
	doc   *Document
	later []string
}

func (d *decoder) faultf(line int, format string, args ...any) {
	d.doc.faults.Addf(d.doc.Source, line, format, args...)
}

// value decodes a node; name is what faults call it, empty for the whole file.
func (d *decoder) value(n *Node, v reflect.Value, name string) {
	if n.Kind == Null {
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if setter, ok := v.Addr().Interface().(ScalarSetter); ok && isScalar(n) {
		setter.SetScalar(n.Text)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, v, name)
	case reflect.Map:
		d.table(n, v, name)
	case reflect.Slice:
		d.list(n, v, name)
	case reflect.Interface:
		d.any(n, v)
	default:
		d.scalar(n, v, name)
	}
}

func isScalar(n *Node) bool { return n.Kind == String || n.Kind == Number || n.Kind == Bool }

func (d *decoder) want(n *Node, kind Kind, name string) bool {
	if n.Kind == kind {
		return true
	}
	if name == "" {
		d.faultf(n.Line, "must be %s of keys, but is %s", kind, n.Kind)
	} else {
		d.faultf(n.Line, "%s must be %s, but is %s", name, kind, n.Kind)
	}
	return false
}

func (d *decoder) object(n *Node, v reflect.Value, name string) {
	if !d.want(n, Mapping, name) {
		return
	}
	fields, keys := fieldsOf(v.Type())
	for _, entry := range n.Entries {
		if i, known := fields[entry.Key]; known {
			d.value(entry.Value, v.Field(i), join(name, entry.Key))
			continue
		}
		if name == "" && slices.Contains(d.later, entry.Key) {
			d.faultf(entry.Line, "%s is not supported yet: leave it out", entry.Key)
			continue
		}
		d.faultf(entry.Line, "unknown key %s%s: %s", quote(entry.Key), within(name), Suggest(entry.Key, keys))
	}
}

func within(name string) string {
	if name == "" {
		return ""
	}
	return " in " + name
}

func join(name, key string) string {
	if name == "" {
		return key
	}
	return name + "." + key
}

func fieldsOf(t reflect.Type) (map[string]int, []string) {
	fields := make(map[string]int, t.NumField())
	var keys []string
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key != "" && key != "-" {
			fields[key] = i
			keys = append(keys, key)
		}
	}
	return fields, keys
}

func (d *decoder) table(n *Node, v reflect.Value, name string) {
	if !d.want(n, Mapping, name) {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.Entries)))
	for _, entry := range n.Entries {
		value := reflect.New(v.Type().Elem()).Elem()
		d.value(entry.Value, value, join(name, shorten(entry.Key)))
		v.SetMapIndex(reflect.ValueOf(entry.Key), value)
	}
}

func (d *decoder) list(n *Node, v reflect.Value, name string) {
	if !d.want(n, Sequence, name) {
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items)))
	for i, item := range n.Items {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", name, i))
	}
}

func (d *decoder) any(n *Node, v reflect.Value) {
	value, fault := n.Any()
	if fault != nil {
		d.faultf(fault.Line, "%s", fault.Text)
		return
	}
	if value != nil {
		v.Set(reflect.ValueOf(value))
	}
}

func (d *decoder) scalar(n *Node, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		if !isScalar(n) {
			d.want(n, String, name)
			return
		}
		v.SetString(n.Text) // 1.10 is what its author wrote, not 1.1
	case reflect.Bool:
		if d.want(n, Bool, name) {
			v.SetBool(n.Text == "true")
		}
	case reflect.Int, reflect.Int64:
		if d.want(n, Number, name) {
			number, err := strconv.ParseInt(n.JSON, 10, 64)
			if err != nil {
				d.faultf(n.Line, "%s must be a whole number", name)
			}
			v.SetInt(number)
		}
	case reflect.Float64:
		if d.want(n, Number, name) {
			number, err := strconv.ParseFloat(n.JSON, 64)
			if err != nil || math.IsInf(number, 0) {
				d.faultf(n.Line, "%s must be a finite number", name)
			}
			v.SetFloat(number)
		}
	default:
		panic("strictyaml: can't decode into " + v.Type().String())
	}
}

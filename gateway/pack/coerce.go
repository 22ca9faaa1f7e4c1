package pack

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bodies that are not what a route reads.
var (
	ErrBodyText = errors.New("the body must be UTF-8")
	ErrBodyNone = errors.New("this route takes no body")
)

// twice is the detail of a parameter that comes from two places.
const twice = "is given in two places"

// Given is what a request gives to a route besides its path.
type Given struct {
	Query   map[string][]string
	Headers map[string]string // parameter → value; without those that aren't there
	Body    []byte
}

// Parameters makes the parameters of a call, as one JSON object. Text becomes what
// the schema wants: numbers and true or false where it says so, arrays of what is
// repeated. Text that can't is left, for the schema to refuse.
//
// The error is ErrBodyText, ErrBodyNone or wraps ErrInvalidJSON; problems say which
// parameter came from two places, or from where it may not.
func (r *Routed) Parameters(given Given) (json.RawMessage, []Problem, error) {
	schema := r.Action.Parameters
	object, err := r.Route.body(given.Body)
	if err != nil {
		return nil, nil, err
	}
	var clashes []Problem
	add := func(name string, value any) {
		if _, there := object[name]; there {
			clashes = append(clashes, Problem{Pointer: pointer([]string{name}), Detail: twice})
		}
		object[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(given.Query)) {
		if slices.Contains(schema.Secrets(), name) {
			clashes = append(clashes, Problem{Pointer: pointer([]string{name}), Detail: "is a secret, which doesn't belong into a URL"})
			continue
		}
		add(name, schema.read(name, given.Query[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(given.Headers)) {
		add(name, schema.read(name, []string{given.Headers[name]}))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Path)) {
		add(name, schema.read(name, []string{r.Path[name]}))
	}
	if len(clashes) > 0 {
		return nil, clashes, nil
	}
	encoded, err := compact(object)
	return encoded, nil, err
}

// body reads the members that a body gives.
func (r Route) body(body []byte) (map[string]any, error) {
	object := map[string]any{}
	switch {
	case r.Body == BodyNone && len(body) > 0:
		return nil, ErrBodyNone
	case r.Body == BodyNone:
	case r.Body == BodyText && !utf8.Valid(body):
		return nil, ErrBodyText
	case r.Body == BodyText:
		object[r.Into] = string(body)
	case r.Body == BodyBase64:
		object[r.Into] = base64.StdEncoding.EncodeToString(body)
	case len(body) == 0: // no parameters
	default:
		value, err := parseDocument(body)
		if err != nil {
			return nil, err
		}
		if r.Into != "" {
			object[r.Into] = value
			return object, nil
		}
		members, ok := value.(map[string]any)
		if !ok {
			return nil, ErrInvalidJSON
		}
		return members, nil
	}
	return object, nil
}

// knows tells whether a parameter may have a name: it is declared, or the schema
// leaves it open.
func (s *Schema) knows(name string) bool {
	if s == nil || s.compiled == nil {
		return true
	}
	if _, declared := s.compiled.Properties[name]; declared {
		return true
	}
	return s.compiled.AdditionalProperties != false
}

// Knows tells whether a query of a route may have a parameter.
func (r *Routed) Knows(name string) bool { return r.Action.Parameters.knows(name) }

// Repeats tells whether a parameter may be repeated: it is an array.
func (r *Routed) Repeats(name string) bool {
	property := r.Action.Parameters.property(name)
	return property != nil && wants(property, "array") && !wants(property, "string")
}

func (s *Schema) property(name string) *jsonschema.Schema {
	if s == nil || s.compiled == nil {
		return nil
	}
	property, declared := s.compiled.Properties[name]
	if !declared {
		return nil
	}
	return resolve(property)
}

// wants tells whether a schema names a type.
func wants(schema *jsonschema.Schema, name string) bool {
	return schema.Types != nil && slices.Contains(schema.Types.ToStrings(), name)
}

// read makes a value of text.
func (s *Schema) read(name string, texts []string) any {
	property := s.property(name)
	if property == nil || !wants(property, "array") || wants(property, "string") {
		return scalar(property, texts[0])
	}
	var items *jsonschema.Schema
	if property.Items2020 != nil {
		items = resolve(property.Items2020)
	} else if schema, ok := property.Items.(*jsonschema.Schema); ok {
		items = resolve(schema)
	}
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = scalar(items, text)
	}
	return values
}

// scalar reads a number or true or false where the schema wants one, and no text.
func scalar(schema *jsonschema.Schema, text string) any {
	if schema == nil || wants(schema, "string") {
		return text
	}
	if wants(schema, "integer") || wants(schema, "number") {
		p := &documentParser{text: text}
		if number, err := p.number(); err == nil && p.at == len(text) {
			return number
		}
	}
	if wants(schema, "boolean") && (text == "true" || text == "false") {
		return text == "true"
	}
	return text
}

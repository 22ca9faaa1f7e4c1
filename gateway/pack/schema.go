package pack

import (
	"encoding/json"
	"maps"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema says what a document must look like. A nil Schema accepts anything.
type Schema struct {
	document json.RawMessage
	compiled *jsonschema.Schema
	secrets  []string // names of the properties that are secrets, sorted
}

// anyObject is the schema of an action that declares no parameters: every
// object is passed on as it is.
var anyObject = json.RawMessage(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"}`)

// JSON is the schema as a JSON Schema document.
func (s *Schema) JSON() json.RawMessage {
	if s == nil {
		return anyObject
	}
	return s.document
}

// Apply reads a request body: one strict JSON document, an object, or nothing at
// all, which is {}. It fills in defaults, of nested objects as well, and
// validates. Nothing is coerced: "5" is no integer.
//
// The error, which wraps ErrInvalidJSON, means that the body can't be read; the
// problems, that it doesn't fit. The result is compact, has its keys sorted, and
// has every number as the caller wrote it.
func (s *Schema) Apply(body []byte) (json.RawMessage, []Problem, error) {
	return s.ApplyWith(body, nil)
}

// ApplyWith is Apply with the values of secrets that are stored for the pack:
// each goes to the parameter of its name, and what is required is checked
// afterwards. A body that has one of them, too, is a problem.
func (s *Schema) ApplyWith(body []byte, stored map[string]string) (json.RawMessage, []Problem, error) {
	var value any = map[string]any{}
	if len(body) > 0 {
		var err error
		if value, err = parseDocument(body); err != nil {
			return nil, nil, err
		}
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, []Problem{{Detail: "must be an object"}}, nil
	}
	if s != nil && s.compiled != nil {
		if clashes := s.addSecrets(object, stored); len(clashes) > 0 {
			return nil, clashes, nil
		}
		if found := s.tooMuchSecret(object); len(found) > 0 {
			return nil, found, nil
		}
		fill(object, s.compiled)
		if err := s.compiled.Validate(object); err != nil {
			return nil, s.discreet(problems(err)), nil
		}
	}
	encoded, err := compact(object)
	return encoded, nil, err
}

// Validate checks a document as it is, without defaults.
func (s *Schema) Validate(document json.RawMessage) ([]Problem, error) {
	value, err := parseDocument(document)
	if err != nil {
		return nil, err
	}
	if s == nil || s.compiled == nil {
		return nil, nil
	}
	if err := s.compiled.Validate(value); err != nil {
		return problems(err), nil
	}
	return nil, nil
}

// fill adds the defaults of properties that aren't there, and looks into the
// objects that are. It follows $ref, but no alternatives: of those nobody knows
// yet which one holds.
func fill(object map[string]any, schema *jsonschema.Schema) {
	schema = resolve(schema)
	for name, property := range schema.Properties {
		value, there := object[name]
		if fallback := resolve(property).Default; !there && fallback != nil {
			value = clone(*fallback)
			object[name] = value
		}
		if below, ok := value.(map[string]any); ok {
			fill(below, property)
		}
	}
}

// resolve follows $ref; a property's own default wins over its target's.
func resolve(schema *jsonschema.Schema) *jsonschema.Schema {
	for range maxNesting {
		if schema.Ref == nil || schema.Default != nil || len(schema.Properties) > 0 {
			break
		}
		schema = schema.Ref
	}
	return schema
}

// clone copies a default, so that no caller's document shares it.
func clone(value any) any {
	switch value := value.(type) {
	case map[string]any:
		copied := maps.Clone(value)
		for key, below := range copied {
			copied[key] = clone(below)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, below := range value {
			copied[i] = clone(below)
		}
		return copied
	}
	return value
}

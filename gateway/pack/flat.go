package pack

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"attune/runtimes/strictyaml"
)

// A schema is written in one of two forms. The flat one names properties:
//
//	name: {type: string, required: true}
//
// and the classic one is a JSON Schema. What follows makes the second of the first.

// keywords are what may be said about a property in the flat form: JSON Schema,
// plus required as true or false, and secret.
var keywords = []string{
	"type", "title", "description", "default", "enum", "const", "required", "secret",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
	"minLength", "maxLength", "pattern", "format", "contentEncoding", "contentMediaType",
	"items", "prefixItems", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems",
	"properties", "patternProperties", "additionalProperties", "propertyNames", "minProperties", "maxProperties",
	"dependentRequired", "dependentSchemas", "allOf", "anyOf", "oneOf", "not", "if", "then", "else",
	"examples", "deprecated", "readOnly", "writeOnly", "$comment",
}

var propertyGrammar = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// schemaFault is a fault at a path below the schema's key.
type schemaFault struct {
	path []string
	text string
}

// isFlat tells the two forms apart. A parameter may well be called "type" or
// "properties": then its value is a mapping, as a keyword's is not.
func isFlat(raw map[string]any) bool {
	for key, value := range raw {
		_, isMapping := value.(map[string]any)
		switch {
		case strings.HasPrefix(key, "$"):
			return false
		case isMapping || value == nil:
		case slices.Contains([]string{"type", "required", "additionalProperties", "allOf", "anyOf", "oneOf", "enum"}, key):
			return false
		}
	}
	return true
}

// flattener makes a JSON Schema of the flat form.
type flattener struct{ faults []schemaFault }

func (f *flattener) faultf(path []string, format string, args ...any) {
	f.faults = append(f.faults, schemaFault{slices.Clone(path), fmt.Sprintf(format, args...)})
}

// object makes the schema of an object of its flat properties.
func (f *flattener) object(raw map[string]any, path []string) map[string]any {
	properties := make(map[string]any, len(raw))
	var required []any
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		below := append(path, name)
		if !propertyGrammar.MatchString(name) {
			f.faultf(below, "name %s must begin with a letter or _, and hold up to 64 letters, digits and _ . -", quote(name))
		}
		property, must := f.property(raw[name], below)
		properties[name] = property
		if must {
			required = append(required, name)
		}
	}
	schema := map[string]any{"type": "object", "properties": properties}
	if required != nil {
		schema["required"] = required
	}
	return schema
}

// property makes the schema of one property, and says whether it is required.
func (f *flattener) property(raw any, path []string) (schema any, required bool) {
	if raw == nil {
		return map[string]any{}, false // a name alone: anything goes
	}
	flat, ok := raw.(map[string]any)
	if !ok {
		f.faultf(path, "%s must be a mapping, for example {type: string}", strings.Join(path, "."))
		return map[string]any{}, false
	}
	property := make(map[string]any, len(flat))
	for _, key := range slices.Sorted(maps.Keys(flat)) {
		value, below := flat[key], append(path, key)
		switch {
		case key == "required" && isBool(value):
			required = value.(bool)
		case key == "secret" && isBool(value):
			if value == true {
				property[key] = value
			}
		case key == "secret":
			f.faultf(below, "%s must be true or false", strings.Join(below, "."))
		case !slices.Contains(keywords, key) && !strings.HasPrefix(key, "x-"):
			f.faultf(below, "unknown key %s in %s: %s", quote(key), strings.Join(path, "."), strictyaml.Suggest(key, keywords))
		default:
			property[key] = value
		}
	}
	f.nested(property, path)
	return property, required
}

// nested lets the properties and the items of a property be flat as well.
func (f *flattener) nested(property map[string]any, path []string) {
	if below, ok := property["properties"].(map[string]any); ok {
		object := f.object(below, append(path, "properties"))
		property["properties"] = object["properties"]
		if required, some := object["required"]; some && property["required"] == nil {
			property["required"] = required
		}
	}
	if items, ok := property["items"].(map[string]any); ok {
		property["items"], _ = f.property(items, append(path, "items"))
	}
}

func isBool(value any) bool {
	_, ok := value.(bool)
	return ok
}

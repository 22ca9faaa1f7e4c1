package openapi

import (
	"cmp"
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
	"time"
)

// of is the schema of a value's type, or the value itself if it is a schema.
func (b *builder) of(value any) Object {
	if schema, ok := value.(Object); ok {
		return schema
	}
	return b.typed(reflect.TypeOf(value))
}

// required tells whether a body of this type must be sent.
func (b *builder) required(value any) bool {
	if schema, ok := value.(Object); ok {
		return schema["required"] != nil
	}
	_, required := b.members(reflect.TypeOf(value))
	return len(required) > 0
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// typed is the schema of what encoding/json makes of a type. Of a struct with a
// name there is one, to which all refer.
func (b *builder) typed(t reflect.Type) Object {
	switch {
	case t == nil || t == rawType || t.Kind() == reflect.Interface:
		return Object{"type": []any{"null", "boolean", "number", "string", "array", "object"}} // some take {} for anything but null
	case t != timeType && t.Kind() != reflect.Pointer && t.Implements(textType):
		return Object{"type": "string"}
	case t == timeType:
		return Object{"type": "string", "format": "date-time"}
	}
	if values, few := b.spec.Enums[t]; few {
		return Object{"type": "string", "enum": values}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nullable(b.typed(t.Elem()))
	case reflect.Bool:
		return Object{"type": "boolean"}
	case reflect.String:
		return Object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return Object{"type": "number"}
	case reflect.Slice, reflect.Array:
		return Object{"type": "array", "items": b.typed(t.Elem())}
	case reflect.Map:
		return Object{"type": "object", "additionalProperties": b.typed(t.Elem())}
	case reflect.Struct:
		return b.structure(t)
	}
	return Object{"type": "integer"}
}

func nullable(schema Object) Object {
	name, ok := schema["type"].(string)
	if !ok {
		return Object{"anyOf": []any{schema, Object{"type": "null"}}}
	}
	schema["type"] = []any{name, "null"}
	return schema
}

func (b *builder) structure(t reflect.Type) Object {
	name := cmp.Or(b.spec.Names[t], schemaName(t))
	if name == "" {
		return b.object(t)
	}
	if _, there := b.schemas[name]; !there {
		b.schemas[name] = Object{} // a type may hold itself
		b.schemas[name] = b.object(t)
	}
	return ref("schemas", name)
}

// schemaName makes "BuildEvent" of a type's name; a type without one, or of a
// generic type, has none.
func schemaName(t reflect.Type) string {
	name := strings.TrimSuffix(t.Name(), "Payload")
	if name == "" || strings.Contains(name, "[") {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

func (b *builder) object(t reflect.Type) Object {
	properties, required := b.members(t)
	object := Object{"type": "object", "properties": properties}
	if len(required) > 0 {
		object["required"] = required
	}
	return object
}

// members are the fields of a struct as encoding/json names them, with those of
// what it embeds. What may be left out is not required.
func (b *builder) members(t reflect.Type) (properties Object, required []any) {
	properties = Object{}
	for i := range t.NumField() {
		field := t.Field(i)
		tag := field.Tag.Get("json")
		if field.Anonymous && tag == "" {
			inner, must := b.members(field.Type)
			for name, schema := range inner {
				properties[name] = schema
			}
			required = append(required, must...)
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if !field.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = field.Name
		}
		schema := b.typed(field.Type)
		optional := strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero")
		if kind := field.Type.Kind(); optional && kind == reflect.Pointer {
			schema = b.typed(field.Type.Elem()) // it is left out, never null
		}
		properties[name] = schema
		if !optional {
			required = append(required, name)
		}
	}
	return properties, required
}

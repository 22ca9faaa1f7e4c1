package pack

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// purpose is what a schema is for.
type purpose int

const (
	forParameters purpose = iota // an object; the flat form refuses what it doesn't name
	forOutput
	forLines // the flat form describes each line of jsonl
	forConfig
)

const (
	draft    = "https://json-schema.org/draft/2020-12/schema"
	schemaID = "urn:attune:schema"
)

var errRemote = errors.New("no other documents")

// noLoader refuses references to other documents: a schema never makes the
// gateway read a file or call somebody.
type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errRemote }

// compileSchema makes a Schema of either form.
func compileSchema(raw map[string]any, use purpose) (*Schema, []schemaFault) {
	if faults := append(forbidden(raw, nil), misplacedSecrets(raw, use, isFlat(raw), nil)...); len(faults) > 0 {
		return nil, faults
	}
	document := maps.Clone(raw)
	if isFlat(raw) {
		var f flattener
		document = f.object(raw, nil)
		if len(f.faults) > 0 {
			return nil, f.faults
		}
		switch use {
		case forParameters:
			document["additionalProperties"] = false
		case forLines:
			document = map[string]any{"type": "array", "items": document}
		}
	} else if root := document["type"]; use == forParameters && root != nil && root != "object" {
		return nil, []schemaFault{{[]string{"type"}, "type must be object: parameters are one"}}
	}
	if document["$schema"] == nil {
		document["$schema"] = draft
	}
	secrets, faults := markSecrets(document, isFlat(raw))
	if len(faults) > 0 {
		return nil, faults
	}
	schema, faults := compileDocument(document, isFlat(raw))
	if schema != nil {
		schema.secrets = secrets
		faults = append(faults, schema.shownSecrets(isFlat(raw))...)
	}
	return schema, faults
}

func compileDocument(document map[string]any, flat bool) (*Schema, []schemaFault) {
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(noLoader{})
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource(schemaID, document); err != nil {
		return nil, schemaFaults(err, flat)
	}
	compiled, err := compiler.Compile(schemaID)
	if err != nil {
		return nil, schemaFaults(err, flat)
	}
	encoded, err := compact(document)
	if err != nil {
		return nil, []schemaFault{{nil, "can't be written as JSON"}}
	}
	schema := &Schema{document: encoded, compiled: compiled}
	return schema, unfit(compiled, nil, flat, 0)
}

// schemaFaults says what the compiler has against a schema. In the flat form
// the properties stand at the top.
func schemaFaults(err error, flat bool) []schemaFault {
	if invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if cause, ok := errors.AsType[*jsonschema.ValidationError](invalid.Err); ok {
			return metaFaults(cause, flat)
		}
	}
	if _, ok := errors.AsType[*jsonschema.InvalidRegexError](err); ok {
		return []schemaFault{{nil, badPattern}}
	}
	if _, ok := errors.AsType[*jsonschema.LoadURLError](err); ok {
		return []schemaFault{{nil, "refers to another document: only references that begin with # work"}}
	}
	return []schemaFault{{nil, "isn't a JSON Schema that can be used: a reference or an identifier in it is wrong"}}
}

func metaFaults(invalid *jsonschema.ValidationError, flat bool) []schemaFault {
	var faults []schemaFault
	for _, problem := range metaProblems(invalid) {
		path := written(problem.path, flat)
		name := strings.Join(path, ".")
		if name != "" {
			name += " "
		}
		faults = append(faults, schemaFault{path, name + problem.text})
	}
	return faults
}

// metaProblems are the leaves of what a meta-schema found. Alternatives count as
// leaves, and of several about one place the first is enough.
func metaProblems(invalid *jsonschema.ValidationError) []schemaFault {
	var all []schemaFault
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(e.Causes) == 0 || isAlternative(e) {
			all = append(all, schemaFault{e.InstanceLocation, metaText(e)})
			return
		}
		for _, cause := range e.Causes {
			walk(cause)
		}
	}
	walk(invalid)
	slices.SortFunc(all, func(a, b schemaFault) int { return slices.Compare(a.path, b.path) })
	return slices.CompactFunc(all, func(a, b schemaFault) bool { return slices.Equal(a.path, b.path) })
}

func metaText(e *jsonschema.ValidationError) string {
	last := ""
	if n := len(e.InstanceLocation); n > 0 {
		last = e.InstanceLocation[n-1]
	}
	format, isFormat := e.ErrorKind.(*kind.Format)
	switch {
	case isAlternative(e) && last == "type":
		return "must be array, boolean, integer, null, number, object or string"
	case isAlternative(e):
		return "isn't what JSON Schema allows here"
	case isFormat && format.Want == "regex":
		return badPattern
	}
	return detail(e.ErrorKind)
}

const badPattern = "isn't a regular expression that is understood here: RE2, without look-around"

// first is the first of some problems in words.
func first(found []Problem) string {
	return strings.TrimSpace(cmp.Or(found[0].Pointer, "it") + " " + found[0].Detail)
}

// written maps a path of the JSON Schema to where the author has written it.
func written(path []string, flat bool) []string {
	if flat && len(path) > 0 && path[0] == "items" {
		path = path[1:]
	}
	if flat && len(path) > 0 && path[0] == "properties" {
		path = path[1:]
	}
	return path
}

// forbidden looks through a raw schema, before anything computes with it.
func forbidden(value any, path []string) []schemaFault {
	var faults []schemaFault
	switch value := value.(type) {
	case json.Number:
		if !reasonable(value.String()) {
			faults = append(faults, schemaFault{slices.Clone(path), "holds a number that is out of range"})
		}
	case []any:
		for i, below := range value {
			faults = append(faults, forbidden(below, append(path, fmt.Sprint(i)))...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			faults = append(faults, forbidden(value[key], append(path, key))...)
		}
	}
	return faults
}

// isData tells whether a path leads into an example of a value.
func isData(path []string) bool {
	return slices.ContainsFunc(path, func(step string) bool {
		return step == "default" || step == "enum" || step == "const" || step == "examples"
	})
}

// unfit reports the defaults that their own schema refuses.
func unfit(schema *jsonschema.Schema, path []string, flat bool, depth int) []schemaFault {
	if depth > maxNesting {
		return nil // a schema may well refer to itself
	}
	var faults []schemaFault
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		property, below := schema.Properties[name], append(slices.Clone(path), "properties", name)
		if property.Default != nil {
			fallback := clone(*property.Default)
			if object, ok := fallback.(map[string]any); ok {
				fill(object, property)
			}
			if err := property.Validate(fallback); err != nil {
				at := written(append(slices.Clone(below), "default"), flat)
				faults = append(faults, schemaFault{at, strings.Join(at, ".") + " doesn't fit its own schema: " + first(problems(err))})
			}
		}
		faults = append(faults, unfit(property, below, flat, depth+1)...)
	}
	return faults
}

func isAlternative(e *jsonschema.ValidationError) bool {
	switch e.ErrorKind.(type) {
	case *kind.AnyOf, *kind.OneOf:
		return true
	}
	return false
}

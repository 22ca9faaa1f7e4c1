package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/strictyaml"
)

// yamlSchema compiles a schema as it stands in a file.
func yamlSchema(t testing.TB, text string, use purpose) (*Schema, []string) {
	t.Helper()
	value, _, err := strictyaml.Parse([]byte(text), strictyaml.MaxBytes)
	if err != nil {
		t.Fatal(err)
	}
	schema, found := compileSchema(value.(map[string]any), use)
	var faults []string
	for _, fault := range found {
		faults = append(faults, strings.Join(fault.path, "/")+": "+fault.text)
	}
	return schema, faults
}

func mustSchema(t testing.TB, text string) *Schema {
	t.Helper()
	schema, faults := yamlSchema(t, text, forParameters)
	if faults != nil {
		t.Fatal(faults)
	}
	return schema
}

const orderSchema = `
item: {type: string, required: true, minLength: 1, maxLength: 10}
count: {type: integer, default: 1, minimum: 1, maximum: 100}
colour: {type: string, enum: [red, green]}
mail: {type: string, format: email}
code: {type: string, pattern: "^[a-z]+$"}
options:
  type: object
  default: {}
  properties:
    gift: {type: boolean, default: false}
    note: {type: string, required: true, default: none}
tags: {type: array, items: {type: string}, maxItems: 2, default: [new]}
`

func TestFlatSchemaBecomesJSONSchema(t *testing.T) {
	t.Parallel()
	got := mustSchema(t, `{b: {type: integer, required: true}, a: {type: object, properties: {c: {required: true}, d: }}}`).JSON()
	want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","additionalProperties":false,` +
		`"properties":{"a":{"properties":{"c":{},"d":{}},"required":["c"],"type":"object"},"b":{"type":"integer"}},"required":["b"],"type":"object"}`
	if string(got) != want {
		t.Errorf("JSON = %s, want %s", got, want)
	}
}

func TestApply(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body, want string
		problems   []Problem
	}{
		"defaults": {
			body: `{"item":"x"}`,
			want: `{"count":1,"item":"x","options":{"gift":false,"note":"none"},"tags":["new"]}`,
		},
		"nested defaults beside given values": {
			body: `{"item":"x","count":2,"options":{"gift":true},"tags":[]}`,
			want: `{"count":2,"item":"x","options":{"gift":true,"note":"none"},"tags":[]}`,
		},
		"null is a value, no default": {
			body:     `{"item":"x","count":null}`,
			problems: []Problem{{"/count", "must be of type integer"}},
		},
		"nothing is coerced": {
			body:     `{"item":"x","count":"5"}`,
			problems: []Problem{{"/count", "must be of type integer"}},
		},
		"everything at once": {
			body: `{"count":1000,"colour":"blue","mail":"x","code":"1","options":{"gift":1},"tags":["a","b",3],"a/b~c":1}`,
			problems: []Problem{
				{"/a~1b~0c", "is not known here"},
				{"/code", "must match the pattern ^[a-z]+$"},
				{"/colour", `must be one of "red", "green"`},
				{"/count", "must be at most 100"},
				{"/item", "is required"},
				{"/mail", "must be in the format email"},
				{"/options/gift", "must be of type boolean"},
				{"/tags", "must have at most 2 items"},
				{"/tags/2", "must be of type string"},
			},
		},
		"too short and too small": {
			body:     `{"item":"","count":0}`,
			problems: []Problem{{"/count", "must be at least 1"}, {"/item", "must have at least 1 character"}},
		},
		"a list":                  {body: `[]`, problems: []Problem{{"", "must be an object"}}},
		"a string":                {body: `"x"`, problems: []Problem{{"", "must be an object"}}},
		"null":                    {body: `null`, problems: []Problem{{"", "must be an object"}}},
		"nothing":                 {body: ``, problems: []Problem{{"/item", "is required"}}},
		"__proto__":               {body: `{"item":"x","__proto__":{}}`, problems: []Problem{{"/__proto__", "is not known here"}}},
		"an integer with a point": {body: `{"item":"x","count":2.0,"options":{},"tags":[]}`, want: `{"count":2.0,"item":"x","options":{"gift":false,"note":"none"},"tags":[]}`},
	}
	schema := mustSchema(t, orderSchema)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, found, err := schema.Apply([]byte(test.body))
			if err != nil || string(got) != test.want {
				t.Errorf("Apply = %s, %v, want %s", got, err, test.want)
			}
			if diff := cmp.Diff(test.problems, found); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyWithoutSchemaTakesAnyObject(t *testing.T) {
	t.Parallel()
	for _, schema := range []*Schema{nil, {document: anyObject}} {
		got, found, err := schema.Apply([]byte(` {"b": 9007199254740993, "a": {"x": [1.10]}} `))
		if want := `{"a":{"x":[1.10]},"b":9007199254740993}`; string(got) != want || found != nil || err != nil {
			t.Errorf("Apply = %s, %v, %v", got, found, err)
		}
		if got, _, _ := schema.Apply(nil); string(got) != "{}" {
			t.Errorf("Apply of nothing = %s", got)
		}
		if _, _, err := schema.Apply([]byte("{} {}")); !errors.Is(err, ErrInvalidJSON) {
			t.Errorf("Apply of two documents: %v", err)
		}
		if string(schema.JSON()) != string(anyObject) {
			t.Errorf("JSON = %s", schema.JSON())
		}
	}
}

func TestClassicSchema(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, `
type: object
properties:
  size: {$ref: "#/$defs/size"}
  either: {oneOf: [{type: string}, {type: integer}]}
$defs:
  size: {type: object, properties: {width: {type: integer, default: 3}}}
required: [size]
`)
	got, found, err := schema.Apply([]byte(`{"size":{},"more":1}`))
	if want := `{"more":1,"size":{"width":3}}`; string(got) != want || found != nil || err != nil {
		t.Errorf("Apply = %s, %v, %v, want %s", got, found, err, want)
	}
	_, found, _ = schema.Apply([]byte(`{"size":{"width":"x"},"either":true}`))
	want := []Problem{
		{"/either", "fits none of the alternatives, or several where it may be one"},
		{"/size/width", "must be of type integer"},
	}
	if diff := cmp.Diff(want, found); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, orderSchema)
	var keys []string
	for i := range 200 {
		keys = append(keys, fmt.Sprintf("%q:1", strings.Repeat("é", 500)+fmt.Sprint(i)))
	}
	_, found, err := schema.Apply([]byte("{" + strings.Join(keys, ",") + "}"))
	if err != nil || len(found) > maxProblems {
		t.Fatalf("%d problems, %v", len(found), err)
	}
	for _, problem := range found {
		if len(problem.Pointer) > maxPointer+len("…") {
			t.Errorf("pointer of %d bytes", len(problem.Pointer))
		}
	}
}

// Of very many problems the first ones are reported, whichever were found first.
func TestManyProblemsAreTheFirstOnes(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, orderSchema)
	var keys []string
	for i := range 50_000 {
		keys = append(keys, fmt.Sprintf(`"k%06d":1`, i))
	}
	_, found, err := schema.Apply([]byte(`{"item":"x",` + strings.Join(keys, ",") + "}"))
	if err != nil || len(found) != maxProblems {
		t.Fatalf("%d problems, %v, want %d", len(found), err, maxProblems)
	}
	for i, problem := range found {
		if want := (Problem{fmt.Sprintf("/k%06d", i), "is not known here"}); problem != want {
			t.Fatalf("problem %d = %v, want %v", i, problem, want)
		}
	}
	var c collector
	for i := range 100_000 {
		c.add(Problem{Pointer: fmt.Sprint(i)})
		if len(c.found) > 20*maxProblems {
			t.Fatalf("%d problems are kept", len(c.found))
		}
	}
}

func TestDefaultsAreNotShared(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, orderSchema)
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			got, _, err := schema.Apply([]byte(`{"item":"x"}`))
			if err != nil || !strings.Contains(string(got), `"options":{"gift":false,"note":"none"}`) {
				t.Errorf("Apply = %s, %v", got, err)
			}
		})
	}
	calls.Wait()
	if strings.Contains(string(schema.JSON()), `"default":{"gift"`) {
		t.Error("a call has changed the schema's own default")
	}
}

func TestSchemaFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want []string
	}{
		"every one":       {`{a: {type: strng}, b: {requird: true}, c: string, "d e": {}}`, []string{`b/requird: unknown key "requird" in b: did you mean "required"?`, "c: c must be a mapping, for example {type: string}", `d e: name "d e" must begin with a letter or _, and hold up to 64 letters, digits and _ . -`}},
		"type":            {`{a: {type: strng}, b: {type: [string, nul]}}`, []string{"a/type: a.type must be array, boolean, integer, null, number, object or string", "b/type: b.type must be array, boolean, integer, null, number, object or string"}},
		"bounds":          {`{a: {minimum: x, maxLength: -1}}`, []string{"a/maxLength: a.maxLength must be at least 0", "a/minimum: a.minimum must be of type number"}},
		"pattern":         {`{a: {pattern: "(?=x)"}}`, []string{"a/pattern: a.pattern isn't a regular expression that is understood here: RE2, without look-around"}},
		"default":         {`{a: {type: integer, default: x, maximum: 3}, b: {properties: {c: {type: string, default: 1}}}}`, []string{"a/default: a.default doesn't fit its own schema: it must be of type integer", "b/properties/c/default: b.properties.c.default doesn't fit its own schema: it must be of type string"}},
		"remote":          {`{a: {$ref: "https://example.com/x.json"}}`, []string{`a/$ref: unknown key "$ref" in a: there is $comment, additionalProperties, allOf, anyOf, const, contains, contentEncoding, contentMediaType, default, dependentRequired, dependentSchemas, deprecated, description, else, enum, examples, exclusiveMaximum, exclusiveMinimum, format, if, items, maxContains, maxItems, maxLength, maxProperties, maximum, minContains, minItems, minLength, minProperties, minimum, multipleOf, not, oneOf, pattern, patternProperties, prefixItems, properties, propertyNames, readOnly, required, secret, then, title, type, uniqueItems, writeOnly`}},
		"remote, classic": {`{type: object, properties: {a: {$ref: "https://example.com/x.json"}}}`, []string{": refers to another document: only references that begin with # work"}},
		"file, classic":   {`{type: object, properties: {a: {$ref: "file:///etc/passwd"}}}`, []string{": refers to another document: only references that begin with # work"}},
		"lost reference":  {`{type: object, properties: {a: {$ref: "#/$defs/x"}}}`, []string{": isn't a JSON Schema that can be used: a reference or an identifier in it is wrong"}},
		"no object":       {`{type: string}`, []string{"type: type must be object: parameters are one"}},
		"huge number":     {`{a: {minimum: 0.` + strings.Repeat("1", 401) + `}}`, []string{"a/minimum: holds a number that is out of range"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := yamlSchema(t, test.text, forParameters)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// Parameters may have the names of keywords.
func TestIsFlat(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		`{}`: true, `{name: {}}`: true, `{type: {type: string}}`: true, `{properties: {type: object}}`: true,
		`{name: }`: true, `{name: string}`: true, `{required: {type: boolean}}`: true,
		`{type: object}`: false, `{type: [object]}`: false, `{$ref: x}`: false, `{required: [a], properties: {a: {}}}`: false,
		`{anyOf: [{}]}`: false, `{additionalProperties: true}`: false,
	}
	for text, want := range tests {
		value, _, err := strictyaml.Parse([]byte(text), strictyaml.MaxBytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := isFlat(value.(map[string]any)); got != want {
			t.Errorf("isFlat(%s) = %t, want %t", text, got, want)
		}
	}
}

func TestOutputSchemas(t *testing.T) {
	t.Parallel()
	const text = `{n: {type: integer, required: true}}`
	tests := []struct {
		use      purpose
		document string
		want     []Problem
	}{
		{forOutput, `{"n":1,"more":2}`, nil},
		{forOutput, `{}`, []Problem{{"/n", "is required"}}},
		{forOutput, `[]`, []Problem{{"", "must be of type object"}}},
		{forLines, `[{"n":1},{"n":2,"more":3}]`, nil},
		{forLines, `[{"n":1},{}]`, []Problem{{"/1/n", "is required"}}},
	}
	for _, test := range tests {
		schema, faults := yamlSchema(t, text, test.use)
		if faults != nil {
			t.Fatal(faults)
		}
		got, err := schema.Validate(json.RawMessage(test.document))
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("Validate(%s) (-want +got), %v:\n%s", test.document, err, diff)
		}
	}
	if got, err := (*Schema)(nil).Validate(json.RawMessage(`1`)); got != nil || err != nil {
		t.Errorf("Validate without a schema = %v, %v", got, err)
	}
}

func FuzzApply(f *testing.F) {
	schema := mustSchema(f, orderSchema)
	for _, seed := range []string{`{"item":"x"}`, `{"item":1,"count":"5","options":{"gift":[]}}`, `{}`, `{"tags":["a",{}]}`, `{"a":1e400}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, found, err := schema.Apply(body)
		if err != nil {
			if !errors.Is(err, ErrInvalidJSON) || got != nil {
				t.Errorf("Apply(%q) = %s, %v", body, got, err)
			}
			return
		}
		if found != nil {
			return
		}
		again, found, err := schema.Apply(got)
		if string(again) != string(got) || found != nil || err != nil {
			t.Errorf("Apply isn't idempotent: %s, then %s, %v, %v", got, again, found, err)
		}
		for _, format := range []Format{FormatJSON, FormatYAML, FormatDotenv} {
			if line, err := Encode(got, format); err == nil && !strings.HasSuffix(string(line), "\n") {
				t.Errorf("Encode(%s, %s) = %q", got, format, line)
			}
		}
	})
}

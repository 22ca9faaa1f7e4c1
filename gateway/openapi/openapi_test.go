package openapi

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/pack"
	"attune/runtimes"
)

// actions loads actions: their files without ref and entry point, by name.
func actions(t *testing.T, files map[string]string) []*pack.Action {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"pack.yaml": "ref: demo\nversion: 1.0.0\n", "actions/run.sh": "#!/bin/sh\n"}
	for name, content := range files {
		all["actions/"+name+".yaml"] = "ref: demo." + name + "\nrunner_type: shell\nentry_point: run.sh\n" + content
	}
	for name, content := range all {
		path := filepath.Join(dir, "demo", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := pack.LoadCatalog(dir, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range catalog.Broken() {
		t.Fatalf("%s: %v", broken.Name, broken.Err)
	}
	return catalog.Actions()
}

// build makes a document, and reads it as its users do.
func build(t *testing.T, spec Spec) (map[string]any, *openapi3.T) {
	t.Helper()
	spec.Version, spec.Server, spec.ProblemOf = "1.2.3", "http://127.0.0.1:8080", struct{ Type string }{}
	body, err := Build(spec)
	if err != nil {
		t.Fatalf("Build() error = %v", err)
	}
	if again, err := Build(spec); err != nil || !bytes.Equal(body, again) {
		t.Errorf("Build() again is another document (%v)", err)
	}
	read, err := openapi3.NewLoader().LoadFromData(body)
	if err != nil {
		t.Fatalf("LoadFromData() error = %v\n%s", err, body)
	}
	// A schema may have further keywords, and "secret" is ours.
	if err := read.Validate(t.Context(), openapi3.AllowExtraSiblingFields("secret")); err != nil {
		t.Errorf("Validate() error = %v\n%s", err, body)
	}
	var document map[string]any
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatal(err)
	}
	return document, read
}

func TestSchemasOfActionsAreTheirAuthors(t *testing.T) {
	t.Parallel()
	text := Parameter{Detail: "d", Schema: Object{"type": "string"}}
	parameters := map[string]Parameter{"query:timeout": text, "query:stream": text, "query:delay": text, "query:priority": text, "header:Prefer": text}
	document, read := build(t, Spec{Parameters: parameters, Actions: actions(t, map[string]string{
		"tree": "output_format: json\nparameters:\n  $schema: 'https://json-schema.org/draft/2020-12/schema'\n  type: object\n" +
			"  required: [root]\n  properties:\n    root: {$ref: '#/$defs/node'}\n    text: {type: string, const: '#/$defs/node', default: '#/$defs/node'}\n" +
			"  $defs:\n    node: {type: object, properties: {below: {type: array, items: {$ref: '#/$defs/node'}}}}\n" +
			"output_schema: {type: object, properties: {again: {$ref: '#'}}}\n" +
			"examples:\n  - {root: {below: [{}]}}\n  - {name: the second, parameters: {root: {}}}\n",
		"hush":  "parameters: {token: {type: string, secret: true, required: true}}\n",
		"lines": "output_format: jsonl\noutput_schema: {a: {type: string}}\n",
		"bare":  "",
	})})
	schemas := document["components"].(map[string]any)["schemas"].(map[string]any)
	want := map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": []any{"root"},
		"properties": map[string]any{
			"root": map[string]any{"$ref": "#/components/schemas/demo.tree.parameters/$defs/node"},
			"text": map[string]any{"type": "string", "const": "#/$defs/node", "default": "#/$defs/node"}, // data, not references
		},
		"$defs": map[string]any{"node": map[string]any{"type": "object", "properties": map[string]any{
			"below": map[string]any{"type": "array", "items": map[string]any{"$ref": "#/components/schemas/demo.tree.parameters/$defs/node"}},
		}}},
	}
	if diff := gocmp.Diff(want, schemas["demo.tree.parameters"]); diff != "" {
		t.Errorf("parameters of demo.tree (-want +got):\n%s", diff)
	}
	output, _ := json.Marshal(schemas["demo.tree.output"])
	if !strings.Contains(string(output), `"again":{"$ref":"#/components/schemas/demo.tree.output"}`) {
		t.Errorf("output of demo.tree = %s", output)
	}
	token := read.Components.Schemas["demo.hush.parameters"].Value.Properties["token"].Value
	if !token.WriteOnly {
		t.Error("a secret is not write-only")
	}

	tree, hush, bare := read.Paths.Value("/invoke/demo.tree").Post, read.Paths.Value("/invoke/demo.hush").Post, read.Paths.Value("/invoke/demo.bare").Post
	if !tree.RequestBody.Value.Required || !hush.RequestBody.Value.Required || bare.RequestBody.Value.Required {
		t.Error("a body is required of those that need a parameter, and of no others")
	}
	examples := tree.RequestBody.Value.Content["application/json"].Examples
	if len(examples) != 2 || examples["example2"].Value.Summary != "the second" {
		t.Errorf("examples = %v", examples)
	}
	for name, media := range map[string]string{
		"tree": "application/json application/x-ndjson text/event-stream", "lines": "application/x-ndjson text/event-stream",
		"bare": "application/x-ndjson text/event-stream text/plain; charset=utf-8",
	} {
		content := read.Paths.Value("/invoke/demo." + name).Post.Responses.Status(200).Value.Content
		for one := range strings.SplitSeq(media, " ") {
			if one != "charset=utf-8" && content[strings.TrimSuffix(one, ";")] == nil && content[one+" charset=utf-8"] == nil {
				t.Errorf("demo.%s answers with %v, want %s", name, content, one)
			}
		}
	}
	if bare.OperationID != "demo.bare" || bare.Tags[0] != "pack demo" {
		t.Errorf("demo.bare = %s, %v", bare.OperationID, bare.Tags)
	}
}

type inner struct {
	Kind   kind       `json:"kind"`
	Parent *inner     `json:"parent,omitempty"`
	When   *time.Time `json:"when"`
}

type kind string

type outerPayload struct {
	inner
	Any    json.RawMessage `json:"any"`
	Maybe  []string        `json:"maybe,omitempty"`
	Counts map[string]int  `json:"counts"`
	Ref    pack.ActionRef  `json:"ref"` // a text of its own
	hidden int
	Never  string           `json:"-"`
	Ratio  float64          `json:"ratio,omitzero"`
	Sub    struct{ A bool } `json:"sub"`
}

func TestSchemasOfTypesAreWhatIsEncoded(t *testing.T) {
	t.Parallel()
	document, _ := build(t, Spec{
		Enums: map[reflect.Type][]any{reflect.TypeFor[kind](): {"a", "b"}},
		Operations: []Operation{{
			Method: "GET", Path: "/x/:id", Tag: "t", Summary: "s", Answers: []Answer{{Status: 200, Media: []string{"application/json"}, Body: outerPayload{hidden: 1}}},
		}},
		Parameters: map[string]Parameter{"path:id": {Detail: "d", Schema: Object{"type": "string"}}},
	})
	schemas := document["components"].(map[string]any)["schemas"].(map[string]any)
	anything := []any{"null", "boolean", "number", "string", "array", "object"}
	want := map[string]any{
		"type": "object", "required": []any{"kind", "when", "any", "counts", "ref", "sub"},
		"properties": map[string]any{
			"kind": map[string]any{"type": "string", "enum": []any{"a", "b"}}, "parent": map[string]any{"$ref": "#/components/schemas/Inner"},
			"when": map[string]any{"type": []any{"string", "null"}, "format": "date-time"}, "any": map[string]any{"type": anything},
			"maybe":  map[string]any{"type": "array", "items": map[string]any{"type": "string"}},
			"counts": map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "integer"}},
			"ref":    map[string]any{"type": "string"}, "ratio": map[string]any{"type": "number"},
			"sub": map[string]any{"type": "object", "properties": map[string]any{"A": map[string]any{"type": "boolean"}}, "required": []any{"A"}},
		},
	}
	if diff := gocmp.Diff(want, schemas["Outer"]); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
}

func TestProblemsAreReferredTo(t *testing.T) {
	t.Parallel()
	_, read := build(t, Spec{
		Problems: []Problem{{"not-found", 404, "There is none"}, {"draining", 503, "It stops"}, {"overloaded", 503, "It is full"}, {"teapot", 418, "It is one"}},
		Operations: []Operation{{
			Method: "POST", Path: "/x", Tag: "t", Summary: "s", Answers: []Answer{{Status: 204}}, Problems: []string{"overloaded"}, Open: true,
		}},
	})
	responses := read.Paths.Value("/x").Post.Responses
	if got := responses.Status(503).Ref; got != "#/components/responses/Problem503" {
		t.Errorf("503 = %s", got)
	}
	if got := *responses.Status(503).Value.Description; got != "- `draining`: It stops\n- `overloaded`: It is full" {
		t.Errorf("503 is described as %q", got)
	}
	if responses.Status(418) != nil {
		t.Error("the operation has a problem that it did not name")
	}
	if responses.Default().Ref != "#/components/responses/Problem" {
		t.Errorf("default = %s", responses.Default().Ref)
	}
	if security := read.Paths.Value("/x").Post.Security; security == nil || len(*security) != 1 || len((*security)[0]) != 0 {
		t.Errorf("security of an open operation = %v", security)
	}
}

func TestKeysAreAskedForWhereThereAreSome(t *testing.T) {
	t.Parallel()
	for keys, want := range map[bool]int{true: 1, false: 2} { // without keys, none is a choice
		_, read := build(t, Spec{Keys: keys})
		if len(read.Security) != want || read.Components.SecuritySchemes["key"].Value.Scheme != "bearer" {
			t.Errorf("Keys = %v: security = %v", keys, read.Security)
		}
	}
}

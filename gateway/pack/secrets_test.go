package pack

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const loginSchema = `
user: {type: string, default: ada}
token: {type: string, secret: true, required: true, minLength: 5, pattern: "^tok-"}
pin: {type: integer, secret: true}
`

func TestSecretsAreMarkedInBothForms(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"flat":    `{a: {type: string}, b: {type: string, secret: true}, c: {secret: false}, secret: {type: string, secret: true}}`,
		"classic": `{type: object, additionalProperties: false, properties: {a: {type: string}, b: {type: string, secret: true}, c: {}, secret: {type: string, secret: true}}}`,
	} {
		schema := mustSchema(t, text)
		if diff := cmp.Diff([]string{"b", "secret"}, schema.Secrets()); diff != "" {
			t.Errorf("%s: secrets (-want +got):\n%s", name, diff)
		}
		want := `{"$schema":"https://json-schema.org/draft/2020-12/schema","additionalProperties":false,"properties":{"a":{"type":"string"},` +
			`"b":{"secret":true,"type":"string","writeOnly":true},"c":{},"secret":{"secret":true,"type":"string","writeOnly":true}},"type":"object"}`
		if diff := cmp.Diff(want, string(schema.JSON())); diff != "" {
			t.Errorf("%s: JSON (-want +got):\n%s", name, diff)
		}
	}
}

func TestSecretFaults(t *testing.T) {
	t.Parallel()
	const shows = " would show a secret to everybody who may see the pack: leave it out"
	tests := map[string]struct {
		text string
		use  purpose
		want []string
	}{
		"default":      {`{a: {secret: true, default: x}}`, forParameters, []string{"a/default: a.default" + shows}},
		"const below":  {`{a: {secret: true, properties: {default: {const: x}}}}`, forParameters, []string{"a/properties/default/const: a.properties.default.const" + shows}},
		"alternatives": {`{a: {secret: true, anyOf: [{type: string}, {enum: [x]}]}}`, forParameters, []string{"a/anyOf/1/enum: a.anyOf.1.enum" + shows}},
		"referred": {`{type: object, properties: {a: {$ref: "#/$defs/d", secret: true}}, $defs: {d: {$ref: "#/$defs/e"}, e: {default: x}}}`, forParameters,
			[]string{"properties/a: properties.a refers to a default, const or enum, which would show a secret to everybody who may see the pack"}},
		"no boolean":    {`{a: {secret: maybe}}`, forParameters, []string{"a/secret: a.secret must be true or false"}},
		"part":          {`{a: {properties: {b: {secret: true}}}}`, forParameters, []string{"a/properties/b/secret: secret: true is for a whole parameter, not for a part of one"}},
		"part, classic": {`{type: object, $defs: {b: {secret: true}}}`, forParameters, []string{"$defs/b/secret: secret: true is for a whole parameter, not for a part of one"}},
		"output":        {`{a: {secret: true}}`, forOutput, []string{"a/secret: secret: true is for parameters: in what an action prints, their values are masked anyway"}},
		"name": {`{type: object, properties: {"a b": {secret: true}}}`, forParameters,
			[]string{"properties/a b: the name of a secret must begin with a letter or _, and hold up to 64 letters, digits and _ . -"}},
		"good":          {`{a: {secret: true, properties: {default: {type: string}}}, b: {default: {secret: true}}}`, forParameters, nil},
		"configuration": {`{a: {secret: true}}`, forConfig, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := yamlSchema(t, test.text, test.use)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestApplyWithStoredSecrets(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, loginSchema)
	const clash = "is a stored secret of the pack, which a caller can't give: leave it out"
	const unfit = "is a secret that doesn't fit its schema"
	tests := []struct {
		body   string
		stored map[string]string
		want   string
		found  []Problem
	}{
		{`{"token":"tok-1"}`, nil, `{"token":"tok-1","user":"ada"}`, nil},
		{``, map[string]string{"token": "tok-1", "pin": "1234"}, `{"pin":1234,"token":"tok-1","user":"ada"}`, nil},
		{`{}`, map[string]string{"pin": "1"}, ``, []Problem{{"/token", "is required"}}},
		{`{"token":"tok-2"}`, map[string]string{"token": "tok-1"}, ``, []Problem{{"/token", clash}}},
		{`{"token":null}`, map[string]string{"token": "tok-1"}, ``, []Problem{{"/token", clash}}},
		{`{}`, map[string]string{"token": "tok-1", "pin": "x"}, ``, []Problem{{"/pin", "is a stored secret of the pack, which is not the JSON that its type needs"}}},
		{`{"token":"tok-1"}`, map[string]string{"user": "eve", "other": "x"}, `{"token":"tok-1","user":"ada"}`, nil}, // not declared as secrets
		{`{"token":"hush"}`, nil, ``, []Problem{{"/token", unfit}}},
		{`{"token":{"hush":1}}`, nil, ``, []Problem{{"/token", "must be of type string"}}},
	}
	for _, test := range tests {
		got, found, err := schema.ApplyWith([]byte(test.body), test.stored)
		if diff := cmp.Diff(test.found, found); diff != "" || string(got) != test.want || err != nil {
			t.Errorf("ApplyWith(%s, %v) = %s, %v, want %s (-want +got):\n%s", test.body, test.stored, got, err, test.want, diff)
		}
	}
}

// Problems inside of a secret name neither its keys nor what they may be.
func TestProblemsAreDiscreet(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, `{key: {type: object, secret: true, additionalProperties: {type: string, pattern: "^a"}, maxProperties: 1}, other: {enum: [a, b]}}`)
	_, found, err := schema.Apply([]byte(`{"key":{"hush-1":1,"hush-2":"b"},"other":"c"}`))
	want := []Problem{{"/key", "is a secret that doesn't fit its schema"}, {"/other", `must be one of "a", "b"`}}
	if diff := cmp.Diff(want, found); diff != "" || err != nil {
		t.Errorf("Apply, %v (-want +got):\n%s", err, diff)
	}
	if strings.Contains(strings.Join([]string{found[0].Pointer, found[0].Detail}, ""), "hush") {
		t.Error("a problem tells a secret's key")
	}
}

func TestSecretValuesAndTexts(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, `{a: {secret: true}, b: {secret: true}, c: {secret: true}, d: {secret: true}, e: {}}`)
	parameters := json.RawMessage(`{"a":"x'y","b":{"user":"u1","list":[12.50,true,null]},"c":null,"e":"open"}`)
	values, err := schema.SecretValues(parameters)
	if diff := cmp.Diff(map[string]string{"a": "x'y", "b": `{"list":[12.50,true,null],"user":"u1"}`}, values); diff != "" || err != nil {
		t.Errorf("SecretValues, %v (-want +got):\n%s", err, diff)
	}
	texts, err := schema.SecretTexts(parameters)
	want := []string{"x'y", "12.50", "[12.50,true,null]", "u1", `{"list":[12.50,true,null],"user":"u1"}`}
	if diff := cmp.Diff(want, texts); diff != "" || err != nil {
		t.Errorf("SecretTexts, %v (-want +got):\n%s", err, diff)
	}
}

package execution

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"attune/gateway/pack"
	"attune/gateway/secret"
)

// shapes are values with a secret in them.
var shapes = map[string]func(text string) any{
	"text":   func(text string) any { return text },
	"list":   func(text string) any { return []any{text, 1} },
	"object": func(text string) any { return map[string]any{"a": map[string]any{"b": text}} },
}

// FuzzDocumentsAreMasked: whatever a secret is, a script that prints the document
// which it was given shows nothing of it.
func FuzzDocumentsAreMasked(f *testing.F) {
	f.Add("hunter22")
	f.Add("a\u0007b\u0085cdefgh é…")
	f.Add("one\u2028two\u2029three\ufeff\U0001f600\u007f")
	f.Add("it's \"q\" \\ \n\t<&>\b\f\r")
	f.Add("\U000e0001 tag \u00ad soft")
	f.Add(strings.Repeat("long 'é'\u0085\u2028", 2000))
	schema := oneSecret(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) < secret.MinMasked || len(text) > secret.MaxValue || !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			t.Skip("can't be a secret, or isn't masked")
		}
		for shape, around := range shapes {
			for _, format := range []pack.Format{pack.FormatJSON, pack.FormatYAML, pack.FormatDotenv} {
				c := &call{action: &pack.Action{Parameters: schema}}
				got := document(t, around(text), format, c)
				without := document(t, around("\x01"), format, nil)
				mark := `\u0001`
				if !strings.Contains(without, mark) {
					mark = "\x01"
				}
				begin, end, _ := strings.Cut(without, mark)
				before, after, found := strings.Cut(c.masker.String(got), secret.Mask)
				if !found || !strings.HasPrefix(begin, before) || !strings.HasSuffix(end, after) {
					t.Errorf("%s, %s: %q is masked as %q%s%q, want %q%s%q", shape, format, got, before, secret.Mask, after, begin, secret.Mask, end)
				}
			}
		}
	})
}

// document is what a script reads whose only parameter is a secret, which c, if
// there is one, hides.
func document(t *testing.T, value any, format pack.Format, c *call) string {
	t.Helper()
	parameters, err := json.Marshal(map[string]any{"k": value})
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		if err := c.hide(parameters); err != nil {
			t.Fatal(err)
		}
	}
	document, err := pack.Encode(parameters, format)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

// oneSecret is the schema of the parameter k.
func oneSecret(t testing.TB) *pack.Schema {
	t.Helper()
	_, catalog := writePack(t, map[string]action{"a": {"parameters: {k: {secret: true}}\n", "cat"}})
	found, ok := catalog.Action(pack.ActionRef{Pack: "demo", Name: "a"})
	if !ok {
		t.Fatal("no action demo.a")
	}
	return found.Parameters
}

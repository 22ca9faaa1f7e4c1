package secret

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// The forms are what others write, character by character.
func TestFormsAreWhatGoWrites(t *testing.T) {
	t.Parallel()
	inside := func(quoted string) string {
		return strings.TrimSuffix(quoted, "\n")[1 : len(strings.TrimSuffix(quoted, "\n"))-1]
	}
	var ascii strings.Builder
	for b := range byte(0x80) {
		ascii.WriteByte(b)
	}
	for _, text := range []string{ascii.String(), "größe €  😀", "a\u0085b\u2028c\u2029d\ufeff <&>", "plain-text_1.2~3", "a b/c+d%20e'f(g)!*"} {
		all := forms(text)
		html, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var bare bytes.Buffer
		encoder := json.NewEncoder(&bare)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(text); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"query": url.QueryEscape(text), "path": url.PathEscape(text), "json": inside(bare.String()), "html": inside(string(html)),
			"hexadecimal": hex.EncodeToString([]byte(text)), "HEXADECIMAL": strings.ToUpper(hex.EncodeToString([]byte(text))),
		} {
			if !slices.Contains(all, want) {
				t.Errorf("%s of %q: %q is not among the forms", name, text, want)
			}
		}
	}
}

package pack

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsAreBounded(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 17 {
		names = append(names, fmt.Sprintf("s%02d: {secret: true}", i))
	}
	schema := mustSchema(t, "{open: {}, "+strings.Join(names, ", ")+"}")
	text := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	list := func(n int, item string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	var most []string
	for i := range 16 {
		most = append(most, fmt.Sprintf(`"s%02d":%s`, i, text(MaxSecret)))
	}
	const (
		long  = "is a secret of more than 65536 bytes"
		many  = "is a secret of more than 256 values"
		total = "makes it more than 1048576 bytes that all secrets of the call have together"
	)
	for name, test := range map[string]struct {
		body string
		want []Problem
	}{
		"not a secret":     {`"open":` + text(2*MaxSecret), nil},
		"longest":          {`"s00":` + text(MaxSecret), nil},
		"too long":         {`"s00":` + text(MaxSecret+1), []Problem{{"/s00", long}}},
		"long in a list":   {`"s00":[[` + text(MaxSecret) + `]]`, []Problem{{"/s00", long}}},
		"long as a key":    {`"s00":{` + text(MaxSecret) + `:1}`, []Problem{{"/s00", long}}},
		"many nulls":       {`"s00":` + list(20_000, "null"), []Problem{{"/s00", long}}},
		"most values":      {`"s00":` + list(MaxSecretTexts-1, "1"), nil},
		"too many values":  {`"s00":` + list(MaxSecretTexts, "1"), []Problem{{"/s00", many}}},
		"too many lists":   {`"s00":` + list(MaxSecretTexts, "[]"), []Problem{{"/s00", many}}},
		"most together":    {strings.Join(most, ","), nil},
		"too much":         {strings.Join(most, ",") + `,"s16":"x"`, []Problem{{"/s16", total}}},
		"two are too long": {`"s03":` + text(MaxSecret+1) + `,"s01":` + text(1<<20), []Problem{{"/s01", long}, {"/s03", long}}},
		"deep":             {`"s00":` + strings.Repeat("[", 90) + text(12_000) + strings.Repeat("]", 90), []Problem{{"/s00", total}}},
	} {
		_, found, err := schema.Apply([]byte("{" + test.body + "}"))
		if diff := cmp.Diff(test.want, found); diff != "" || err != nil {
			t.Errorf("%s: Apply, %v (-want +got):\n%s", name, err, diff)
		}
	}
	_, found, err := schema.ApplyWith(nil, map[string]string{"s00": strings.Repeat("x", MaxSecret+1)})
	if diff := cmp.Diff([]Problem{{"/s00", long}}, found); diff != "" || err != nil {
		t.Errorf("ApplyWith a stored one, %v (-want +got):\n%s", err, diff)
	}
}

// The bounds are those of what has to be hidden: not much more than they say.
func TestSecretTextsAreWhatIsBounded(t *testing.T) {
	t.Parallel()
	schema := mustSchema(t, "{k: {secret: true}}")
	parameters := `{"k":` + strings.Repeat(`{"a":[`, 45) + `"` + strings.Repeat("x", 10_000) + `"` + strings.Repeat("]}", 45) + "}"
	if _, found, err := schema.Apply([]byte(parameters)); len(found) > 0 || err != nil {
		t.Fatalf("Apply = %v, %v", found, err)
	}
	texts, err := schema.SecretTexts([]byte(parameters))
	if size := len(strings.Join(texts, "")); err != nil || len(texts) != 91 || size > MaxSecrets {
		t.Errorf("%d texts of %d bytes, %v", len(texts), size, err)
	}
}

package runtimes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"a": "{b}", "b": "B", "env_dir": "/e"}
	tests := map[string]string{
		"":                          "",
		"plain":                     "plain",
		"{env_dir}/bin":             "/e/bin",
		"{a}{b}":                    "{b}B", // what a value holds isn't looked at again
		"{{b}}":                     "{B}",
		"{":                         "{",
		"}":                         "}",
		"{}":                        "{}",
		"{ b }":                     "{ b }",
		"{B}":                       "{B}",
		"{b":                        "{b",
		"{print $1}":                "{print $1}",
		"${b}":                      "$B",
		"if (x) {for (;;) {b} }":    "if (x) {for (;;) B }",
		"sys.exit({'a': 1}['a'])":   "sys.exit({'a': 1}['a'])",
		strings.Repeat("{b}", 1000): strings.Repeat("B", 1000),
	}
	for in, want := range tests {
		got, err := Expand([]string{in}, vars)
		if diff := cmp.Diff([]string{want}, got); err != nil || diff != "" {
			t.Errorf("Expand(%q) (-want +got), %v:\n%s", in, err, diff)
		}
	}
	for _, in := range []string{"{c}", "{env_dri}", "{b}{pack_dir}"} {
		if got, err := Expand([]string{"ok", in}, vars); err == nil || got != nil {
			t.Errorf("Expand(%q) = %q, %v", in, got, err)
		}
	}
	_, err := ExpandString("{nothing}", vars)
	if want := `template variable "{nothing}" has no value here`; err == nil || err.Error() != want {
		t.Errorf("ExpandString: %v, want %s", err, want)
	}
}

func TestVars(t *testing.T) {
	t.Parallel()
	runtime := &Runtime{EnvVars: map[string]EnvVar{
		"SET":   {Value: "new"},
		"FIRST": {Value: "{pack_dir}/lib", Operation: OpPrepend},
		"LAST":  {Value: "x", Operation: OpAppend, Separator: ";"},
		"ALONE": {Value: "y", Operation: OpPrepend},
	}}
	base := map[string]string{"SET": "old", "FIRST": "/a", "LAST": "w", "KEPT": "1"}
	own := map[string]string{"FIRST": "/own", "OWN": "{pack_dir}"}
	got, err := runtime.Vars(base, own, map[string]string{"pack_dir": "/p"})
	want := []string{"ALONE=y", "FIRST=/p/lib:/own", "KEPT=1", "LAST=w;x", "OWN={pack_dir}", "SET=new"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Vars (-want +got), %v:\n%s", err, diff)
	}
	if base["SET"] != "old" {
		t.Error("Vars has changed its base")
	}
	if _, err := runtime.Vars(nil, nil, nil); err == nil {
		t.Error("Vars without a value for {pack_dir} has no error")
	}
}

// Expansion is one pass: with values that can't be told from text, undoing it
// gives the template again.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"{a}", "{{a}}", "{a}{b}", "{a b}", "x{", "${a}"} {
		f.Add(seed, "{b}", "v")
	}
	f.Fuzz(func(t *testing.T, template, a, b string) {
		got, err := ExpandString(template, map[string]string{"a": a, "b": b})
		if err != nil {
			return
		}
		want := strings.NewReplacer("{a}", a, "{b}", b).Replace(template)
		if got != want {
			t.Errorf("ExpandString(%q) = %q, want %q", template, got, want)
		}
	})
}

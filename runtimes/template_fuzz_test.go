package runtimes

import (
	"slices"
	"strings"
	"testing"
)

// FuzzExpandVariables expands with values that look like templates themselves.
// What a value holds stays as it is, and one unknown name spoils the whole.
func FuzzExpandVariables(f *testing.F) {
	f.Fuzz(func(t *testing.T, before, name, after, value string) {
		template := before + "{" + name + "}" + after
		names := variables(template)
		known := map[string]string{}
		for _, n := range names {
			known[n] = "{" + n + "}" // each stands for itself
		}
		same, err := Expand([]string{template, "plain"}, known)
		if err != nil || !slices.Equal(same, []string{template, "plain"}) {
			t.Errorf("Expand(%q) of every variable by itself = %q, %v", template, same, err)
		}
		for _, n := range names {
			known[n] = value
		}
		got, err := ExpandString(template, known)
		if err != nil {
			t.Errorf("ExpandString(%q) = %v", template, err)
		}
		if n := len(names); len(got) != len(template)+n*len(value)-lengths(names)-2*n {
			t.Errorf("ExpandString(%q) with %q = %q: not each variable was replaced once", template, value, got)
		}
		for _, n := range names {
			delete(known, n)
			if got, err := Expand([]string{"plain", template}, known); err == nil || got != nil || !strings.Contains(err.Error(), n) {
				t.Errorf("Expand(%q) without %s = %q, %v", template, n, got, err)
			}
			known[n] = value
		}
	})
}

func lengths(names []string) int {
	n := 0
	for _, name := range names {
		n += len(name)
	}
	return n
}

package strictyaml

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type person struct {
	Name    string            `yaml:"name"`
	Age     int64             `yaml:"age"`
	Weight  float64           `yaml:"weight"`
	Happy   *bool             `yaml:"happy"`
	Tags    []string          `yaml:"tags"`
	Vars    map[string]string `yaml:"vars"`
	Meta    map[string]any    `yaml:"meta"`
	Address struct {
		Town string `yaml:"town"`
	} `yaml:"address"`
}

func read(t *testing.T, text string) (person, []string) {
	t.Helper()
	var p person
	var faults Faults
	Read("p.yaml", []byte(text), &p, &faults, Options{Later: []string{"wings"}})
	if err := faults.Err(); err != nil {
		return p, strings.Split(err.Error(), "\n")
	}
	return p, nil
}

func TestReadDecodes(t *testing.T) {
	t.Parallel()
	got, faults := read(t, `
name: 1.10
age: 36
weight: 61.5
happy: false
tags: [a, "b"]
vars: {PORT: 8080, ON: true}
meta: {big: 123456789012345678901234567890, half: .5, hex: 0x10, none: ~, list: &l [1], again: *l}
address:
  town: |
    Paris
`)
	if faults != nil {
		t.Fatal(faults)
	}
	no := false
	want := person{
		Name: "1.10", Age: 36, Weight: 61.5, Happy: &no, Tags: []string{"a", "b"},
		Vars: map[string]string{"PORT": "8080", "ON": "true"},
		Meta: map[string]any{
			"big": json.Number("123456789012345678901234567890"), "half": json.Number("0.5"), "hex": json.Number("16"),
			"none": nil, "list": []any{json.Number("1")}, "again": []any{json.Number("1")},
		},
	}
	want.Address.Town = "Paris\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Read (-want +got):\n%s", diff)
	}
}

func TestReadReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, got := read(t, "nmae: Ada\nage: old\nhappy: yes\ntags: x\nwings: 2\naddress:\n  street: 1\nweight: {}\ncolour: red\n")
	want := []string{
		`p.yaml:1: unknown key "nmae": did you mean "name"?`,
		`p.yaml:2: age must be a number, but is a string`,
		`p.yaml:3: happy must be true or false, but is a string`,
		`p.yaml:4: tags must be a list, but is a string`,
		`p.yaml:5: wings is not supported yet: leave it out`,
		`p.yaml:7: unknown key "street" in address: there is town`,
		`p.yaml:8: weight must be a number, but is a mapping`,
		`p.yaml:9: unknown key "colour": there is address, age, happy, meta, name, tags, vars, weight`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	bomb := "meta:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		alias := fmt.Sprintf("*a%d", i)
		bomb += fmt.Sprintf("  a%d: &a%d [%s]\n", i+1, i+1, strings.Join([]string{alias, alias, alias, alias, alias, alias, alias, alias, alias, alias}, ", "))
	}
	tests := map[string]struct{ text, want string }{
		"empty":            {"", "p.yaml: is empty"},
		"only a comment":   {"# x\n", "p.yaml: is empty"},
		"a list":           {"- a\n", "p.yaml:1: must be a mapping of keys, but is a list"},
		"two documents":    {"name: a\n---\nname: b\n", "p.yaml:3: a second document begins here: a file holds one"},
		"duplicate key":    {"name: a\nage: 1\nname: b\n", `p.yaml:3: key "name" is there already, in line 1`},
		"duplicate inside": {"meta: {a: 1, a: 2}\n", `p.yaml:1: key "a" is there already, in line 1`},
		"syntax":           {"name: [a\nage: 1\n", "p.yaml:1: isn't YAML: did not find expected ',' or ']'"},
		"merge key":        {"meta: &m {a: 1}\nvars:\n  <<: *m\n", "p.yaml:3: merge keys (<<) aren't supported: write the keys out"},
		"tag":              {"name: !!python/object x\n", "p.yaml:1: tags aren't supported"},
		"unknown alias":    {"name: *x\n", "p.yaml: isn't YAML: unknown anchor 'x' referenced"},
		"alias of itself":  {"meta: &m {a: *m}\n", "p.yaml:1: an alias inside of what it names"},
		"NUL":              {"name: \"a\x00\"\n", "p.yaml: holds a NUL byte"},
		"not UTF-8":        {"name: \xff\n", "p.yaml: isn't UTF-8"},
		"too large":        {"name: " + strings.Repeat("x", MaxBytes), "p.yaml: is larger than 1048576 bytes"},
		"deep flow":        {"meta: " + strings.Repeat("[", 100_000), "p.yaml: isn't YAML: exceeded max depth of 10000"},
		"deep block":       {strings.Repeat("- ", 100_000), "p.yaml: isn't YAML: exceeded max depth of 10000"},
		"deep keys":        {"meta: " + strings.Repeat("[", 200) + strings.Repeat("]", 200), "p.yaml:1: nests deeper than 100"},
		"alias bomb":       {bomb, "p.yaml:6: aliases multiply to too many values"},
		"NaN":              {"meta: {a: .nan}\n", "p.yaml:1: infinity and NaN can't be written in JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, got := read(t, test.text)
			if diff := cmp.Diff([]string{test.want}, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// A text full of opening brackets is no deep document.
func TestBracketsInStringsDontNest(t *testing.T) {
	t.Parallel()
	text := "tags:\n" + strings.Repeat("  - \"[INFO {\"\n", 500) + strings.Repeat("  - some [ text\n", 500)
	if _, faults := read(t, text); faults != nil {
		t.Error(faults)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	for i := range 150 {
		fmt.Fprintf(&text, "zzzzzzzz%d: 1\n", i)
	}
	_, got := read(t, text.String())
	if len(got) != 101 || got[100] != "and 50 more" {
		t.Errorf("%d faults, the last %q", len(got), got[len(got)-1])
	}
}

func TestFaultfFindsTheDeepestLine(t *testing.T) {
	t.Parallel()
	var p person
	var faults Faults
	doc := Read("p.yaml", []byte("name: a\nmeta:\n  list:\n    - 1\n    - {b: 2}\n"), &p, &faults, Options{})
	doc.Faultf(At("meta", "list", "1", "b"), "x")
	doc.Faultf(At("meta", "nothing"), "y")
	doc.Faultf(At("vars"), "z")
	want := "p.yaml:5: x\np.yaml:2: y\np.yaml: z"
	if got := faults.Err().Error(); got != want {
		t.Errorf("faults %q, want %q", got, want)
	}
	if !doc.Has("name") || doc.Has("vars") || !doc.Parsed() {
		t.Error("Has or Parsed is wrong")
	}
}

// The time that a text takes is linear in its length, whatever its shape.
func TestLargeTexts(t *testing.T) {
	t.Parallel()
	var wide strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&wide, "key%d: %d\n", i, i)
	}
	for _, text := range []string{wide.String(), strings.Repeat("- {a: 1}\n", 100_000), strings.Repeat("- &a x\n- *a\n", 50_000)} {
		start := time.Now()
		if _, _, err := Parse([]byte(text), 8*MaxBytes); err != nil {
			t.Errorf("Parse of %.20q…: %v", text, err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("Parse of %.20q… took %v", text, took)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("name: a\nmeta: {a: [1, 0x2, .5]}\n")
	f.Add("a: &x [1]\nb: *x\n")
	f.Add("? a\n: - - b\n")
	f.Add("name: |\n  x\n  y\nvars: {A: 1}")
	f.Fuzz(func(t *testing.T, text string) {
		var p person
		var faults Faults
		Read("p.yaml", []byte(text), &p, &faults, Options{})
		value, _, err := Parse([]byte(text), MaxBytes)
		if err != nil {
			return
		}
		if _, err := json.Marshal(value); err != nil {
			t.Errorf("Parse(%q) gave what JSON can't hold: %v", text, err)
		}
	})
}

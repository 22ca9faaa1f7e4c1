package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDocumentRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ text, want string }{
		"empty":                {"", "ends too early at byte 0"},
		"white space":          {" \n", "ends too early at byte 2"},
		"truncated":            {`{"a":`, "ends too early at byte 5"},
		"trailing garbage":     {`{} x`, "something follows the document at byte 3"},
		"two documents":        {`{}{}`, "something follows the document at byte 2"},
		"byte order mark":      {"\ufeff{}", "begins with a byte order mark"},
		"invalid UTF-8":        {"\"\xff\"", "isn't UTF-8"},
		"lone high surrogate":  {`"\ud800"`, "a lone surrogate at byte 7"},
		"lone low surrogate":   {`"\udc00"`, "a lone surrogate at byte 7"},
		"two high surrogates":  {`"\ud800\ud800"`, "a lone surrogate at byte 13"},
		"duplicate key":        {`{"a":1,"a":2}`, "the same key again at byte 7"},
		"escaped duplicate":    {`{"a":1,"\u0061":2}`, "the same key again at byte 7"},
		"deep":                 {strings.Repeat("[", 100_000), "nests deeper than 100 at byte 101"},
		"number out of range":  {`{"a":1e999}`, "a number that is out of range at byte 5"},
		"huge exponent":        {`1e1000000000`, "a number that is out of range at byte 0"},
		"tiny exponent":        {`1e-1000000000`, "a number that is out of range at byte 0"},
		"endless digits":       {strings.Repeat("1", 401), "a number that is out of range at byte 0"},
		"leading zero":         {`01`, "something follows the document at byte 1"},
		"plus":                 {`+1`, "unexpected character at byte 0"},
		"bare minus":           {`-`, "a number without digits at byte 1"},
		"point":                {`1.`, "a number without digits after its point at byte 2"},
		"exponent":             {`1e`, "a number without digits in its exponent at byte 2"},
		"NaN":                  {`NaN`, "unexpected character at byte 0"},
		"single quotes":        {`{'a':1}`, "a key in quotes is missing at byte 1"},
		"trailing comma":       {`{"a":1,}`, "a key in quotes is missing at byte 7"},
		"trailing comma, list": {`[1,]`, "unexpected character at byte 3"},
		"no colon":             {`{"a" 1}`, "a colon is missing at byte 5"},
		"no comma":             {`{"a":1 "b":2}`, "a comma or } is missing at byte 7"},
		"no comma, list":       {`[1 2]`, "a comma or ] is missing at byte 3"},
		"control character":    {"\"a\nb\"", "a control character in a string at byte 2"},
		"open string":          {`"a`, "a string doesn't end at byte 2"},
		"unknown escape":       {`"\x"`, "an escape that doesn't exist at byte 1"},
		"signed escape":        {`"\u+123"`, "an escape that doesn't exist at byte 1"},
		"NUL":                  {"\x00", "unexpected character at byte 0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parseDocument([]byte(test.text))
			if !errors.Is(err, ErrInvalidJSON) || err.Error() != "invalid JSON: "+test.want {
				t.Errorf("parseDocument = %v, want %s", err, test.want)
			}
		})
	}
}

func TestParseDocumentKeepsNumbers(t *testing.T) {
	t.Parallel()
	text := `{"a":9007199254740993,"b":[1.10,-0,1E+2],"c":"\u00e9\ud83d\ude00\n\/","d":{"":null},"e":true}`
	value, err := parseDocument([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got, err := compact(value)
	want := `{"a":9007199254740993,"b":[1.10,-0,1E+2],"c":"é😀\n/","d":{"":null},"e":true}`
	if err != nil || string(got) != want {
		t.Errorf("compact = %s, %v, want %s", got, err, want)
	}
}

// Whatever is accepted, encoding/json reads in the same way.
func FuzzParseDocument(f *testing.F) {
	for _, seed := range []string{`{"a":[1,2.5e3,"x\u00e9\ud83d\ude00",null,true]}`, `"\ud800"`, `{"a":1,"a":2}`, ` [ ] `, `-0.0e-7`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := parseDocument(data)
		var want any
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		wantErr := decoder.Decode(&want)
		if err != nil {
			return // stricter by intent
		}
		if diff := cmp.Diff(want, got); wantErr != nil || diff != "" {
			t.Errorf("parseDocument(%q) and encoding/json (%v) differ:\n%s", data, wantErr, diff)
		}
	})
}

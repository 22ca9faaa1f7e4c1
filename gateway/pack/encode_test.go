package pack

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/strictyaml"
)

const nasty = `{"a":{"b":"it's","c":{}},"big":9007199254740993,"e":1e5,"l":[1,{"x":"y"},[],[2,[3]]],"n":null,"no":"no",` +
	`"quote":"\"$(id) {env_dir} \\ -rf\n\ttab","t":true,"u":"é😀\u007f\ufeff\u2028","w d":""}`

func TestEncode(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		params string
		format Format
		want   string
	}{
		"json":         {`{"b": 1, "a": "x y"}`, FormatJSON, "{\"a\":\"x y\",\"b\":1}\n"},
		"json, empty":  {`{}`, FormatJSON, "{}\n"},
		"dotenv":       {`{"a":{"b":"it's"},"n":null,"l":[1],"t":true,"x":9007199254740993,"m":"a\nb"}`, FormatDotenv, "a.b='it'\\''s'\nl='[1]'\nm='a\nb'\nn=''\nt='true'\nx='9007199254740993'\n"},
		"dotenv empty": {`{}`, FormatDotenv, "\n"},
		"yaml":         {`{"name":"Ada","list":[1,{"x":"y","z":[]},[2]],"on":{"k":null},"e":1e5}`, FormatYAML, "\"e\": 1.0e+5\nlist:\n  - 1\n  -\n    \"x\": \"y\"\n    \"z\": []\n  -\n    - 2\nname: \"Ada\"\n\"on\":\n  \"k\": null\n"},
		"yaml empty":   {`{}`, FormatYAML, "{}\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Encode(json.RawMessage(test.params), test.format)
			if diff := cmp.Diff(test.want, string(got)); diff != "" || err != nil {
				t.Errorf("Encode (-want +got), %v:\n%s", err, diff)
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		params string
		format Format
		want   string
	}{
		"a key that is a command": {`{"x\nrm -rf":1}`, FormatDotenv, "can't be written in this format: dotenv needs names of letters, digits, _ and -"},
		"a key with an equals":    {`{"a=b":1}`, FormatDotenv, "can't be written in this format: dotenv needs names of letters, digits, _ and -"},
		"an empty key":            {`{"":1}`, FormatDotenv, "can't be written in this format: dotenv needs names of letters, digits, _ and -"},
		"one name twice":          {`{"a.b":1,"a":{"b":2}}`, FormatDotenv, "can't be written in this format: two values have one name in dotenv"},
		"NUL":                     {`{"a":"\u0000"}`, FormatDotenv, "can't be written in this format: dotenv can't hold a NUL character"},
		"no object":               {`[]`, FormatJSON, "can't be written in this format: parameters are an object"},
		"text":                    {`{}`, FormatText, "can't be written in this format: text"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := Encode(json.RawMessage(test.params), test.format); !errors.Is(err, ErrUnencodable) || err.Error() != test.want {
				t.Errorf("Encode: %v, want %s", err, test.want)
			}
		})
	}
}

// What is written as YAML reads back as what it was.
func TestYAMLRoundTrip(t *testing.T) {
	t.Parallel()
	encoded, err := Encode(json.RawMessage(nasty), FormatYAML)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := strictyaml.Parse(encoded, strictyaml.MaxBytes)
	if err != nil {
		t.Fatalf("%v in\n%s", err, encoded)
	}
	want, err := parseDocument([]byte(strings.Replace(nasty, "1e5", "1.0e+5", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("YAML (-want +got):\n%s\n%s", diff, encoded)
	}
}

// A shell that sources dotenv gets the values, and runs nothing of them.
func TestShellSourcesDotenv(t *testing.T) {
	t.Parallel()
	value := "it's $(echo pwned) `id` \\ \"x\"\n'; echo pwned; '"
	params, err := json.Marshal(map[string]string{"value": value})
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := Encode(params, FormatDotenv)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "sh", "-c", ". /dev/stdin; printf %s \"$value\"")
	command.Stdin = strings.NewReader(string(encoded))
	got, err := command.Output()
	if err != nil || string(got) != value {
		t.Errorf("the shell has %q, %v, want %q", got, err, value)
	}
}

func TestParseOutput(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		format Format
		stdout string
		want   string
		err    string
	}{
		"text":               {FormatText, "a \"b\"\n", `"a \"b\"\n"`, ""},
		"text, empty":        {FormatText, "", `""`, ""},
		"text, not UTF-8":    {FormatText, "a\xffb", `"a` + "\ufffd" + `b"`, ""},
		"json":               {FormatJSON, " {\"b\": 1,\n\"a\": 9007199254740993} \n", `{"b":1,"a":9007199254740993}`, ""},
		"json, a number":     {FormatJSON, "3\n", `3`, ""},
		"json, null":         {FormatJSON, "null", `null`, ""},
		"json, last line":    {FormatJSON, "loading...\n{\"a\":1}\n\n", `{"a":1}`, ""},
		"json, blank":        {FormatJSON, " \n", "", "bad output: stdout is empty, where a json document was promised"},
		"json, chat":         {FormatJSON, "hello\nworld\n", "", "bad output: stdout isn't one JSON document, and neither is its last line: invalid JSON: unexpected character at byte 0"},
		"json, one bad line": {FormatJSON, "{\"a\": NaN}\n", "", "bad output: stdout isn't one JSON document, and neither is its last line: invalid JSON: unexpected character at byte 6"},
		"json, two on lines": {FormatJSON, "{\"a\":1}\n{\"a\":2}\n", `{"a":2}`, ""},
		"yaml":               {FormatYAML, "a: [1, x]\nb: no\nc: 9007199254740993\n", `{"a":[1,"x"],"b":"no","c":9007199254740993}`, ""},
		"yaml, blank":        {FormatYAML, "\n", "", "bad output: stdout is empty, where a yaml document was promised"},
		"yaml, comment":      {FormatYAML, "# x\n", "", "bad output: stdout holds no YAML document"},
		"yaml, bad":          {FormatYAML, "a: [\n", "", "bad output: stdout can't be read as YAML: isn't YAML: did not find expected node content"},
		"yaml, two":          {FormatYAML, "a: 1\n---\nb: 2\n", "", "bad output: stdout can't be read as YAML: a second document begins here: a file holds one"},
		"yaml, huge number":  {FormatYAML, "a: 0." + strings.Repeat("1", 401) + "\n", "", "bad output: invalid JSON: a number that is out of range at byte 5"},
		"jsonl":              {FormatJSONL, "{\"a\": 1}\n\n[2]\r\n\"x\"", `[{"a":1},[2],"x"]`, ""},
		"jsonl, empty":       {FormatJSONL, "", `[]`, ""},
		"jsonl, bad":         {FormatJSONL, "{}\n\n{\"a\":1} x\n", "", "bad output: line 3 of stdout isn't a JSON document: invalid JSON: something follows the document at byte 8"},
		"dotenv":             {FormatDotenv, "x", "", `bad output: there is no output format "dotenv"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := ParseOutput(test.format, []byte(test.stdout))
			if string(got) != test.want {
				t.Errorf("ParseOutput = %s, want %s", got, test.want)
			}
			if (err == nil) != (test.err == "") || err != nil && (err.Error() != test.err || !errors.Is(err, ErrBadOutput)) {
				t.Errorf("ParseOutput: %v, want %s", err, test.err)
			}
		})
	}
}

func TestChatterBeforeTheResult(t *testing.T) {
	t.Parallel()
	for stdout, want := range map[string]string{
		"{\"a\":1}\n":               "",
		"\n\n{\"a\":1}":             "",
		"loading...\n{\"a\":1}\n\n": "loading...\n",
		" a\n\nb\n 3":               " a\n\nb\n",
	} {
		if _, chatter, err := ParseOutput(FormatJSON, []byte(stdout)); err != nil || stdout[:chatter] != want {
			t.Errorf("of %q the first %d bytes are chatter, want %q (%v)", stdout, chatter, want, err)
		}
	}
}

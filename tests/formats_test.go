package tests

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOutputFormats: each has its media type; a structured one is checked, and
// its numbers stay what they are.
func TestOutputFormats(t *testing.T) {
	h := newHome(t)
	files := map[string]string{}
	cases := map[string]struct{ format, script, media, body string }{
		"text":     {"text", "echo hello", "text/plain; charset=utf-8", "hello\n"},
		"nothing":  {"text", "true", "text/plain; charset=utf-8", ""},
		"json":     {"json", `printf '{\n "b": 9007199254740993, "a": 1.10, "u": "ü" }'`, "application/json", `{"b":9007199254740993,"a":1.10,"u":"ü"}` + "\n"},
		"lastline": {"json", `echo "a log line"; echo '[1, 2]'`, "application/json", "[1,2]\n"},
		"scalar":   {"json", "echo null", "application/json", "null\n"},
		"yaml":     {"yaml", `printf 'a: 1\nb: [x, y]\n'`, "application/yaml", "a: 1\nb: [x, y]\n"},
		"jsonl":    {"jsonl", `printf '{"n":1}\n\n{"n":2}\n'`, "application/x-ndjson", "{\"n\":1}\n\n{\"n\":2}\n"},
	}
	for name, c := range cases {
		files["actions/"+name+".yaml"] = "ref: outputs." + name + "\nentry_point: " + name + ".sh\noutput_format: " + c.format + "\n"
		files["actions/"+name+".sh"] = c.script + "\n"
	}
	h.pack(t, "outputs", files)
	g := h.start(t)
	for name, want := range cases {
		a := g.mustInvoke(t, "outputs."+name, "{}")
		if a.header.Get("Content-Type") != want.media || a.body != want.body {
			t.Errorf("POST /invoke/outputs.%s = %s %q, want %s %q", name, a.header.Get("Content-Type"), a.body, want.media, want.body)
		}
	}
	for accept, status := range map[string]int{
		"application/json": 200, "*/*": 200, "text/html, application/*;q=0.1": 200, "text/html": 406, "application/json;q=0": 406,
	} {
		request, err := http.NewRequest("POST", g.url+"/invoke/outputs.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		response, err := http.DefaultClient.Do(request)
		if a := read(t, response, err); a.status != status {
			t.Errorf("POST /invoke/outputs.json with Accept: %s = %d %s, want %d", accept, a.status, a.body, status)
		}
	}
	if result := record(t, g, g.mustInvoke(t, "outputs.jsonl", ""))["result"]; !cmp.Equal(result, []any{map[string]any{"n": 1.0}, map[string]any{"n": 2.0}}) {
		t.Errorf("result of outputs.jsonl in its record = %v", result)
	}
}

// nasty are values that a shell, a template or a format could misread.
var nasty = map[string]string{
	"quotes": `it's "q" and '\''`, "newlines": "a\nb\r\n\tc\n", "command": "$(id) `id` ${HOME} $HOME; id", "template": "{env_dir} {{.}} {pack_dir} %s", "option": "-rf",
	"unicode": "ü\u2028\u202e😀\ufeff", "empty": "",
	"backslash": `\n\\`, "word": "no", "null": "null",
	"number": "1e3", "comment": "# x", "control": "\x01\x1b[31m", "equals": "a=b", "space": " x ",
}

// TestParametersArriveLiterally in every format, through what a script of that
// language reads them with.
func TestParametersArriveLiterally(t *testing.T) {
	h := newHome(t)
	h.pack(t, "inputs", map[string]string{
		"actions/json.yaml": "ref: inputs.json\nentry_point: reader.py\noutput_format: json\n",
		"actions/reader.py": "import json, sys\nline = sys.stdin.readline()\n" +
			"print(json.dumps({'got': json.loads(line), 'rest': sys.stdin.read(), 'argv': sys.argv[1:]}))\n",
		// A shell takes dotenv as it stands; the values go back NUL-separated.
		"actions/dotenv.yaml": "ref: inputs.dotenv\nentry_point: dotenv.sh\nparameter_format: dotenv\n",
		"actions/dotenv.sh": "source /dev/stdin\n" +
			"for name in quotes newlines command template option unicode empty backslash word null number comment control equals space; do printf '%s=%s\\0' $name \"${!name}\"; done\n",
		"actions/raw.yaml":  "ref: inputs.raw\nentry_point: raw.sh\nparameter_format: dotenv\n",
		"actions/yaml.yaml": "ref: inputs.yaml\nentry_point: raw.sh\nparameter_format: yaml\n",
		"actions/one.yaml":  "ref: inputs.one\nentry_point: raw.sh\n",
		"actions/raw.sh":    "cat\n",
	})
	g := h.start(t)
	body, err := json.Marshal(nasty)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("json", func(t *testing.T) {
		var back struct {
			Got  map[string]string
			Rest string
			Argv []string
		}
		decode(t, g.mustInvoke(t, "inputs.json", string(body)).body, &back)
		if diff := cmp.Diff(nasty, back.Got); diff != "" || back.Rest != "" || len(back.Argv) > 0 {
			t.Errorf("POST /invoke/inputs.json: rest %q, argv %q, parameters (-sent +arrived):\n%s", back.Rest, back.Argv, diff)
		}
	})
	t.Run("dotenv", func(t *testing.T) {
		got := map[string]string{}
		for pair := range strings.SplitSeq(strings.TrimSuffix(g.mustInvoke(t, "inputs.dotenv", string(body)).body, "\x00"), "\x00") {
			name, value, _ := strings.Cut(pair, "=")
			got[name] = value
		}
		if diff := cmp.Diff(nasty, got); diff != "" {
			t.Errorf("POST /invoke/inputs.dotenv (-sent +arrived):\n%s", diff)
		}
	})
	t.Run("as written", func(t *testing.T) {
		nested := `{"s":"it's","n":{"deep":true,"list":[1,"x"]},"i":9007199254740993,"f":1.10,"z":null}`
		for action, want := range map[string]string{
			"one":  `{"f":1.10,"i":9007199254740993,"n":{"deep":true,"list":[1,"x"]},"s":"it's","z":null}` + "\n",
			"raw":  "f='1.10'\ni='9007199254740993'\nn.deep='true'\nn.list='[1,\"x\"]'\ns='it'\\''s'\nz=''\n",
			"yaml": "\"f\": 1.10\n\"i\": 9007199254740993\n\"n\":\n  deep: true\n  list:\n    - 1\n    - \"x\"\n\"s\": \"it's\"\n\"z\": null\n",
		} {
			if got := g.mustInvoke(t, "inputs."+action, nested).body; got != want {
				t.Errorf("POST /invoke/inputs.%s %s arrives as\n%q, want\n%q", action, nested, got, want)
			}
		}
		for action, want := range map[string]string{"one": "{}\n", "raw": "\n", "yaml": "{}\n"} {
			if got := g.mustInvoke(t, "inputs."+action, "").body; got != want {
				t.Errorf("POST /invoke/inputs.%s without a body arrives as %q, want %q", action, got, want)
			}
		}
	})
	t.Run("what dotenv can't say is refused", func(t *testing.T) {
		for _, body := range []string{`{"a b":"x"}`, `{"x;id":"y"}`, `{"":"y"}`, `{"a":"\u0000"}`, `{"a.b":1,"a":{"b":2}}`, `{"$(id)":1}`} {
			if a := g.invoke(t, "inputs.raw", body); a.status != 422 || a.problem(t).Started || strings.Contains(a.body, "id)") {
				t.Errorf("POST /invoke/inputs.raw %s = %d %s, want 422", body, a.status, a.body)
			}
		}
	})
}

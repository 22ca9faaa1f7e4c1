package tests

import (
	"net/http"
	"strings"
	"testing"
)

// TestThreeCurls is the README's showcase.
func TestThreeCurls(t *testing.T) {
	g := examples(t)
	for _, pack := range []string{"python_example", "nodejs_example", "shell_example"} {
		t.Run(pack, func(t *testing.T) {
			a := g.mustInvoke(t, pack+".hello", `{"name":"Ada"}`)
			if got := a.value(t)["greeting"]; got != "Hello, Ada!" {
				t.Errorf("greeting = %v, want Hello, Ada!", got)
			}
			if a.header.Get("Content-Type") != "application/json" || a.header.Get("Attune-Execution-Id") == "" {
				t.Errorf("header = %v", a.header)
			}
			if timing := a.header.Get("Server-Timing"); !strings.Contains(timing, "environment") || !strings.Contains(timing, "run") {
				t.Errorf("Server-Timing = %q", timing)
			}
		})
	}
}

// TestOwnPath is the example of a path of an action's own.
func TestOwnPath(t *testing.T) {
	g := examples(t)
	a := g.get(t, "/p/shell_example/hello/Ada%20%3Cb%3E?times=2")
	if want := "<h1>Hello, Ada &lt;b&gt;! Hello, Ada &lt;b&gt;!</h1>\n"; a.status != http.StatusOK || a.body != want || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("= %d %q %s, want %q", a.status, a.header.Get("Content-Type"), a.body, want)
	}
	if a := g.get(t, "/p/shell_example/hello/Ada?times=two"); a.status != http.StatusUnprocessableEntity || a.problem(t).Errors[0].Pointer != "/times" {
		t.Errorf("?times=two = %d %s", a.status, a.body)
	}
}

// TestExampleActions runs every example that needs no network.
func TestExampleActions(t *testing.T) {
	g := examples(t)
	for action, body := range map[string]string{
		"core.echo": `{"message":"x"}`, "core.noop": ``, "core.sleep": `{"seconds":0}`,
		"python_example.count_words": `{"text":"a b a"}`, "nodejs_example.count_words": `{"text":"a b a"}`,
		"nodejs_example.hello_esm": `{"name":"Ada"}`, "nodejs_example.list_numbers": `{}`,
		"python_example.describe_numbers": `{"numbers":[1,2,3]}`, "python_example.list_numbers": `{}`,
		"python_example.read_counter": `{"counter":1}`, "shell_example.read_counter": `{"counter":1}`,
		"python_example.token_length": `{"token":"abcde"}`, "shell_example.token_length": `{"token":"abcde"}`, "shell_example.page": `{"name":"Ada"}`,
	} {
		if a := g.invoke(t, action, body); a.status != http.StatusOK {
			t.Errorf("POST /invoke/%s %s = %d %s", action, body, a.status, a.body)
		}
	}
}

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

// TestExampleActions runs every example that needs no network.
func TestExampleActions(t *testing.T) {
	g := examples(t)
	for action, body := range map[string]string{
		"core.echo": `{"message":"x"}`, "core.noop": ``, "core.sleep": `{"seconds":0}`,
		"python_example.count_words": `{"text":"a b a"}`, "nodejs_example.count_words": `{"text":"a b a"}`,
		"nodejs_example.hello_esm": `{"name":"Ada"}`, "nodejs_example.list_numbers": `{}`,
		"python_example.describe_numbers": `{"numbers":[1,2,3]}`, "python_example.list_numbers": `{}`,
		"python_example.read_counter": `{"counter":1}`, "shell_example.read_counter": `{"counter":1}`,
		"python_example.token_length": `{"token":"abcde"}`, "shell_example.token_length": `{"token":"abcde"}`,
	} {
		if a := g.invoke(t, action, body); a.status != http.StatusOK {
			t.Errorf("POST /invoke/%s %s = %d %s", action, body, a.status, a.body)
		}
	}
}

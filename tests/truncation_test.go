package tests

import (
	"fmt"
	"strings"
	"testing"
)

// TestTruncation holds the eight promises about logs, named as they are given,
// and the edges between: at the limit, and in the middle of a character.
func TestTruncation(t *testing.T) {
	const limit = 1024 // the least that is allowed
	type promise struct {
		language string
		attack
		out, err string // all that is printed
		late     bool
	}
	x := func(n int) string { return strings.Repeat("x", n) }
	promises := map[string]promise{
		"python_stdout":       {"python", python("print('x' * 5000)", ""), x(5000) + "\n", "", false},
		"python_stderr_only":  {"python", python("import sys; sys.stderr.write('x' * 3000)", ""), "", x(3000), false},
		"shell_stdout":        {"shell", attack{"for n in {1..1000}; do echo line; done", ""}, strings.Repeat("line\n", 1000), "", false},
		"under_the_limit":     {"python", python("import sys; print('few'); print('words', file=sys.stderr)", ""), "few\n", "words\n", false},
		"both_streams":        {"python", python("import sys\nprint('x' * 2000)\nprint('x' * 2500, file=sys.stderr)", ""), x(2000) + "\n", x(2500) + "\n", false},
		"with_a_timeout":      {"python", python("import subprocess, sys\nprint('x' * 2000)\nprint('why', file=sys.stderr)\nsys.stdout.flush()\nsubprocess.run(['sleep', '4321'])", "timeout: 1\n"), x(2000) + "\n", "why\n", true},
		"without_newline":     {"python", python("import sys; sys.stdout.write('x')", ""), "x", "", false},
		"generic_runtime":     {"native", attack{"#!/bin/bash\nprintf 'x%.0s' {1..2000}", ""}, x(2000), "", false},
		"node_both":           {"node", attack{"async function main() { process.stdout.write('x'.repeat(2000)); process.stderr.write('x'.repeat(1025)) }\n", ""}, x(2000), x(1025), false},
		"exactly":             {"python", python("import sys; sys.stdout.write('x' * 1024); sys.stderr.write('x' * 1024)", ""), x(limit), x(limit), false},
		"one_more":            {"python", python("import sys; sys.stdout.write('x' * 1025); sys.stderr.write('x' * 1025)", ""), x(limit + 1), x(limit + 1), false},
		"character_of_two":    {"python", python("import sys; sys.stdout.write('x' + 'ü' * 1000)", ""), "x" + strings.Repeat("ü", 1000), "", false},
		"character_of_four":   {"python", python("import sys; sys.stderr.write('xx' + '😀' * 500)", ""), "", "xx" + strings.Repeat("😀", 500), false},
		"many_small_writes":   {"python", python("import sys\nfor n in range(3000): sys.stdout.write('x'); sys.stdout.flush()", ""), x(3000), "", false},
		"the_notice_as_text":  {"shell", attack{"printf '[OUTPUT TRUNCATED: stdout exceeded size limit]\\n%.0s' {1..100}", ""}, strings.Repeat("[OUTPUT TRUNCATED: stdout exceeded size limit]\n", 100), "", false},
		"nothing_but_newline": {"shell", attack{"echo", ""}, "\n", "", false},
	}
	h := newHome(t)
	for _, isolation := range attackIsolations {
		byLanguage := map[string]map[string]attack{}
		for name, p := range promises {
			if byLanguage[p.language] == nil {
				byLanguage[p.language] = map[string]attack{"warm": {languages[p.language].nothing, ""}}
			}
			byLanguage[p.language][name] = p.attack
		}
		for language, all := range byLanguage {
			if runs(language, isolation) {
				h.attacks(t, language, isolation, "", all)
			}
		}
	}
	g := h.start(t, fmt.Sprintf("ATTUNE__LIMITS__LOG_BYTES=%d", limit))
	sandboxed(t, func(t *testing.T, language, isolation string) {
		g.mustInvoke(t, language+"_"+isolation+".warm", "{}") // a timeout is not for starting an instance
		for name, p := range promises {
			if p.language != language {
				continue
			}
			t.Run(name, func(t *testing.T) {
				ref := language + "_" + isolation + "." + name
				a := g.invoke(t, ref, "{}")
				switch {
				case p.late && (a.status != 504 || !strings.Contains(a.body, "timed out")):
					t.Errorf("POST /invoke/%s = %d %s, want 504 that says timed out", ref, a.status, a.body)
				case !p.late && (a.status != 200 || isolation != "worker" && a.body != p.out): // a result is never cut
					t.Errorf("POST /invoke/%s = %d, %d bytes: %.100q; want all %d", ref, a.status, len(a.body), a.body, len(p.out))
				}
				g.truncated(t, a, p.out, p.err, limit)
			})
		}
		if processes := top(t, g); strings.Contains(processes, "sleep 4321") {
			t.Errorf("what timed out still runs:\n%s", processes)
		}
	}, "python", "node", "shell", "native")
}

// truncated checks the record and the logs of an execution against all that it
// has printed.
func (g *gateway) truncated(t *testing.T, a answer, out, err string, limit int) {
	t.Helper()
	x := record(t, g, a)
	beyond := 0
	for stream, printed := range map[string]string{"stdout": out, "stderr": err} {
		want := printed
		if len(printed) > limit {
			kept := strings.ToValidUTF8(printed[:limit], "") // whole characters
			beyond += len(printed) - len(kept)
			want = kept + "\n\n[OUTPUT TRUNCATED: " + stream + " exceeded size limit]\n"
		}
		if x[stream] != want || x[stream+"_truncated"] != (len(printed) > limit) {
			t.Errorf("%s = %q, truncated %v; want %q", stream, x[stream], x[stream+"_truncated"], want)
		}
		path := "/api/v1/executions/" + a.header.Get("Attune-Execution-Id") + "/logs/" + stream
		if log := g.get(t, path); log.status != 200 || log.body != want {
			t.Errorf("GET %s = %d %q, want %q", path, log.status, log.body, want)
		}
	}
	if x["bytes_truncated"] != float64(beyond) {
		t.Errorf("bytes_truncated = %v, want %d", x["bytes_truncated"], beyond)
	}
}

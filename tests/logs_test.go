package tests

import (
	"fmt"
	"strings"
	"testing"
)

// TestLogsAreTruncatedWithANotice: a log ends at the limit, at the end of a
// character, with one notice and the rest counted; a result is never cut.
func TestLogsAreTruncatedWithANotice(t *testing.T) {
	const limit = 1024 // the least that is allowed
	h := newHome(t)
	actions := map[string]struct {
		file, more, script string
		out, err           string // all that is printed
		fails              bool
	}{
		"python_stdout": {"a.py", "", "print('x' * 5000)", strings.Repeat("x", 5000) + "\n", "", false},
		"python_stderr": {"b.py", "", "import sys; sys.stderr.write('e' * 3000)", "", strings.Repeat("e", 3000), false},
		"shell_stdout":  {"c.sh", "", "for n in {1..1000}; do echo line; done", strings.Repeat("line\n", 1000), "", false},
		"native_stdout": {"d", "runner_type: native\n", "#!/bin/bash\nprintf 'y%.0s' {1..2000}", strings.Repeat("y", 2000), "", false},
		"both":          {"e.sh", "", "printf 'o%.0s' {1..1700}; printf 'e%.0s' {1..1600} >&2", strings.Repeat("o", 1700), strings.Repeat("e", 1600), false},
		"under":         {"f.sh", "", "echo few; echo words >&2", "few\n", "words\n", false},
		"exactly":       {"g.sh", "", "printf 'z%.0s' {1..1024}", strings.Repeat("z", limit), "", false},
		"one_more":      {"h.sh", "", "printf 'z%.0s' {1..1025}", strings.Repeat("z", limit+1), "", false},
		"no_newline":    {"i.sh", "", "printf x", "x", "", false},
		"characters":    {"j.sh", "", "printf x; printf 'ü%.0s' {1..1000}", "x" + strings.Repeat("ü", 1000), "", false},
		"failing":       {"k.sh", "", "printf 'e%.0s' {1..1600} >&2; exit 1", "", strings.Repeat("e", 1600), true},
		"timeout":       {"l.sh", "timeout: 0.5\n", "printf 'o%.0s' {1..1600}; sleep 100", strings.Repeat("o", 1600), "", true},
	}
	files := map[string]string{}
	for name, a := range actions {
		files["actions/"+name+".yaml"] = "ref: logs." + name + "\nentry_point: " + a.file + "\n" + a.more
		files["actions/"+a.file] = a.script + "\n"
	}
	files["actions/bytes.yaml"] = "ref: logs.bytes\nentry_point: bytes.sh\n"
	files["actions/bytes.sh"] = `printf 'a\x00b\xffc'` + "\n"
	files["actions/chat.yaml"] = "ref: logs.chat\nentry_point: chat.sh\noutput_format: json\n"
	files["actions/chat.sh"] = "printf 'x%.0s' {1..2000}; echo; echo '{\"n\": 1}'\n"
	h.pack(t, "logs", files)
	g := h.start(t, fmt.Sprintf("ATTUNE__LIMITS__LOG_BYTES=%d", limit))

	g.mustInvoke(t, "logs.under", "{}") // the timeout is not for starting an instance
	for name, action := range actions {
		t.Run(name, func(t *testing.T) {
			a := g.invoke(t, "logs."+name, "{}")
			if failed := a.status != 200; failed != action.fails || (!failed && a.body != action.out) {
				t.Errorf("POST /invoke/logs.%s = %d, %d bytes: %.200q; want all %d bytes", name, a.status, len(a.body), a.body, len(action.out))
			}
			x := record(t, g, a)
			beyond := 0
			for stream, printed := range map[string]string{"stdout": action.out, "stderr": action.err} {
				want := printed
				if len(printed) > limit {
					kept := strings.ToValidUTF8(printed[:limit], "")
					beyond += len(printed) - len(kept)
					want = kept + "\n\n[OUTPUT TRUNCATED: " + stream + " exceeded size limit]\n"
				}
				if x[stream] != want || x[stream+"_truncated"] != (len(printed) > limit) {
					t.Errorf("%s of logs.%s = %q, truncated %v; want %q", stream, name, x[stream], x[stream+"_truncated"], want)
				}
				id := a.header.Get("Attune-Execution-Id")
				log := g.get(t, "/api/v1/executions/"+id+"/logs/"+stream)
				if log.status != 200 || log.body != want || log.header.Get("Content-Type") != "text/plain; charset=utf-8" {
					t.Errorf("GET /api/v1/executions/%s/logs/%s = %d %v %q", id, stream, log.status, log.header, log.body)
				}
			}
			if x["bytes_truncated"] != float64(beyond) {
				t.Errorf("bytes_truncated of logs.%s = %v, want %d", name, x["bytes_truncated"], beyond)
			}
			if name == "timeout" && !strings.Contains(a.body, "timed out") {
				t.Errorf("POST /invoke/logs.timeout = %d %s", a.status, a.body)
			}
		})
	}
	t.Run("bytes", func(t *testing.T) {
		a := g.mustInvoke(t, "logs.bytes", "{}")
		if x := record(t, g, a); a.body != "a\x00b\xffc" || x["stdout"] != "a\x00b\uFFFDc" {
			t.Errorf("POST /invoke/logs.bytes = %q, its log %q", a.body, x["stdout"])
		}
	})
	t.Run("a result is parsed before anything is cut", func(t *testing.T) {
		if got := g.mustInvoke(t, "logs.chat", "{}").body; got != `{"n":1}`+"\n" {
			t.Errorf("POST /invoke/logs.chat = %q", got)
		}
	})
}

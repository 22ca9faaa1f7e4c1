package tests

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// bomb is an action that takes all it can get of something.
type bomb struct {
	language string
	attack
	limit time.Duration // of the action
	// One of these is the answer: a problem's slug, or output with this "text".
	want  []string
	truth func(t *testing.T, x map[string]any) // about the record, nil = nothing more
}

// TestBombs: each is answered within its limit and 2 s, whatever it does, while a
// neighbour's calls succeed and the gateway's memory stays what it was.
func TestBombs(t *testing.T) {
	const short, long = time.Second, 20 * time.Second
	truncated := func(stream string, least float64) func(*testing.T, map[string]any) {
		return func(t *testing.T, x map[string]any) {
			t.Helper()
			if dropped, _ := x["bytes_truncated"].(float64); x[stream+"_truncated"] != true || dropped < least {
				t.Errorf("%s_truncated = %v, bytes_truncated = %v; want at least %.0f", stream, x[stream+"_truncated"], x["bytes_truncated"], least)
			}
			if text, _ := x[stream].(string); len(text) > 2<<20 {
				t.Errorf("%s kept %d bytes", stream, len(text))
			}
		}
	}
	bombs := map[string]bomb{
		"memory":           {"python", python("x = bytearray(1 << 30)\nreturn len(x)", ""), long, []string{"out-of-memory"}, nil},
		"memory_in_steps":  {"node", attack{"async function main() { const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1)) }\n", ""}, long, []string{"out-of-memory"}, nil},
		"forks":            {"python", python("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass", ""), short, []string{"timed-out", "out-of-memory"}, nil},
		"forks_of_a_shell": {"shell", attack{"bomb() { bomb | bomb & }; bomb; sleep 60", ""}, short, []string{"timed-out", "out-of-memory", "action-failed"}, nil},
		"busy_threads":     {"python", python("import threading\ndef spin():\n    while True: pass\nfor _ in range(8): threading.Thread(target=spin).start()\nspin()", ""), short, []string{"timed-out"}, nil},
		"busy_processes":   {"shell", attack{"for n in {1..8}; do while :; do :; done & done; wait", ""}, short, []string{"timed-out"}, nil},
		"inodes": {"python", python(`
import os
for n in range(1_000_000):
    try:
        os.close(os.open(f'/tmp/{n}', os.O_CREAT))
    except OSError as e:
        return os.strerror(e.errno)`, ""), long, []string{`"No space left on device"`}, nil},
		"directories": {"python", python(`
import os
os.chdir('/tmp')
for n in range(1_000_000):
    try:
        os.mkdir('d')
        os.chdir('d')
    except OSError as e:
        return os.strerror(e.errno)`, ""), long, []string{`"No space left on device"`}, nil},
		"file": {"python", python(`
try:
    with open('/tmp/file', 'wb') as f:
        for n in range(2048):
            f.write(bytes(1 << 20))
except OSError as e:
    import os
    return os.strerror(e.errno)`, ""), long, []string{`"No space left on device"`, `"File too large"`, "out-of-memory"}, nil},
		"sparse_file": {"python", python("import os\ntry:\n    os.truncate(os.open('/tmp/f', os.O_CREAT | os.O_RDWR), 2 << 30)\nexcept OSError as e:\n    return os.strerror(e.errno)", ""), long, []string{`"File too large"`}, nil},
		"descriptors": {"python", python(`
import os
taken = []
try:
    for n in range(100_000):
        taken.append(os.dup(0))
except OSError as e:
    return os.strerror(e.errno)
finally:
    for fd in taken:  # or a worker would lack them for ever, as its author's own affair
        os.close(fd)`, ""), long, []string{`"Too many open files"`}, nil},
		"output":        {"shell", attack{"head -c 1G /dev/zero", ""}, long, []string{"result-too-large"}, truncated("stdout", 1<<30-8<<20)},
		"endless_error": {"shell", attack{"echo begun; exec cat /dev/zero >&2", ""}, short, []string{"timed-out"}, truncated("stderr", 1)},
		"one_line":      {"python", python("import sys\nfor n in range(8000): sys.stdout.write('x' * 65536)\nsys.stdout.write('\\n')", ""), long, []string{"result-too-large", "text"}, truncated("stdout", 490<<20)},
		"no_text":       {"python", python("import sys\nsys.stdout.buffer.write(b'\\x00\\xff\\xfe\\xc3' * 100); sys.stderr.buffer.write(b'\\xed\\xa0\\x80\\x00' * (1 << 20))", ""), long, []string{"text"}, truncated("stderr", 2<<20)},
		"much_of_both":  {"node", attack{"async function main() { for (let n = 0; n < 300; n++) { await new Promise(r => process.stdout.write('o'.repeat(1 << 16), r)); await new Promise(r => process.stderr.write('e'.repeat(1 << 16), r)) } }\n", ""}, long, []string{"result-too-large", "text"}, truncated("stderr", 18<<20)},
	}
	h := newHome(t)
	h.pack(t, "neighbour", map[string]string{"actions/a.yaml": "ref: neighbour.a\nentry_point: a.sh\ntimeout: 10\n", "actions/a.sh": "echo here\n"})
	for _, isolation := range attackIsolations {
		all := map[string]map[string]attack{}
		for name, b := range bombs {
			if all[b.language] == nil {
				all[b.language] = map[string]attack{"warm": {languages[b.language].nothing, ""}}
			}
			a := b.attack
			a.more += fmt.Sprintf("timeout: %s\n", b.limit)
			all[b.language][name] = a
		}
		for language := range all {
			if runs(language, isolation) {
				h.attacks(t, language, isolation, "limits: {memory: 96MiB, tmp: 16MiB, pids: 64, cpu: 0.7}\n", all[language])
			}
		}
	}
	g := h.start(t)
	g.mustInvoke(t, "neighbour.a", "{}")
	sandboxed(t, func(t *testing.T, language, isolation string) {
		for name, b := range bombs {
			if b.language != language {
				continue
			}
			t.Run(name, func(t *testing.T) {
				ref := language + "_" + isolation
				g.mustInvoke(t, ref+".warm", "{}") // its limit is not for starting an instance
				before := g.memory(t, "VmRSS")
				served := g.meanwhile(t, "neighbour.a", "here\n")
				begun := time.Now()
				a := g.invoke(t, ref+"."+name, "{}")
				took := time.Since(begun)
				served()
				limit := b.limit + 2*time.Second
				if took > limit {
					t.Errorf("POST /invoke/%s.%s took %s, want at most %s", ref, name, took, limit)
				}
				got := a.header.Get("Content-Type")
				if got == "application/problem+json" {
					got = strings.TrimPrefix(a.problem(t).Type, "/problems/")
				} else if got = "text"; strings.HasPrefix(a.body, `"`) {
					got = strings.TrimSpace(a.body)
				}
				if isolation == "worker" && name == "sparse_file" { // others have filled its /tmp, which is its own
					b.want = append(b.want, `"No space left on device"`)
				}
				if quoted := strconv.Quote(a.body); isolation == "worker" && slices.Contains(b.want, quoted) {
					got = quoted // a handler's text is its result as it is
				}
				if !slices.Contains(b.want, got) {
					t.Errorf("POST /invoke/%s.%s = %d %.300s, want one of %q", ref, name, a.status, a.body, b.want)
				}
				if b.truth != nil {
					b.truth(t, record(t, g, a))
				}
				g.mustInvoke(t, ref+".warm", "{}")
				if after := g.memory(t, "VmHWM"); after-before > 64<<20 {
					t.Errorf("the gateway's memory grew from %d to %d MiB", before>>20, after>>20)
				}
			})
		}
	}, "python", "node", "shell")
}

// TestParameterBombs: parameters that would cost much to check or to hide are
// refused, or cost little, within the action's limit and 2 s, while a neighbour's
// calls succeed and the gateway's memory stays what it was.
func TestParameterBombs(t *testing.T) {
	const limit = 2 * time.Second
	lines := func(n int) string { // of eight different characters each
		var text strings.Builder
		for line := 0; text.Len()+10 <= n; line++ {
			fmt.Fprintf(&text, `%08x\n`, line*2654435761%(1<<32))
		}
		return text.String()
	}
	many := func(n int, item string) string { // which has a verb for its number
		var items []string
		for i := range n {
			items = append(items, fmt.Sprintf(item, i))
		}
		return strings.Join(items, ",")
	}
	const tooLong, tooMany = "is a secret of more than 65536 bytes", "is a secret of more than 256 values"
	bombs := map[string]struct {
		body    string
		pointer string // of the first problem; empty = the call succeeds
		detail  string
	}{
		"6 MiB":          {`{"token":"` + strings.Repeat("hush", 1535<<10) + `"}`, "/token", tooLong},
		"6 MiB in lines": {`{"token":"` + lines(6<<20-100) + `"}`, "/token", tooLong},
		"values":         {`{"token":[` + many(4000, `"hush-%07d"`) + `]}`, "/token", tooMany},
		"longest":        {`{"token":"` + lines(70_000) + `"}`, "", ""},
		"unknown keys":   {`{"token":"hush-hush",` + many(450_000, `"k%06d":1`) + `}`, "/k000000", "is not known here"},
	}
	h := newHome(t)
	h.pack(t, "neighbour", map[string]string{"actions/a.yaml": "ref: neighbour.a\nentry_point: a.sh\ntimeout: 10\n", "actions/a.sh": "echo here\n"})
	h.pack(t, "bomb", map[string]string{
		"actions/a.yaml": fmt.Sprintf("ref: bomb.a\nentry_point: a.sh\ntimeout: %s\nparameter_format: yaml\nparameters: {token: {secret: true, required: true}}\n", limit),
		"actions/a.sh":   "cat",
	})
	g := h.start(t)
	g.mustInvoke(t, "neighbour.a", "{}")
	g.mustInvoke(t, "bomb.a", `{"token":"hush-hush"}`)
	for name, b := range bombs {
		t.Run(name, func(t *testing.T) {
			before := g.memory(t, "VmRSS")
			served := g.meanwhile(t, "neighbour.a", "here\n")
			begun := time.Now()
			a := g.invoke(t, "bomb.a", b.body)
			took := time.Since(begun)
			served()
			if took > limit+2*time.Second {
				t.Errorf("POST /invoke/bomb.a took %s, want at most %s and 2 s", took, limit)
			}
			if b.pointer == "" {
				if want := "token: \"[MASKED]\"\n"; a.status != 200 || a.body != want {
					t.Errorf("POST /invoke/bomb.a = %d %.300s, want %q", a.status, a.body, want)
				}
			} else if p := a.problem(t); a.status != 422 || p.Type != "/problems/invalid-parameters" || len(p.Errors) == 0 || len(p.Errors) > 100 ||
				p.Errors[0].Pointer != b.pointer || p.Errors[0].Detail != b.detail || strings.Contains(a.body, "hush") {
				t.Errorf("POST /invoke/bomb.a = %d %.300s, want 422 for %s", a.status, a.body, b.pointer)
			}
			if after := g.memory(t, "VmHWM"); after-before > 256<<20 {
				t.Errorf("the gateway's memory grew from %d to %d MiB", before>>20, after>>20)
			}
			t.Logf("took %s; memory %d → %d MiB", took, before>>20, g.memory(t, "VmHWM")>>20)
		})
	}
}

// meanwhile calls an action again and again until the returned function is called,
// which fails unless all were answered as they should be.
func (g *gateway) meanwhile(t *testing.T, action, want string) (end func()) {
	var calls sync.WaitGroup
	stop := make(chan struct{})
	served := 0
	calls.Go(func() {
		for {
			if a := g.invoke(t, action, "{}"); a.status != 200 || a.body != want {
				t.Errorf("POST /invoke/%s beside = %d %s, want %q", action, a.status, a.body, want)
			}
			served++
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond): // the bomb is the load, not this
			}
		}
	})
	return func() {
		t.Helper()
		close(stop)
		calls.Wait()
		if served == 0 {
			t.Error("no neighbour was served")
		}
	}
}

// memory reads a field of a gateway's /proc/PID/status, in bytes.
func (g *gateway) memory(t testing.TB, field string) int64 {
	t.Helper()
	status, err := os.Open(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		lacking(t, "the gateway's memory: %v", err)
	}
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in the gateway's status", field)
	return 0
}

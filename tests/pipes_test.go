package tests

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// TestPipes: input and output are moved at once, neither waits for the other,
// and what outlives its process holds nobody up.
func TestPipes(t *testing.T) {
	const most = 6 << 20 // of a body, and of a result
	h := newHome(t)
	for _, isolation := range attackIsolations {
		if isolation == "worker" {
			continue // a handler has no pipes
		}
		h.attacks(t, "python", isolation, "", map[string]attack{
			"print_first": {"import os, sys\nfor n in range(6 << 20 >> 16): sys.stdout.buffer.write(b'x' * 65536)\nsys.stdout.flush()\ngot = len(sys.stdin.buffer.read())\nprint(got, file=sys.stderr)\nos._exit(0)\n", "timeout: 20\n"},
			"both_print":  {"import os, sys\nprint(len(sys.stdin.buffer.read()), file=sys.stderr)\nsys.stderr.flush()\nos.write(1, b'')\nfor n in range(96): sys.stdout.write('x' * 65536)\nsys.stdout.flush()\nos._exit(0)\n", "timeout: 20\n"},
		})
		h.attacks(t, "shell", isolation, "", map[string]attack{
			"unread":      {"echo done", "timeout: 20\n"},
			"closed":      {"exec <&-; echo done", "timeout: 20\n"},
			"half":        {"head -c 100000 >/dev/null; echo done", "timeout: 20\n"},
			"grandchild":  {"setsid sleep 1000 &\necho done", "timeout: 20\n"},
			"of_a_pipe":   {"(trap '' TERM; sleep 1000) | cat &\necho done", "timeout: 20\n"},
			"both_held":   {"setsid sleep 1000 2>&1 &\ndisown\necho done; echo note >&2", "timeout: 20\n"},
			"no_output":   {"exec >&- 2>&-; sleep 0.1", "timeout: 20\n"},
			"last_words":  {"trap 'echo bye; echo why >&2; exit 0' TERM; echo begun; while :; do :; done", "timeout: 0.5\n"},
			"all_at_once": {"cat | tee /dev/stderr | cat", "timeout: 20\n"},
		})
	}
	g := h.start(t, fmt.Sprintf("ATTUNE__SERVER__BODY_LIMIT=%d", most))
	body := `{"a":"` + strings.Repeat("y", most-len(`{"a":""}`)) + `"}`
	for _, isolation := range attackIsolations {
		if isolation == "worker" {
			continue
		}
		g.mustInvoke(t, "shell_"+isolation+".unread", "{}") // a short limit is not for starting an instance
		for call, want := range map[string]struct {
			body, out, err string
			status         int
		}{
			"python.print_first": {body, strings.Repeat("x", most), fmt.Sprintln(most + 1), 200},
			"python.both_print":  {body, strings.Repeat("x", most), fmt.Sprintln(most + 1), 200},
			"shell.unread":       {body, "done\n", "", 200},
			"shell.closed":       {body, "done\n", "", 200},
			"shell.half":         {body, "done\n", "", 200},
			"shell.grandchild":   {"{}", "done\n", "", 200},
			"shell.of_a_pipe":    {"{}", "done\n", "", 200},
			"shell.both_held":    {"{}", "done\n", "note\n", 200},
			"shell.no_output":    {"{}", "", "", 200},
			"shell.last_words":   {"{}", "begun\nbye\n", "why\n", 504},
		} {
			t.Run(isolation+"/"+call, func(t *testing.T) {
				language, name, _ := strings.Cut(call, ".")
				ref := language + "_" + isolation + "." + name
				begun := time.Now()
				a := g.invoke(t, ref, want.body)
				if took := time.Since(begun); took > 15*time.Second {
					t.Errorf("POST /invoke/%s took %s", ref, took)
				}
				if a.status != want.status || a.status == 200 && a.body != want.out {
					t.Errorf("POST /invoke/%s = %d, %d bytes: %.200q; want %d, %d bytes", ref, a.status, len(a.body), a.body, want.status, len(want.out))
				}
				x := record(t, g, a)
				if out, _ := x["stdout"].(string); x["stderr"] != want.err || len(want.out) < 1<<20 && out != want.out {
					t.Errorf("record of %s = stdout %.200q, stderr %.200q; want stdout %.20q, stderr %q", ref, out, x["stderr"], want.out, want.err)
				}
				if left := top(t, g); strings.Contains(left, "sleep") {
					t.Errorf("after %s these are left:\n%s", ref, left)
				}
			})
		}
		t.Run(isolation+"/6 MiB of input are 6 MiB of output", func(t *testing.T) {
			a := g.invoke(t, "shell_"+isolation+".all_at_once", body[:5<<20]+`"}`)
			if a.status != 200 || len(a.body) != 5<<20+3 {
				t.Errorf("POST /invoke/shell_%s.all_at_once = %d, %d bytes", isolation, a.status, len(a.body))
			}
		})
	}
}

// TestKilledGatewayTakesStubbornActionsAlong: kill -9 in the middle of calls that do all they
// can to stay. Their instances end by themselves, the next life removes them,
// and what is left of the calls is not run again.
func TestKilledGatewayTakesStubbornActionsAlong(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t)
	for _, isolation := range attackIsolations {
		h.attacks(t, "python", isolation, "", map[string]attack{
			"fine": python("return {}", "output_format: json\n"),
			"stay": python("import os, signal, time\nfor n in (15, 1, 2): signal.signal(n, signal.SIG_IGN)\nif os.fork() == 0:\n    os.setsid()\n    os.execvp('sleep', ['sleep', '4321'])\ntime.sleep(1000)", ""),
		})
	}
	g := h.launch(t)
	cut := make(chan struct{})
	for n, isolation := range attackIsolations {
		g.mustInvoke(t, "python_"+isolation+".fine", "{}")
		go func() {
			defer func() { cut <- struct{}{} }()
			if response, err := http.Post(g.url+"/invoke/python_"+isolation+".stay", "application/json", strings.NewReader("{}")); err == nil {
				response.Body.Close()
				t.Errorf("an answer of a killed gateway: %s", response.Status)
			}
		}()
		eventually(t, 10*time.Second, "the action and its fork run", func() bool { return strings.Count(top(t, g), "sleep 4321") > n })
	}
	g.kill(t)
	for range attackIsolations {
		<-cut
	}
	eventually(t, 10*time.Second, "the instances end", func() bool { return len(g.containers(t, "status=running")) == 0 })
	next := h.start(t)
	if left := g.containers(t); len(left) > 0 {
		t.Errorf("the next life left %v of the former", left)
	}
	for _, isolation := range attackIsolations {
		next.mustInvoke(t, "python_"+isolation+".fine", "{}")
	}
}

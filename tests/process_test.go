package tests

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcessEngine needs no container engine at all.
func TestProcessEngine(t *testing.T) {
	h := newHome(t, "shell_example")
	// Nobody else sleeps for so long: it marks our processes on this machine.
	marker := fmt.Sprintf("sleep 10000.%d", os.Getpid())
	h.pack(t, "bare", map[string]string{
		"actions/hi.yaml": "ref: bare.hi\nentry_point: hi.sh\n", "actions/hi.sh": "cat; pwd; echo note >/dev/stderr\n",
		"actions/fail.yaml": "ref: bare.fail\nentry_point: fail.sh\n", "actions/fail.sh": "echo why >&2; exit 3\n",
		"actions/env.yaml": "ref: bare.env\nentry_point: env.sh\n", "actions/env.sh": "exec env\n",
		"actions/tmp.yaml": "ref: bare.tmp\nentry_point: tmp.sh\n", "actions/tmp.sh": "find ~ $TMPDIR -mindepth 1; touch ~/a $TMPDIR/b\n",
		"actions/hang.yaml": "ref: bare.hang\nentry_point: hang.sh\ntimeout: 0.7\n",
		"actions/hang.sh":   "trap '' TERM\n(trap '' TERM; setsid " + marker + ") &\necho begun\nwait\n" + marker + "\n",
		"actions/long.yaml": "ref: bare.long\nentry_point: long.sh\n", "actions/long.sh": "setsid " + marker + " &\nwait\n",
	})
	vars := []string{"ATTUNE__ENGINE=process", "DOCKER_HOST=unix:///nowhere/docker.sock"}
	g := h.launch(t, vars...)
	defer g.stop(t)
	t.Cleanup(func() { killAll(running(t, marker) + running(t, h.packs)) }) // whatever a failure left

	t.Run("runs actions", func(t *testing.T) {
		if got := g.mustInvoke(t, "shell_example.hello", `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
			t.Errorf("POST /invoke/shell_example.hello: greeting = %v", got)
		}
		a := g.mustInvoke(t, "bare.hi", `{"a":1}`)
		if want := "{\"a\":1}\n" + h.packs + "/bare\n"; a.body != want {
			t.Errorf("POST /invoke/bare.hi = %q, want %q", a.body, want)
		}
		if x := record(t, g, a); x["stderr"] != "note\n" || x["status"] != "succeeded" {
			t.Errorf("record of bare.hi = %v", x)
		}
		a = g.invoke(t, "bare.fail", "")
		if p := a.problem(t); a.status != 502 || p.Log != "why\n" || record(t, g, a)["exit_code"] != 3.0 {
			t.Errorf("POST /invoke/bare.fail = %d %s", a.status, a.body)
		}
	})
	t.Run("gives nothing of the gateway's environment", func(t *testing.T) {
		environ := g.mustInvoke(t, "bare.env", "").body
		if strings.Contains(environ, canary) || strings.Contains(environ, "ATTUNE__") || strings.Contains(environ, "DOCKER_HOST") {
			t.Errorf("POST /invoke/bare.env = %s", environ)
		}
	})
	t.Run("keeps no files for the next", func(t *testing.T) {
		for range 2 {
			if got := g.mustInvoke(t, "bare.tmp", "").body; got != "" {
				t.Errorf("POST /invoke/bare.tmp finds %q", got)
			}
		}
	})
	t.Run("a timeout kills all that was started", func(t *testing.T) {
		a := g.invoke(t, "bare.hang", "")
		if p := a.problem(t); a.status != 504 || p.Type != "/problems/timed-out" || record(t, g, a)["stdout"] != "begun\n" {
			t.Errorf("POST /invoke/bare.hang = %d %s", a.status, a.body)
		}
		if left := running(t, marker); left != "" {
			t.Errorf("after the answer these run:\n%s", left)
		}
		g.mustInvoke(t, "bare.hi", "{}")
	})
	t.Run("says that nothing is isolated", func(t *testing.T) {
		if !strings.Contains(g.text(), "nothing isolates") {
			t.Errorf("the log does not say so:\n%s", g.text())
		}
	})
	t.Run("kill -9 ends what it runs", func(t *testing.T) {
		go http.Post(g.url+"/invoke/bare.long", "application/json", nil) // cut off by the kill
		eventually(t, 10*time.Second, "the action runs", func() bool { return running(t, marker) != "" })
		g.kill(t)
		eventually(t, 5*time.Second, "nothing of it runs", func() bool { return running(t, marker) == "" && running(t, h.envs) == "" })
	})
	t.Run("SIGTERM leaves no process", func(t *testing.T) {
		next := h.launch(t, vars...)
		next.mustInvoke(t, "bare.hi", "{}")
		next.stop(t)
		if left := running(t, h.envs); left != "" { // the agents' arguments name it
			t.Errorf("after SIGTERM these run:\n%s", left)
		}
	})
}

// running lists the command lines on this machine that hold a text.
func running(t *testing.T, text string) string {
	t.Helper()
	out, err := exec.Command("ps", "axww", "-o", "pid,args").Output()
	if err != nil {
		t.Fatalf("ps: %v", err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// killAll kills what running has listed.
func killAll(processes string) {
	for line := range strings.Lines(processes) {
		if pid, err := strconv.Atoi(strings.Fields(line)[0]); err == nil {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

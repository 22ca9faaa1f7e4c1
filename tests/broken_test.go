package tests

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// leaveMemory leaves what no kill of processes and no wipe of files removes.
const leaveMemory = "import ctypes, time\nassert ctypes.CDLL(None).shmget(4711, 4096, 0o1666) >= 0\n"

// TestBrokenOrMerelyFailed: a failure is the execution's own affair, and its
// instance serves on; where anything may be left of it the instance is destroyed.
func TestBrokenOrMerelyFailed(t *testing.T) {
	h := newHome(t)
	for _, isolation := range attackIsolations {
		all := map[string]attack{
			"fine":         python("return {}", "output_format: json\n"),
			"raises":       python("raise ValueError('no')", "output_format: json\n"),
			"crashes":      python("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", ""),
			"late":         python("import time\ntime.sleep(60)", "timeout: 1\n"),
			"late_leaving": python(leaveMemory+"time.sleep(60)", "timeout: 1\n"),
			"leaving":      python(leaveMemory+"return {}", "output_format: json\n"),
			"forking":      python("import subprocess\nn = subprocess.DEVNULL\nsubprocess.Popen(['setsid', 'sleep', '4321'], stdin=n, stdout=n, stderr=n)\nreturn {}", "output_format: json\n"),
			"hog":          python("b'x' * (100 << 20)", ""),
		}
		for name, a := range all {
			if isolation != "container" {
				a.more += "max_instances: 1\n" // no second one beside a worker that is started again
			}
			all[name] = a
		}
		h.attacks(t, "python", isolation, "limits: {memory: 48MiB, tmp: 16MiB}\n", all)
	}
	g := h.start(t)
	sandboxed(t, func(t *testing.T, _, isolation string) {
		for action, want := range map[string]struct {
			status int
			slug   string
			record string
			reused bool
		}{
			"raises":       {502, "action-failed", "failed", true},
			"crashes":      {502, "action-failed", "failed", true},
			"late":         {504, "timed-out", "timed_out", true},
			"late_leaving": {504, "timed-out", "timed_out", false},
			"leaving":      {200, "", "succeeded", false},
			"forking":      {200, "", "succeeded", true}, // what it left is killed, which is certain
			"hog":          {502, "out-of-memory", "failed", false},
		} {
			switch {
			case isolation == "worker" && action == "leaving":
				continue // it stays as long as its worker, which its author asked for
			case isolation == "worker" && action == "crashes":
				want.slug, want.reused = "instance-lost", false
			case isolation == "container":
				want.reused = false
			}
			t.Run(action, func(t *testing.T) {
				ref := "python_" + isolation
				g.mustInvoke(t, ref+".fine", "{}")
				before := g.instances(t, ref)
				a := g.invoke(t, ref+"."+action, "{}")
				if a.status != want.status || a.status != 200 && (a.problem(t).Type != "/problems/"+want.slug || !a.problem(t).Started || a.problem(t).Retryable) {
					t.Errorf("POST /invoke/%s.%s = %d %s, want %d %s", ref, action, a.status, a.body, want.status, want.slug)
				}
				if x := record(t, g, a); x["status"] != want.record {
					t.Errorf("record of %s = %v", action, x)
				}
				g.mustInvoke(t, ref+".fine", "{}")
				if isolation == "container" {
					return // an instance of one execution: TestLeaks sees to it
				}
				after := g.instances(t, ref)
				if want.reused {
					if !slices.Equal(before, after) {
						t.Errorf("instances before %s: %v, after: %v; want the same", action, before, after)
					}
					return
				}
				eventually(t, 10*time.Second, "the instance is another one", func() bool {
					after = g.instances(t, ref)
					return len(after) == 1 && !slices.Equal(before, after)
				})
			})
		}
	}, "python")
}

// TestLostInstances: what is killed from outside in the middle of a call failed,
// had started, and is not run again.
func TestLostInstances(t *testing.T) {
	h := newHome(t)
	for _, isolation := range attackIsolations {
		h.attacks(t, "python", isolation, "", map[string]attack{
			"fine": python("return {}", "output_format: json\n"),
			"long": python("import subprocess\nsubprocess.run(['sleep', '4321'])", ""),
		})
	}
	g := h.start(t)
	sandboxed(t, func(t *testing.T, _, isolation string) {
		for name, kill := range map[string]func(*testing.T, string){
			"kill -9 of its agent": func(t *testing.T, instance string) { kill9(t, hostPID(t, instance)) },
			"docker kill":          func(t *testing.T, instance string) { dockerLines(t, "kill", instance) },
			"docker rm":            func(t *testing.T, instance string) { dockerLines(t, "rm", "-f", instance) },
			"docker stop":          func(t *testing.T, instance string) { dockerLines(t, "stop", "-t", "0", instance) },
		} {
			t.Run(name, func(t *testing.T) {
				ref := "python_" + isolation
				answered := make(chan answer, 1)
				go func() { answered <- g.invoke(t, ref+".long", "{}") }()
				var victim string
				eventually(t, 20*time.Second, "the action runs", func() bool {
					for _, id := range g.instances(t, ref) {
						if strings.Contains(strings.Join(dockerTop(id), " "), "sleep 4321") {
							victim = id
						}
					}
					return victim != ""
				})
				kill(t, victim)
				a := <-answered
				p := a.problem(t)
				if a.status != 502 || p.Type != "/problems/instance-lost" || !p.Started || p.Retryable {
					t.Errorf("POST /invoke/%s.long = %d %s, want 502 instance-lost, started", ref, a.status, a.body)
				}
				if x := record(t, g, a); x["status"] != "failed" {
					t.Errorf("record = %v", x)
				}
				if strings.Contains(top(t, g), "sleep 4321") {
					t.Errorf("the action runs again:\n%s", top(t, g))
				}
				g.mustInvoke(t, ref+".fine", "{}")
				if left := g.containers(t); slices.Contains(left, victim) {
					t.Errorf("the lost instance %s is among %v", victim, left)
				}
			})
		}
	}, "python")
}

// dockerTop lists the command lines in a container; none if it has ended.
func dockerTop(id string) []string {
	out, err := dockerCommand("top", id, "-eo", "pid,args")
	if err != nil {
		return nil
	}
	return strings.Split(out, "\n")
}

// TestFrozenInstance: an agent that is silent, because somebody has paused its
// container, has not taken the request. Another one gets it.
func TestFrozenInstance(t *testing.T) {
	h := newHome(t)
	ref := h.attacks(t, "shell", "process", "", map[string]attack{"fine": {"echo fine", ""}})
	g := h.start(t)
	g.mustInvoke(t, ref+".fine", "{}")
	frozen := g.instances(t, ref)
	dockerLines(t, "pause", frozen[0])
	begun := time.Now()
	if got := g.mustInvoke(t, ref+".fine", "{}").body; got != "fine\n" {
		t.Errorf("POST /invoke/%s.fine = %q", ref, got)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("a silent agent held the call up for %s", took)
	}
	if now := g.containers(t); len(now) != 1 || now[0] == frozen[0] {
		t.Errorf("instances = %v, was %v; want one, another", now, frozen)
	}
}

// TestHostileAgents say what they may not. Their instances are destroyed, the
// gateway answers in time and serves on.
func TestHostileAgents(t *testing.T) {
	h := newHome(t)
	dir := t.TempDir()
	for name, from := range map[string]string{"attune": program("attune"), "attune-agent": impostor(t)} {
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(content), 0o755)
	}
	h.bin = dir
	const silent = "timeout: 0.5\n"
	ref := h.attacks(t, "shell", "process", "", map[string]attack{
		"fine": {}, "gone": {}, "unread": {}, "early": {}, "unknown": {}, "huge": {}, "endless": {}, "lying": {}, "foreign": {}, "silent": {more: silent},
	})
	g := h.start(t)
	g.mustInvoke(t, ref+".fine", "{}")
	for action, want := range map[string]struct {
		status    int
		started   bool
		instances int // that it costs
	}{
		"gone":    {502, true, 1},
		"unread":  {502, false, 2}, // once more on another, and no more
		"early":   {502, false, 2},
		"unknown": {502, true, 1},
		"huge":    {502, true, 1},
		"endless": {502, true, 1},
		"lying":   {502, true, 1},
		"foreign": {502, true, 1},
		"silent":  {502, true, 1},
	} {
		t.Run(action, func(t *testing.T) {
			g.mustInvoke(t, ref+".fine", "{}")
			since := time.Now()
			a := g.invoke(t, ref+"."+action, "{}")
			took := time.Since(since)
			p := a.problem(t)
			if a.status != want.status || p.Type != "/problems/instance-lost" || p.Started != want.started || p.Retryable == want.started {
				t.Errorf("POST /invoke/%s.%s = %d %s", ref, action, a.status, a.body)
			}
			if took > 10*time.Second {
				t.Errorf("POST /invoke/%s.%s took %s", ref, action, took)
			}
			if got := g.started(t, since); got != want.instances-1 {
				t.Errorf("%d instances were started for it, want %d", got, want.instances-1)
			}
			g.mustInvoke(t, ref+".fine", "{}")
			if n := len(g.containers(t)); n != 1 {
				t.Errorf("%d containers are there, want the one that came after", n)
			}
		})
	}
}

// started counts the instances that a gateway has created since a time.
func (g *gateway) started(t testing.TB, since time.Time) (n int) {
	t.Helper()
	followed(t)
	created.Lock()
	defer created.Unlock()
	for _, c := range created.all {
		if c.at >= since.UnixNano() && c.role == "instance" && c.gateway == g.id {
			n++
		}
	}
	return n
}

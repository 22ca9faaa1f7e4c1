package tests

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// slowPack has an environment that takes a second or two, and says in its answer
// where it runs.
func (h home) slowPack(t testing.TB, ref string) {
	h.pack(t, ref, map[string]string{
		"requirements.txt": "numpy==2.3.5\n",
		"actions/run.yaml": "ref: " + ref + ".run\nentry_point: run.py\noutput_format: json\n",
		"actions/run.py":   "import json, sys\nimport numpy\nprint(json.dumps({'prefix': sys.prefix, 'numpy': numpy.__version__}))\n",
	})
}

// burst calls an action many times at once, spread over gateways.
func burst(t *testing.T, n int, action string, gateways ...*gateway) {
	t.Helper()
	answers := make([]answer, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { answers[i] = gateways[i%len(gateways)].invoke(t, action, "{}") })
	}
	wait.Wait()
	for i, a := range answers {
		if a.status != http.StatusOK {
			t.Errorf("call %d of %d: POST /invoke/%s = %d %s", i+1, n, action, a.status, a.body)
		}
	}
}

func TestTwentyFirstCallsStartOneBuilder(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "burst_one")
	g := h.start(t)
	since := time.Now()
	burst(t, 20, "burst_one.run", g)
	if got := builds(t, since, "burst_one"); got != 1 {
		t.Errorf("20 simultaneous first calls started %d builders, want 1", got)
	}
	if entries, err := os.ReadDir(filepath.Join(h.envs, ".tmp")); err != nil || len(entries) > 0 {
		t.Errorf(".tmp holds %v after the build (%v)", entries, err)
	}
	sealed(t, filepath.Join(h.envs, "burst_one", "python"))
	if log := g.get(t, "/api/v1/environments/burst_one/python/log"); log.status != http.StatusOK || !strings.Contains(log.body, "numpy==2.3.5") {
		t.Errorf("GET /api/v1/environments/burst_one/python/log = %d %s", log.status, log.body)
	}
}

// sealed checks that everything in a published environment belongs to the
// gateway's user, and that nobody may write there.
func sealed(t *testing.T, pointer string) {
	t.Helper()
	generation, err := filepath.EvalSymlinks(pointer)
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(generation, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		if owner := int(info.Sys().(*syscall.Stat_t).Uid); owner != os.Geteuid() {
			t.Errorf("%s belongs to user %d, want %d", path, owner, os.Geteuid())
		}
		if entry.Type() != fs.ModeSymlink && info.Mode().Perm()&0o222 != 0 {
			t.Errorf("%s has mode %s, want no write bit", path, info.Mode())
		}
		return nil
	})
	if err != nil || files < 10 {
		t.Errorf("%d files in %s (%v)", files, generation, err)
	}
}

func TestRestartKeepsEnvironments(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "restarted")
	containertest.RequireDocker(t)
	first := h.launch(t)
	first.mustInvoke(t, "restarted.run", "{}")
	first.stop(t)
	since := time.Now()
	second := h.start(t)
	if state := environment(t, second, "restarted"); state["state"] != "ready" {
		t.Errorf("environment after a restart = %v", state)
	}
	second.mustInvoke(t, "restarted.run", "{}")
	if got := builds(t, since, "restarted"); got != 0 {
		t.Errorf("%d builders after a restart, want 0", got)
	}
}

// environment reads an environment's status over HTTP.
func environment(t testing.TB, g *gateway, pack string) map[string]any {
	t.Helper()
	return g.get(t, "/api/v1/environments/"+pack+"/python").value(t)
}

// TestKilledGatewayLeavesNothingForGood: its next life removes the instances and
// keeps the environments.
func TestKilledGatewayLeavesNothingForGood(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "killed")
	containertest.RequireDocker(t)
	first := h.launch(t)
	first.mustInvoke(t, "killed.run", "{}")
	first.kill(t)
	if left := first.containers(t, "label=attune.role=instance"); len(left) == 0 {
		t.Fatal("kill -9 left no instance: there is nothing to remove")
	}
	since := time.Now()
	second := h.start(t)
	if left := second.containers(t); len(left) > 0 { // both lives have one ID
		t.Errorf("instances of the former life: %v", left)
	}
	second.mustInvoke(t, "killed.run", "{}")
	if got := builds(t, since, "killed"); got != 0 {
		t.Errorf("%d builders after kill -9, want the environment kept", got)
	}
}

func TestNextGatewayAdoptsARunningBuilder(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "adopted")
	containertest.RequireDocker(t)
	since := time.Now()
	first := h.launch(t)
	go http.Post(first.url+"/invoke/adopted.run", "application/json", strings.NewReader("{}")) // cut off by the kill
	eventually(t, 20*time.Second, "the builder runs", func() bool {
		return len(first.containers(t, "label=attune.role=builder", "status=running")) == 1
	})
	first.kill(t)
	second := h.start(t)
	second.mustInvoke(t, "adopted.run", "{}")
	if got := builds(t, since, "adopted"); got != 1 {
		t.Errorf("%d builders, want the one of the killed gateway", got)
	}
	if left := second.containers(t, "label=attune.role=builder"); len(left) > 0 {
		t.Errorf("builders are left: %v", left)
	}
}

func TestBrokenManifestNeverRunsTheAction(t *testing.T) {
	h := newHome(t)
	dir := h.pack(t, "broken_deps", map[string]string{
		"requirements.txt": "no-such-package-of-anybody==9.9\n",
		"actions/run.yaml": "ref: broken_deps.run\nentry_point: run.py\n",
		"actions/run.py":   "print('ran')\n",
	})
	g := h.start(t)
	since := time.Now()
	a := g.invoke(t, "broken_deps.run", "{}")
	p := a.problem(t)
	if a.status != 503 || p.Type != "/problems/environment-failed" || p.Started || !p.Retryable || p.Component != "environment" {
		t.Fatalf("answer = %d %s", a.status, a.body)
	}
	if !strings.Contains(p.Log, "no-such-package-of-anybody") || strings.Contains(a.body, "ran\n") {
		t.Errorf("log = %q, want the installer's words", p.Log)
	}
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || seconds < 1 {
		t.Errorf("Retry-After = %q", a.header.Get("Retry-After"))
	}
	if again := g.invoke(t, "broken_deps.run", "{}"); again.problem(t).Type != p.Type {
		t.Errorf("second call = %d %s", again.status, again.body)
	}
	if got := builds(t, since, "broken_deps"); got != 1 {
		t.Errorf("%d builds within the back-off, want 1", got)
	}
	if log := g.get(t, "/api/v1/environments/broken_deps/python/log"); !strings.Contains(log.body, "no-such-package-of-anybody") {
		t.Errorf("build log = %d %s", log.status, log.body)
	}
	if left := g.containers(t, "label=attune.role=instance"); len(left) > 0 {
		t.Errorf("an instance of an environment that does not exist: %v", left)
	}
	write(t, filepath.Join(dir, "requirements.txt"), "", 0o644)
	g.hangup(t)
	if fixed := g.mustInvoke(t, "broken_deps.run", "{}"); fixed.body != "ran\n" {
		t.Errorf("after the repair: %q", fixed.body)
	}
}

func TestChangedManifestMovesThePointer(t *testing.T) {
	h := newHome(t)
	dir := h.pack(t, "changing", map[string]string{
		"requirements.txt": "",
		"actions/run.yaml": "ref: changing.run\nentry_point: run.py\n",
		"actions/run.py":   "import sys; print(sys.prefix)\n",
	})
	g := h.start(t)
	if got := g.mustInvoke(t, "changing.run", "{}").body; got != "/opt/attune/runtime_envs/changing/python\n" {
		t.Errorf("sys.prefix = %q, want the literal path", got)
	}
	pointer := filepath.Join(h.envs, "changing", "python")
	old, err := os.Readlink(pointer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "requirements.txt"), "six==1.17.0\n", 0o644)
	g.hangup(t)
	g.mustInvoke(t, "changing.run", "{}")
	now := old
	eventually(t, time.Minute, "the pointer moves", func() bool {
		now, err = os.Readlink(pointer)
		return err == nil && now != old
	})
	for _, link := range []string{old, now} { // the old one stays, for running instances and to go back to
		sealed(t, filepath.Join(h.envs, ".store", filepath.Base(link)))
	}
}

func TestImpatientCallersComeBack(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "impatient")
	g := h.start(t, "ATTUNE__BUILD__WAITER=100ms")
	a := g.invoke(t, "impatient.run", "{}")
	if p := a.problem(t); a.status != 503 || p.Type != "/problems/environment-building" || a.header.Get("Retry-After") == "" {
		t.Fatalf("answer = %d %v %s", a.status, a.header, a.body)
	}
	eventually(t, 60*time.Second, "the build goes on without a caller", func() bool {
		return environment(t, g, "impatient")["state"] == "ready"
	})
	var result struct{ Prefix string }
	if err := json.Unmarshal([]byte(g.mustInvoke(t, "impatient.run", "{}").body), &result); err != nil || result.Prefix == "" {
		t.Errorf("result = %+v, %v", result, err)
	}
}

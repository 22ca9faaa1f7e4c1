package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestEngineKilledInMidBuild: kill -9 of the engine while a builder runs. Callers
// are told what is wrong and when to come back, warm instances serve on, and
// when the engine is there again the environment is built.
func TestEngineKilledInMidBuild(t *testing.T) {
	t.Parallel()
	e := newPrivateEngine(t, "attune/shell")
	h := newHome(t)
	ready, p := h.scriptedPack(t, "survivor", built), h.scriptedPack(t, "engine_killed", pass("gate")+built)
	g := h.start(t, h.scripted(t), "ATTUNE__DOCKER__HOST="+e.host(), "ATTUNE__BUILD__NETWORK=none")
	ready.serves(t, g)
	call := g.calls(t, p)
	eventually(t, 20*time.Second, "the builder runs", func() bool { return len(e.builders(t, "status=running")) == 1 })
	first := e.builders(t)[0]

	e.kill(t)
	call.within(t, 20*time.Second).refuses(t, 503, "environment-failed", "the container engine does not answer")
	g.invoke(t, p.ref+".run", "{}").refuses(t, 503, "environment-failed", "the container engine does not answer")
	ready.serves(t, g)

	e.start(t)
	p.open(t, "gate")
	g.retries(t, p, 30*time.Second)
	for _, id := range e.builders(t) {
		if id == first {
			t.Errorf("the builder of before is still there: %s", id)
		}
	}
	h.atRest(t, nil, g)
	if left := e.docker(t, "ps", "-aq", "--filter", "label=attune.role=probe"); len(left)+len(e.builders(t)) > 0 {
		t.Errorf("left at the engine: %v %v", e.builders(t), left)
	}
	if got := h.generations(t); len(got) != 2 {
		t.Errorf("published are %v, want one generation per pack", got)
	}
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	if left := e.docker(t, "ps", "-aq"); len(left) > 0 {
		t.Errorf("after SIGTERM the engine has %v", left)
	}
	if left, _ := os.ReadDir(filepath.Join(h.envs, ".run", g.id)); len(left) > 0 {
		t.Errorf("%d instance directories are left", len(left))
	}
}

// builders lists the builders at this engine.
func (e *privateEngine) builders(t testing.TB, filters ...string) []string {
	t.Helper()
	args := []string{"ps", "-aq", "--no-trunc", "--filter", "label=attune.role=builder"}
	for _, f := range filters {
		args = append(args, "--filter", f)
	}
	return e.docker(t, args...)
}

// TestEngineKilledInMidCall: kill -9 of the engine while actions run. They end as
// if nothing had happened, for nothing of a call passes through the engine; what
// needs an instance that isn't there is told so, and served when the engine is back.
func TestEngineKilledInMidCall(t *testing.T) {
	t.Parallel()
	e := newPrivateEngine(t, "attune/python")
	h := newHome(t)
	for _, isolation := range attackIsolations {
		h.attacks(t, "python", isolation, "", map[string]attack{
			"slow": python("import os, time\nwhile not os.path.exists('/opt/attune/packs/python_"+isolation+"/open'): time.sleep(0.02)\nreturn {}", "output_format: json\nmin_warm: 0\n"),
		})
	}
	g := h.start(t, "ATTUNE__DOCKER__HOST="+e.host(), "ATTUNE__BUILD__NETWORK=none")
	answers := map[string]chan answer{}
	for _, isolation := range attackIsolations {
		c := make(chan answer, 1)
		answers[isolation] = c
		go func() { c <- g.invoke(t, "python_"+isolation+".slow", "{}") }()
	}
	eventually(t, 40*time.Second, "the actions run", func() bool {
		var page struct{ Items []struct{ Status string } }
		if a := g.get(t, "/api/v1/executions?status=running"); json.Unmarshal([]byte(a.body), &page) != nil {
			t.Fatalf("GET /api/v1/executions = %d %s", a.status, a.body)
		}
		return len(page.Items) == len(attackIsolations)
	})
	e.kill(t)
	for _, isolation := range attackIsolations {
		write(t, filepath.Join(h.packs, "python_"+isolation, "open"), "", 0o644)
	}
	for isolation, c := range answers {
		if a := <-c; a.status != 200 {
			t.Errorf("%s: a call in whose midst the engine was killed = %d %s", isolation, a.status, a.body)
		}
	}
	if a := g.invoke(t, "python_container.slow", "{}"); a.status != 503 || a.problem(t).Type != "/problems/engine-unavailable" || a.problem(t).Started {
		t.Errorf("a call that needs an instance of an engine that is away = %d %s", a.status, a.body)
	}
	e.start(t) // which ends what ran before
	for _, isolation := range attackIsolations {
		eventually(t, 40*time.Second, isolation+" serves again", func() bool {
			a := g.invoke(t, "python_"+isolation+".slow", "{}")
			if a.status != 200 && !a.problem(t).Retryable && a.problem(t).Type != "/problems/instance-lost" {
				t.Errorf("%s: %d %s", isolation, a.status, a.body)
			}
			return a.status == 200
		})
	}
	g.stop(t)
	if left := e.docker(t, "ps", "-aq"); len(left) > 0 {
		t.Errorf("after SIGTERM the engine has %v", left)
	}
}

package tests

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/gateway/redis/redistest"
	"attune/runtimes/container/containertest"
)

// beside is another gateway's home on the same environments and packs.
func (h home) beside(name string) home {
	return home{packs: h.packs, envs: h.envs, state: h.state + "-" + name}
}

func TestTwoGatewaysStartOneBuilder(t *testing.T) {
	containertest.RequireDocker(t)
	for name, vars := range map[string]func() []string{
		"file leases": func() []string { return nil },
		"one Redis":   func() []string { return []string{"ATTUNE__REDIS__URL=" + redistest.URL(t)} },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			ref := "pair_" + strings.ToLower(strings.ReplaceAll(name, " ", "_"))
			h.slowPack(t, ref)
			settings := vars()
			a, b := h.start(t, settings...), h.beside("b").start(t, settings...)
			since := time.Now()
			burst(t, 20, ref+".run", a, b)
			if got := builds(t, since, ref); got != 1 {
				t.Errorf("20 simultaneous first calls over two gateways started %d builders, want 1", got)
			}
		})
	}
}

func TestReplicasShareExecutionsInRedis(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t, "shell_example")
	url := "ATTUNE__REDIS__URL=" + redistest.URL(t)
	a, b := h.start(t, url), h.beside("b").start(t, url)
	id := a.mustInvoke(t, "shell_example.hello", `{"name":"Ada"}`).header.Get("Attune-Execution-Id")
	eventually(t, 5*time.Second, "the other gateway knows the execution", func() bool {
		return b.get(t, "/api/v1/executions/"+id).status == 200
	})
}

// TestRedisAwayServesOn: what is ready costs no Redis.
func TestRedisAwayServesOn(t *testing.T) {
	h := newHome(t, "shell_example")
	g := h.start(t, "ATTUNE__REDIS__URL=redis://127.0.0.1:1/0")
	g.mustInvoke(t, "shell_example.hello", "{}")
	ready := g.get(t, "/readyz")
	if ready.status != 200 || !strings.Contains(ready.body, `"redis","ok":false`) {
		t.Errorf("/readyz = %d %s", ready.status, ready.body)
	}
	if a := g.get(t, "/api/v1/executions"); a.status != 503 || a.problem(t).Type != "/problems/state-unavailable" {
		t.Errorf("/api/v1/executions = %d %s", a.status, a.body)
	}
	// It stops all the same, leaves no instance, and says what it could not record.
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	if left := g.containers(t); len(left) > 0 || g.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(g.text(), "not recorded") {
		t.Errorf("exit code %d, left %v\n%s", g.cmd.ProcessState.ExitCode(), left, g.text())
	}
}

// TestAnotherGatewayRemovesLeftovers: a lock on the volume tells who is dead.
func TestAnotherGatewayRemovesLeftovers(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t, "shell_example")
	dead := h.launch(t)
	dead.mustInvoke(t, "shell_example.hello", "{}")
	living := h.beside("living").start(t)
	living.mustInvoke(t, "shell_example.hello", "{}")
	dead.kill(t)
	h.beside("third").start(t)
	if left := dead.containers(t); len(left) > 0 {
		t.Errorf("instances of the dead gateway: %v", left)
	}
	if kept := living.containers(t); len(kept) != 1 {
		t.Errorf("the living gateway has %d instances, want its own", len(kept))
	}
	living.mustInvoke(t, "shell_example.hello", "{}")
}

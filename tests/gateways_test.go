package tests

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	tcredis "github.com/testcontainers/testcontainers-go/modules/redis"

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
	for _, g := range []struct{ calls, asked *gateway }{{a, b}, {b, a}} {
		id := g.calls.mustInvoke(t, "shell_example.hello", `{"name":"Ada"}`).header.Get("Attune-Execution-Id")
		var last answer
		eventually(t, 5*time.Second, "the other gateway knows execution "+id, func() bool {
			last = g.asked.get(t, "/api/v1/executions/"+id)
			return last.status == http.StatusOK
		})
		if v := last.value(t); v["id"] != id || v["action"] != "shell_example.hello" {
			t.Errorf("GET /api/v1/executions/%s = %s", id, last.body)
		}
	}
}

// TestRedisAwayServesOn: what is ready costs no Redis.
func TestRedisAwayServesOn(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t, "shell_example")
	h.slowPack(t, "redis_away")
	redis, err := tcredis.Run(t.Context(), "attune/redis")
	testcontainers.CleanupContainer(t, redis)
	if err != nil {
		t.Fatal(err)
	}
	url, err := redis.ConnectionString(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g := h.start(t, "ATTUNE__REDIS__URL="+url)
	g.mustInvoke(t, "redis_away.run", "{}")
	g.redisIs(t, true)

	dockerLines(t, "pause", redis.GetContainerID()) // connections stay, nothing answers
	started := time.Now()
	unrecorded := g.mustInvoke(t, "redis_away.run", "{}").header.Get("Attune-Execution-Id")
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("a call took %s with a Redis that hangs", took)
	}
	g.redisIs(t, false)
	if a := g.get(t, "/api/v1/executions"); a.status != 503 || a.problem(t).Type != "/problems/state-unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("GET /api/v1/executions = %d %v %s", a.status, a.header, a.body)
	}
	dockerLines(t, "unpause", redis.GetContainerID())
	g.redisIs(t, true)
	eventually(t, 15*time.Second, "the call while Redis was away is recorded", func() bool {
		return g.get(t, "/api/v1/executions/"+unrecorded).status == http.StatusOK
	})

	dockerLines(t, "kill", redis.GetContainerID())
	g.mustInvoke(t, "redis_away.run", "{}")
	g.mustInvoke(t, "shell_example.hello", "{}")
	g.redisIs(t, false)
	// It stops all the same, leaves no instance, and says what it could not record.
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-g.ended
	if left := g.containers(t); len(left) > 0 || g.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(g.text(), "not recorded") {
		t.Errorf("exit code %d, left %v\n%s", g.cmd.ProcessState.ExitCode(), left, g.text())
	}
}

// TestStartsWithoutRedis: nor does a start need it where an environment is ready
// or none is needed, on a gateway that knows whether there are API keys:
// TestReplicasShareKeys has one that doesn't.
func TestStartsWithoutRedis(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t, "shell_example")
	write(t, filepath.Join(h.state, "api-keys.json"), "[]", 0o600)
	g := h.launch(t, "ATTUNE__REDIS__URL=redis://127.0.0.1:1/0")
	g.mustInvoke(t, "shell_example.hello", "{}")
	g.redisIs(t, false)
	g.kill(t) // an ordinary stop says what it could not record: TestRedisAwayServesOn
	h.start(t)
}

// redisIs waits until a gateway's /readyz says whether Redis answers. It is
// ready in both cases.
func (g *gateway) redisIs(t *testing.T, there bool) {
	t.Helper()
	want := fmt.Sprintf(`"redis","ok":%v`, there)
	eventually(t, 20*time.Second, "/readyz says "+want, func() bool {
		ready := g.get(t, "/readyz")
		if ready.status != http.StatusOK {
			t.Fatalf("GET /readyz = %d %s", ready.status, ready.body)
		}
		return strings.Contains(ready.body, want)
	})
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

package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/redis/redistest"
	"attune/runtimes/container/containertest"
)

// onceHome has an action that notes each of its runs in a file.
func onceHome(t *testing.T) (h home, runs func() int) {
	t.Helper()
	h = newHome(t)
	file := filepath.Join(filepath.Dir(h.packs), "runs")
	write(t, file, "", 0o666)
	h.pack(t, "once", map[string]string{
		"actions/run.yaml": "ref: once.run\nentry_point: run.sh\n",
		"actions/run.sh":   "echo x >>" + file + "\nsleep 0.5\ncat\necho $ATTUNE_EXEC_ID\n",
	})
	return h, func() int {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(content), "x")
	}
}

// keyed calls once.run under a key.
func (g *gateway) keyed(t testing.TB, key, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/invoke/once.run", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Idempotency-Key", key)
	response, err := http.DefaultClient.Do(request)
	return read(t, response, err)
}

// hundred calls at once, over all gateways; each is repeated while it is told to.
func hundred(t *testing.T, key string, gateways ...*gateway) {
	t.Helper()
	var mu sync.Mutex
	bodies := map[string]int{}
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			for g := gateways[i%len(gateways)]; ; <-time.After(50 * time.Millisecond) {
				a := g.keyed(t, key, `{"a":1}`)
				if a.status == http.StatusConflict && a.header.Get("Retry-After") != "" {
					continue
				}
				if a.status != http.StatusOK {
					t.Errorf("= %d %s", a.status, a.body)
				}
				mu.Lock()
				defer mu.Unlock()
				bodies[a.header.Get("Attune-Execution-Id")+" "+a.body]++
				return
			}
		})
	}
	group.Wait()
	if len(bodies) != 1 {
		t.Errorf("100 calls of one key have %d answers: %v", len(bodies), bodies)
	}
}

func TestHundredCallsOfOneKeyAreOneExecution(t *testing.T) {
	h, runs := onceHome(t)
	g := h.launch(t, "ATTUNE__ENGINE=process")
	hundred(t, "k", g)
	if n := runs(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
	g.stop(t)
	g = h.launch(t, "ATTUNE__ENGINE=process") // what is embedded is durable
	defer g.stop(t)
	if a := g.keyed(t, "k", `{"a":1}`); a.status != 200 || a.header.Get("Idempotency-Replayed") != "true" || runs() != 1 {
		t.Errorf("after a restart = %d %s, %d runs", a.status, a.body, runs())
	}
	if a := g.keyed(t, "k", `{"a":2}`); a.status != http.StatusUnprocessableEntity || a.problem(t).Type != "/problems/idempotency-key-reuse" {
		t.Errorf("with another body = %d %s", a.status, a.body)
	}
}

func TestHundredCallsOfOneKeyOnTwoGateways(t *testing.T) {
	containertest.RequireDocker(t) // for Redis
	h, runs := onceHome(t)
	vars := []string{"ATTUNE__ENGINE=process", "ATTUNE__REDIS__URL=" + redistest.URL(t)}
	a, b := h.launch(t, vars...), h.beside("b").launch(t, vars...)
	defer b.stop(t)
	defer a.stop(t)
	hundred(t, "two-"+a.id, a, b)
	if n := runs(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}

// A gateway that is killed in mid-call leaves its key behind: the call never runs
// twice, and the caller learns which execution it was.
func TestKeyOfAKilledGateway(t *testing.T) {
	h, runs := onceHome(t)
	vars := []string{"ATTUNE__ENGINE=process", "ATTUNE__LIMITS__MAX_TIMEOUT=1s"}
	g := h.launch(t, vars...)
	var calling sync.WaitGroup
	calling.Go(func() {
		request, err := http.NewRequest(http.MethodPost, g.url+"/invoke/once.run", strings.NewReader("{}"))
		if err != nil {
			t.Error(err)
			return
		}
		request.Header.Set("Idempotency-Key", "k")
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			t.Errorf("the call was answered: %d", response.StatusCode)
		}
	})
	eventually(t, 10*time.Second, "the action runs", func() bool { return runs() == 1 })
	g.kill(t)
	calling.Wait()
	g = h.launch(t, vars...)
	defer g.stop(t)
	if a := g.keyed(t, "k", "{}"); a.status != http.StatusConflict || a.problem(t).Execution == "" || runs() != 1 {
		t.Errorf("= %d %s after %d runs", a.status, a.body, runs())
	}
}

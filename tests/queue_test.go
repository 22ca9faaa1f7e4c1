package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// queuePack has an action that succeeds, one that fails, and one whose retries
// are spent.
func (h home) queuePack(t *testing.T) {
	h.pack(t, "jobs", map[string]string{
		"actions/fine.yaml":   "ref: jobs.fine\nentry_point: fine.sh\n",
		"actions/fine.sh":     "exit 0\n",
		"actions/fails.yaml":  "ref: jobs.fails\nentry_point: fails.sh\n",
		"actions/fails.sh":    "exit 3\n",
		"actions/doomed.yaml": "ref: jobs.doomed\nentry_point: fails.sh\nretry: {attempts: 2, min: 10ms, max: 20ms, on: [action-failed]}\n",
		"actions/slow.yaml":   "ref: jobs.slow\nentry_point: slow.sh\n",
		"actions/slow.sh":     "sleep 2; echo done\n",
	})
}

// fleet is gateways that are killed and started again while they are called.
type fleet struct {
	t     *testing.T
	homes []home
	vars  []string

	mu   sync.Mutex
	runs []*gateway
}

func newFleet(t *testing.T, vars []string, homes ...home) *fleet {
	f := &fleet{t: t, homes: homes, runs: make([]*gateway, len(homes)), vars: append([]string{
		"ATTUNE__ENGINE=process", "DOCKER_HOST=unix:///nowhere/docker.sock", "ATTUNE__QUEUE__LEASE=2s", "ATTUNE__EXECUTIONS__KEEP=1000000",
	}, vars...)}
	for i := range homes {
		f.start(i)
	}
	return f
}

func (f *fleet) start(i int) {
	g := f.homes[i].launch(f.t, f.vars...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs[i] = g
}

// restart kills one as the kernel would, and starts it again.
func (f *fleet) restart(i int) {
	f.mu.Lock()
	g := f.runs[i]
	f.mu.Unlock()
	g.kill(f.t)
	f.start(i)
}

// any is one of them, perhaps a dead one.
func (f *fleet) any() *gateway {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs[rand.IntN(len(f.runs))]
}

// submit calls until some gateway has accepted.
func (f *fleet) submit(client *http.Client, action string) (id string) {
	for f.t.Context().Err() == nil {
		if id := f.submitTo(f.any(), client, action); id != "" {
			return id
		}
		time.Sleep(20 * time.Millisecond) // it is dead, or dies, or its store is away
	}
	return ""
}

// submitTo calls once; no ID = it wasn't accepted, as far as one knows.
func (f *fleet) submitTo(g *gateway, client *http.Client, action string) (id string) {
	request, err := http.NewRequestWithContext(f.t.Context(), "POST", g.url+"/invoke/"+action, strings.NewReader("{}"))
	if err != nil {
		f.t.Error(err)
		return ""
	}
	request.Header.Set("Prefer", "respond-async")
	response, err := client.Do(request)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	var x struct{ ID string }
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 202 || json.Unmarshal(body, &x) != nil {
		return ""
	}
	return x.ID
}

// statuses lists all executions.
func (f *fleet) statuses() map[string]string {
	found := map[string]string{}
	for cursor := ""; ; {
		var page struct {
			Items []struct{ ID, Status string }
			Next  string
		}
		path := "/api/v1/executions?limit=200"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		a := f.any().get(f.t, path)
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
			f.t.Fatalf("GET %s = %d %s", path, a.status, a.body)
		}
		for _, x := range page.Items {
			found[x.ID] = x.Status
		}
		if cursor = page.Next; cursor == "" {
			return found
		}
	}
}

// left counts the executions that have not ended, up to a page of each status.
func (f *fleet) left() (n int) {
	for _, status := range []string{"queued", "running"} {
		a := f.any().get(f.t, "/api/v1/executions?limit=200&status="+status)
		if a.status != 200 {
			return 1 // nobody knows
		}
		n += strings.Count(a.body, `"id"`)
	}
	return n
}

// crash submits jobs while gateways are killed at random, and proves that each
// has ended in one way that it may end.
func (f *fleet) crash(jobs int) {
	t := f.t
	expected, done := f.submitAll(jobs)
	seed := rand.Uint64()
	t.Logf("seed of the kills: %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for deadline := time.Now().Add(4 * time.Minute); ; {
		time.Sleep(time.Duration(500+random.IntN(2500)) * time.Millisecond)
		select {
		case <-done:
			if f.left() == 0 {
				t.Logf("%d jobs, %d kills", jobs, kills)
				f.judge(expected, jobs)
				return
			}
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %d kills jobs are left", kills)
		}
		if kills < 12 {
			f.restart(random.IntN(len(f.homes)))
			kills++
		}
	}
}

// submitAll submits jobs of all kinds. It returns what was accepted, ID → action,
// which is complete when done is closed.
func (f *fleet) submitAll(jobs int) (accepted *sync.Map, done chan struct{}) {
	accepted, done = &sync.Map{}, make(chan struct{})
	var next atomic.Int64
	var submitting sync.WaitGroup
	for range 16 {
		submitting.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
			for n := next.Add(1); n <= int64(jobs); n = next.Add(1) {
				action := map[int64]string{3: "jobs.fails", 7: "jobs.doomed"}[n%20]
				if action == "" {
					action = "jobs.fine"
				}
				if id := f.submit(client, action); id != "" {
					accepted.Store(id, action)
				}
			}
		})
	}
	go func() {
		submitting.Wait()
		close(done)
	}()
	return accepted, done
}

func (f *fleet) judge(expected *sync.Map, jobs int) {
	t := f.t
	found := f.statuses()
	count := map[string]int{}
	accepted := 0
	expected.Range(func(id, action any) bool {
		accepted++
		status := found[id.(string)]
		count[fmt.Sprint(action, " ", status)]++
		may := map[string]string{"jobs.fine": "succeeded dead", "jobs.fails": "failed dead", "jobs.doomed": "dead"}[action.(string)]
		if status == "" || !strings.Contains(may, status) { // dead: its gateways died too often
			t.Errorf("job %s of %s is %q", id, action, status)
		}
		return true
	})
	t.Logf("how they ended: %v", count)
	if accepted != jobs || len(found) < jobs {
		t.Errorf("%d of %d jobs were accepted, %d executions are known", accepted, jobs, len(found))
	}
	for id, status := range f.statuses() {
		if status != found[id] {
			t.Errorf("execution %s was %s, and is %s", id, found[id], status)
		}
	}
	for _, g := range f.runs {
		if strings.Contains(g.text(), "panic") {
			t.Errorf("a gateway panicked:\n%s", g.text())
		}
		g.stop(t)
	}
}

// TestNoJobIsLost while gateways are killed and started again: each ends in
// exactly one of succeeded, failed, dead.
func TestNoJobIsLost(t *testing.T) {
	const jobs = 10_000
	t.Run("two gateways on one Redis", func(t *testing.T) {
		containertest.RequireDocker(t)
		h := newHome(t)
		h.queuePack(t)
		b := h.beside("b")
		b.envs += "-b"
		setting, _ := newRedis(t).via(t)
		newFleet(t, []string{setting}, h, b).crash(jobs)
	})
	t.Run("one gateway on its own database", func(t *testing.T) {
		h := newHome(t)
		h.queuePack(t)
		newFleet(t, nil, h).crash(jobs)
	})
}

// TestJobsOutliveRedis: it is killed in mid-load, and comes back with what it has
// written down.
func TestJobsOutliveRedis(t *testing.T) {
	containertest.RequireDocker(t)
	const jobs = 2000
	h := newHome(t)
	h.queuePack(t)
	redis := newRedis(t, "--appendonly", "yes")
	setting, _ := redis.via(t)
	f := newFleet(t, []string{setting}, h)
	accepted, done := f.submitAll(jobs)
	count := func() (n int) {
		accepted.Range(func(any, any) bool { n++; return true })
		return n
	}
	eventually(t, time.Minute, "some jobs are accepted", func() bool { return count() > jobs/4 })
	redis.kill(t)
	request, err := http.NewRequest("POST", f.any().url+"/invoke/jobs.fine", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Prefer", "respond-async")
	response, err := http.DefaultClient.Do(request)
	a := read(t, response, err)
	if p := a.problem(t); a.status != 503 || p.Type != "/problems/state-unavailable" || !p.Retryable || a.header.Get("Retry-After") == "" {
		t.Errorf("with Redis away = %d %s", a.status, a.body)
	}
	redis.restart(t)
	<-done
	eventually(t, 2*time.Minute, "all jobs have ended", func() bool { return f.left() == 0 })
	f.judge(accepted, jobs)
}

// TestJobsChangeHands: a gateway that stops leaves what it runs to another, which
// can cancel what a third one runs.
func TestJobsChangeHands(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t)
	h.queuePack(t)
	b := h.beside("b")
	b.envs += "-b"
	setting, _ := newRedis(t).via(t)
	f := newFleet(t, []string{setting, "ATTUNE__SERVER__DRAIN_TIMEOUT=0", "ATTUNE__QUEUE__LEASE=1m"}, h)
	first := f.runs[0]
	id := f.submit(http.DefaultClient, "jobs.slow")
	status := func(g *gateway) string {
		s, _ := g.get(t, "/api/v1/executions/"+id).value(t)["status"].(string)
		return s
	}
	eventually(t, 20*time.Second, "the job runs", func() bool { return status(first) == "running" })
	second := b.launch(t, f.vars...)
	first.stop(t)
	eventually(t, 20*time.Second, "the other gateway has run it", func() bool { return status(second) == "succeeded" })
	x := second.get(t, "/api/v1/executions/"+id).value(t)
	if x["attempt"] != 1.0 || x["stdout"] != "done\n" || x["gateway"] != second.id {
		t.Errorf("the job that changed hands = %v, want it to succeed there at the first attempt", x)
	}

	id = f.submitTo(second, http.DefaultClient, "jobs.slow")
	eventually(t, 20*time.Second, "the job runs", func() bool { return status(second) == "running" })
	f.start(0)
	a := f.runs[0].post(t, "/api/v1/executions/"+id+"/cancel", "")
	if a.status != 200 || a.value(t)["status"] != "cancelled" {
		t.Errorf("cancel on another gateway = %d %s", a.status, a.body)
	}
	second.stop(t)
	f.runs[0].stop(t)
}

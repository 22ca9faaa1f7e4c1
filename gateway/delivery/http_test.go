package delivery_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/api"
	"attune/gateway/delivery"
	"attune/gateway/delivery/deliverytest"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/hook/hooktest"
	"attune/gateway/pack"
	"attune/gateway/redis"
	"attune/gateway/redis/redistest"
	"attune/gateway/sqlite"
	"attune/runtimes"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// gateway is a listening server whose hooks have a store.
type gateway struct {
	url     string
	store   hook.Store
	queue   *deliverytest.Queue
	invoker *invoker
	now     atomic.Pointer[time.Time] // nil: the real time
}

// invoker runs nothing, but when it is told how.
type invoker struct {
	mu   sync.Mutex
	seen []execution.Request
	run  func(request execution.Request) (*execution.Outcome, error)
}

func (i *invoker) Invoke(_ context.Context, request execution.Request) (*execution.Outcome, error) {
	i.mu.Lock()
	i.seen = append(i.seen, request)
	run := i.run
	i.mu.Unlock()
	if run != nil {
		return run(request)
	}
	return succeeded(request), nil
}

func (i *invoker) do(run func(execution.Request) (*execution.Outcome, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.run = run
}

func (i *invoker) calls() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.seen)
}

func succeeded(request execution.Request) *execution.Outcome {
	return &execution.Outcome{
		Execution: &execution.Execution{ID: request.ID, Action: request.Action, Status: execution.StatusSucceeded},
		Output:    request.Body, MediaType: "application/json",
	}
}

// catalog has one pack, with a ref of its own where gateways share a Redis.
func catalog(t *testing.T, ref string) *pack.Catalog {
	t.Helper()
	dir := t.TempDir()
	files := deliverytest.Hooks(ref, "echo")
	files["pack.yaml"] = "ref: " + ref + "\nversion: 1.0.0\n"
	files["actions/echo.yaml"] = "ref: " + ref + ".echo\nrunner_type: shell\nentry_point: echo.sh\noutput_format: json\nparameters:\n  name: {type: string}\n"
	files["actions/echo.sh"] = "#!/bin/sh\ncat\n"
	for name, content := range files {
		path := filepath.Join(dir, ref, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := pack.LoadCatalog(dir, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil || len(found.Broken()) > 0 {
		t.Fatalf("LoadCatalog() error = %v, broken %v", err, found.Broken())
	}
	return found
}

// serve starts a gateway; queue nil = one of its own.
func serve(t *testing.T, packs *pack.Catalog, store hook.Store, queue *deliverytest.Queue) *gateway {
	t.Helper()
	snapshot := func() *pack.Catalog { return packs }
	if queue == nil {
		queue = &deliverytest.Queue{Catalog: snapshot}
	}
	g := &gateway{store: store, queue: queue, invoker: &invoker{}}
	secrets := &deliverytest.Secrets{}
	secrets.Set(string(packs.Packs()[0].Ref), "sender_hook", deliverytest.Secret)
	newID := func() string { return ulid.Make().String() }
	receiver, err := delivery.New(delivery.Options{
		Catalog: snapshot, Store: store, Secrets: secrets, Queue: queue, Invoker: g.invoker, NewID: newID,
		Now: g.time, Status: api.StatusOf,
	})
	if err != nil {
		t.Fatal(err)
	}
	receiver.Look(t.Context())
	server, err := api.New(api.Options{
		Invoker: g.invoker, Catalog: snapshot, Hooks: receiver, NewID: newID,
		Environments: struct{ api.Environments }{}, Registrar: struct{ api.Registrar }{}, Store: struct{ api.Store }{}, Secrets: struct{ api.Secrets }{},
		Queue: struct{ api.Queue }{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + server.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() error = %v", err)
		}
	})
	return g
}

func (g *gateway) time() time.Time {
	if fixed := g.now.Load(); fixed != nil {
		return *fixed
	}
	return time.Now()
}

// key is the key of a hook, as every gateway of a store knows it.
func (g *gateway) key(t *testing.T, name string) string {
	t.Helper()
	address, err := g.store.Address(t.Context(), name, "never taken", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return address.Key
}

// deliver sends a delivery, and returns the status and the body of the answer.
func (g *gateway) deliver(t *testing.T, name, id, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/hooks/"+g.key(t, name), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if id != "" {
		request.Header.Set("X-Id", id)
	}
	if _, sender, _ := strings.Cut(name, "."); sender == "github" {
		scheme, _ := hook.Preset(sender)
		headers, err := scheme.Sign(deliverytest.Secret, id, time.Now(), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range headers {
			request.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// stores are two views of one store, as two gateways have it.
var stores = map[string]func(t *testing.T) [2]hook.Store{
	"memory": func(*testing.T) [2]hook.Store { m := hooktest.NewMemory(); return [2]hook.Store{m, m} },
	"sqlite": func(t *testing.T) [2]hook.Store {
		path := filepath.Join(t.TempDir(), "attune.db")
		return [2]hook.Store{openSQLite(t, path), openSQLite(t, path)}
	},
	"redis": func(t *testing.T) [2]hook.Store { return [2]hook.Store{openRedis(t), openRedis(t)} },
}

func openSQLite(t *testing.T, path string) hook.Store {
	t.Helper()
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Hooks()
}

func openRedis(t *testing.T) hook.Store {
	t.Helper()
	c, err := redis.Open(t.Context(), redistest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.Hooks()
}

// A delivery that comes fifty times at once, to two gateways, is one execution;
// with another body it is refused.
func TestDuplicatesAtOnceOnTwoGateways(t *testing.T) {
	t.Parallel()
	for kind, open := range stores {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			both, packs := open(t), catalog(t, "dup"+kind)
			one := serve(t, packs, both[0], nil)
			two := serve(t, packs, both[1], one.queue)
			name := "dup" + kind + ".github"
			if one.key(t, name) != two.key(t, name) {
				t.Fatal("the gateways have different URLs of one hook")
			}
			id := ulid.Make().String()
			var group sync.WaitGroup
			var mu sync.Mutex
			statuses := map[int]int{}
			for n := range 50 {
				body := `{"name":"a"}`
				if n%5 == 4 {
					body = fmt.Sprintf(`{"name":"other %d"}`, n)
				}
				group.Go(func() {
					status, _ := []*gateway{one, two}[n%2].deliver(t, name, id, body)
					mu.Lock()
					defer mu.Unlock()
					statuses[status]++
				})
			}
			group.Wait()
			jobs := one.queue.Jobs()
			if len(jobs) != 1 || statuses[202]+statuses[409] != 50 || statuses[202] < 1 {
				t.Errorf("%d jobs, answers %v, want one job", len(jobs), statuses)
			}
			// Whichever body came first is the delivery.
			won := string(jobs[0].Parameters)
			if wonByA := won == `{"name":"a"}`; wonByA && statuses[202] != 40 || !wonByA && statuses[202] != 1 {
				t.Errorf("answers %v, though the delivery is %s", statuses, won)
			}
			status, answer := two.deliver(t, name, id, won)
			if status != 202 || !strings.Contains(answer, `"duplicate":true`) || !strings.Contains(answer, jobs[0].ID) {
				t.Errorf("once more = %d %s, want the execution %s", status, answer, jobs[0].ID)
			}
			if status, answer := one.deliver(t, name, id, `{"name":"b"}`); status != 409 || !strings.Contains(answer, "/problems/id-reuse") {
				t.Errorf("another body = %d %s, want 409 id-reuse", status, answer)
			}
			if status, _ := one.deliver(t, name, id+"-2", `{"name":"b"}`); status != 202 || len(one.queue.Jobs()) != 2 {
				t.Errorf("another ID = %d, %d jobs, want another job", status, len(one.queue.Jobs()))
			}
		})
	}
}

func TestDuplicateAfterARestart(t *testing.T) {
	t.Parallel()
	path, packs := filepath.Join(t.TempDir(), "attune.db"), catalog(t, "demo")
	var key string
	for n := range 2 {
		t.Run(fmt.Sprint("start ", n+1), func(t *testing.T) {
			g := serve(t, packs, openSQLite(t, path), nil)
			if now := g.key(t, "demo.github"); key != "" && now != key {
				t.Errorf("the hook's key is %s, and was %s", now, key)
			}
			key = g.key(t, "demo.github")
			status, answer := g.deliver(t, "demo.github", "d-1", `{"name":"a"}`)
			if want := fmt.Sprintf(`"duplicate":%t`, n == 1); status != 202 || !strings.Contains(answer, want) || len(g.queue.Jobs()) != 1-n {
				t.Errorf("delivery = %d %s, %d jobs, want 202 with %s", status, answer, len(g.queue.Jobs()), want)
			}
		})
	}
}

// A job that could not be stored is not forgotten because its delivery was
// marked: the sender comes again, and gets one execution.
func TestRetryAfterTheQueueWasAway(t *testing.T) {
	t.Parallel()
	for kind, open := range stores {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			g := serve(t, catalog(t, "away"+kind), open(t)[0], nil)
			name, away := "away"+kind+".github", &execution.Error{Failure: execution.Failure{
				Code: execution.CodeStateUnavailable, Component: "queue", Phase: "queue", Reason: "the queue is away", Retryable: true}}
			for step, fail := range []func(error){g.queue.Fail, g.queue.Lose} {
				id := ulid.Make().String()
				fail(away)
				for range 2 {
					if status, answer := g.deliver(t, name, id, `{"name":"a"}`); status != 503 {
						t.Errorf("delivery without a queue = %d %s, want 503", status, answer)
					}
				}
				g.queue.Fail(nil)
				if status, answer := g.deliver(t, name, id, `{"name":"a"}`); status != 202 || len(g.queue.Jobs()) != step+1 {
					t.Errorf("retry = %d %s, %d jobs, want 202 and %d", status, answer, len(g.queue.Jobs()), step+1)
				}
				if _, answer := g.deliver(t, name, id, `{"name":"a"}`); !strings.Contains(answer, `"duplicate":true`) || len(g.queue.Jobs()) != step+1 {
					t.Errorf("repetition = %s, %d jobs, want a duplicate", answer, len(g.queue.Jobs()))
				}
			}
		})
	}
}

// Between the mark and the job a gateway may die. Its mark holds nobody up who
// sends the same; who sends another body waits for a minute.
func TestMarkOfAGatewayThatDied(t *testing.T) {
	t.Parallel()
	g := serve(t, catalog(t, "demo"), hooktest.NewMemory(), nil)
	start := time.Now()
	dead := hook.Mark{Hook: "demo.open", ID: "d-1", Digest: "of another body", Execution: ulid.Make().String(), Pending: start.Add(time.Minute)}
	if _, err := g.store.Claim(t.Context(), dead, start); err != nil {
		t.Fatal(err)
	}
	if status, _ := g.deliver(t, "demo.open", "d-1", `{}`); status != 409 {
		t.Errorf("at once = %d, want 409", status)
	}
	later := start.Add(time.Minute + time.Second)
	g.now.Store(&later)
	status, answer := g.deliver(t, "demo.open", "d-1", `{}`)
	if jobs := g.queue.Jobs(); status != 202 || len(jobs) != 1 || jobs[0].ID != dead.Execution {
		t.Errorf("later = %d %s, jobs %v, want the execution of the mark", status, answer, jobs)
	}
}

func TestDeliveriesWithoutAnIDAreAllNew(t *testing.T) {
	t.Parallel()
	g := serve(t, catalog(t, "demo"), hooktest.NewMemory(), nil)
	for range 3 {
		if status, answer := g.deliver(t, "demo.open", "", `{"name":"same"}`); status != 202 {
			t.Errorf("delivery = %d %s", status, answer)
		}
	}
	if n := len(g.queue.Jobs()); n != 3 {
		t.Errorf("%d jobs of 3 equal deliveries without an ID, want 3", n)
	}
	if status, answer := g.deliver(t, "demo.open", strings.Repeat("x", 256), `{}`); status != 400 {
		t.Errorf("an ID of 256 bytes = %d %s, want 400", status, answer)
	}
}

func TestRefusedParametersMayBeSentAgain(t *testing.T) {
	t.Parallel()
	g := serve(t, catalog(t, "demo"), hooktest.NewMemory(), nil)
	for _, step := range []struct {
		body   string
		status int
	}{{`{"name":1}`, 422}, {`{"name":2}`, 422}, {`{"name":"a"}`, 202}, {`{"name":"b"}`, 409}} {
		if status, answer := g.deliver(t, "demo.open", "d-1", step.body); status != step.status {
			t.Errorf("%s = %d %s, want %d", step.body, status, answer, step.status)
		}
	}
}

func TestSenderThatWaits(t *testing.T) {
	t.Parallel()
	g := serve(t, catalog(t, "demo"), hooktest.NewMemory(), nil)
	if status, answer := g.deliver(t, "demo.wait", "d-1", `{"name":"a"}`); status != 200 || answer != `{"name":"a"}` {
		t.Errorf("delivery = %d %s, want the result", status, answer)
	}
	if status, answer := g.deliver(t, "demo.wait", "d-1", `{"name":"a"}`); status != 200 || !strings.Contains(answer, `"duplicate":true`) || g.invoker.calls() != 1 {
		t.Errorf("repetition = %d %s after %d calls, want a duplicate", status, answer, g.invoker.calls())
	}
	if status, _ := g.deliver(t, "demo.wait", "d-1", `{"name":"b"}`); status != 409 {
		t.Errorf("another body = %d, want 409", status)
	}

	// What has failed runs again.
	failed := &execution.Error{Failure: execution.Failure{Code: execution.CodeActionFailed, Component: "action", Phase: "run", Reason: "exit code 1", Started: true}}
	g.invoker.do(func(request execution.Request) (*execution.Outcome, error) { return succeeded(request), failed })
	if status, _ := g.deliver(t, "demo.wait", "d-2", `{}`); status != 502 {
		t.Errorf("of a failing action = %d, want 502", status)
	}
	g.invoker.do(nil)
	if status, answer := g.deliver(t, "demo.wait", "d-2", `{}`); status != 200 || strings.Contains(answer, "duplicate") {
		t.Errorf("its retry = %d %s, want a result", status, answer)
	}

	// While one runs, a repetition is told to come back.
	running, end := make(chan struct{}), make(chan struct{})
	g.invoker.do(func(request execution.Request) (*execution.Outcome, error) {
		close(running)
		<-end
		return succeeded(request), nil
	})
	first := make(chan int, 1)
	go func() { status, _ := g.deliver(t, "demo.wait", "d-3", `{}`); first <- status }()
	<-running
	if status, answer := g.deliver(t, "demo.wait", "d-3", `{}`); status != 409 || !strings.Contains(answer, "/problems/in-progress") || !strings.Contains(answer, `"retryable":true`) {
		t.Errorf("meanwhile = %d %s, want in-progress", status, answer)
	}
	close(end)
	if status := <-first; status != 200 {
		t.Errorf("the first = %d, want 200", status)
	}
}

func TestTheLogIsBounded(t *testing.T) {
	t.Parallel()
	g := serve(t, catalog(t, "demo"), hooktest.NewMemory(), nil)
	now := time.Now()
	g.now.Store(&now) // no minute ends
	large := `{"name":"` + strings.Repeat("a", 70<<10) + `"}`
	if status, answer := g.deliver(t, "demo.open", "large", large); status != 202 {
		t.Fatalf("delivery = %d %s", status, answer)
	}
	entries, _, err := g.store.Entries(t.Context(), "demo.open", "", 10)
	if err != nil || len(entries) != 1 || entries[0].Replayable || entries[0].Size != len(large) {
		t.Fatalf("entries = %+v, %v, want one without its body", entries, err)
	}
	if whole, err := g.store.Entry(t.Context(), "demo.open", entries[0].ID); err != nil || len(whole.Body) > 0 {
		t.Errorf("%d bytes of a large body are kept, %v", len(whole.Body), err)
	}
	for n := range 30 {
		request, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/hooks/"+g.key(t, "demo.github"), strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != 401 {
			t.Fatalf("unsigned delivery %d = %v, %v, want 401", n, response, err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	entries, _, err = g.store.Entries(t.Context(), "demo.github", "", 100)
	if err != nil || len(entries) != 20 {
		t.Errorf("%d entries of 30 unproven deliveries, %v, want 20", len(entries), err)
	}
	for _, entry := range entries {
		if entry.Status != 401 || entry.Code != delivery.CodeInvalidSignature || entry.Outcome != hook.Refused || entry.Headers != nil {
			t.Errorf("entry = %+v, want a refusal", entry)
		}
	}
}

func TestNewNamesEveryMissingOption(t *testing.T) {
	t.Parallel()
	_, err := delivery.New(delivery.Options{})
	for _, name := range []string{"Catalog", "Store", "Secrets", "Queue", "Invoker", "NewID"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New(Options{}) error = %v, want it to name %s", err, name)
		}
	}
}

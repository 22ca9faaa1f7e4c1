package delivery_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/delivery"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/hook/hooktest"
)

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

func TestTheLogHasNoSecretsOfActions(t *testing.T) {
	t.Parallel()
	g := serve(t, catalog(t, "demo"), hooktest.NewMemory(), nil)
	if status, answer := g.deliver(t, "demo.hush", "d-1", `{"token":"hush-hush"}`); status != 202 {
		t.Fatalf("delivery = %d %s", status, answer)
	}
	entries, _, err := g.store.Entries(t.Context(), "demo.hush", "", 10)
	if err != nil || len(entries) != 1 || entries[0].Replayable || entries[0].Headers != nil || entries[0].Outcome != hook.Accepted {
		t.Fatalf("entries = %+v, %v, want one of which nothing is kept", entries, err)
	}
	if whole, err := g.store.Entry(t.Context(), "demo.hush", entries[0].ID); err != nil || len(whole.Body) > 0 {
		t.Errorf("%d bytes of a secret are kept, %v", len(whole.Body), err)
	}
}

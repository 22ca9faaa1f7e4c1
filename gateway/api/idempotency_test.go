package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/idempotency"
	"attune/gateway/idempotency/idempotencytest"
)

// withKeys serves a gateway that keeps keys in memory.
func withKeys(t *testing.T) (*world, *idempotencytest.Memory) {
	t.Helper()
	memory := idempotencytest.NewMemory()
	keys := &idempotency.Keys{Store: memory, Lease: time.Hour, Keep: time.Hour, Bytes: 1 << 10}
	return serve(t, Limits{}, func(o *Options) { o.Idempotency = keys }), memory
}

// counting runs behave, and counts.
func (w *world) counting(behave func(context.Context, execution.Request) (*execution.Outcome, error)) *atomic.Int64 {
	var runs atomic.Int64
	w.invoker.do(func(ctx context.Context, request execution.Request) (*execution.Outcome, error) {
		accept(request)
		runs.Add(1)
		return behave(ctx, request)
	})
	return &runs
}

// ended is an execution that failed, with what it means for a repetition.
func ended(request execution.Request, failed *execution.Error) (*execution.Outcome, error) {
	return &execution.Outcome{Execution: &execution.Execution{
		ID: request.ID, Action: request.Action, Status: execution.StatusFailed, Error: &failed.Failure, Timing: execution.Timing{Run: 3},
	}}, failed
}

func TestReplayIsTheAnswerByteForByte(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, action string
		behave       func(context.Context, execution.Request) (*execution.Outcome, error)
		status       int
	}{
		{"JSON", "demo.echo", func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
			return succeeded(r, []byte(`{"a":[1, 2]}`), "application/json"), nil
		}, 200},
		{"bytes", "demo.say", func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
			return succeeded(r, []byte("\x00\xff<b>\r\n"), "text/plain; charset=utf-8"), nil
		}, 200},
		{"nothing", "demo.say", func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
			return succeeded(r, nil, "text/plain; charset=utf-8"), nil
		}, 200},
		{"a failure", "demo.echo", func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
			failed := failure(execution.CodeActionFailed, "action", "run", "the action ended with exit code 1")
			failed.Started, failed.Log = true, "oops"
			return ended(r, failed)
		}, 502},
		{"a timeout", "demo.echo", func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
			failed := failure(execution.CodeTimedOut, "action", "run", "the action took longer")
			failed.Started, failed.Retryable = true, true
			return ended(r, failed)
		}, 504},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w, _ := withKeys(t)
			runs := w.counting(test.behave)
			first, body := w.do(t, "POST", "/invoke/"+test.action, `{"name":"Ada"}`, "Idempotency-Key", "k 1")
			if first.StatusCode != test.status || first.Header.Get("Idempotency-Replayed") != "" {
				t.Fatalf("the first = %d %s, replayed %q", first.StatusCode, body, first.Header.Get("Idempotency-Replayed"))
			}
			again, repeated := w.do(t, "POST", "/invoke/"+test.action, `{"name":"Ada"}`, "Idempotency-Key", "k 1")
			if again.StatusCode != test.status || repeated != body || again.Header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("the second = %d %q, replayed %q, want %d %q", again.StatusCode, repeated, again.Header.Get("Idempotency-Replayed"), test.status, body)
			}
			for _, name := range []string{"Content-Type", "Attune-Execution-Id", "Server-Timing"} {
				got, want := again.Header.Get(name), first.Header.Get(name)
				if name == "Server-Timing" { // to find out who calls takes its own time
					_, got, _ = strings.Cut(got, ", ")
					_, want, _ = strings.Cut(want, ", ")
				}
				if got != want || want == "" {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if again.Header.Get("Attune-Request-Id") == first.Header.Get("Attune-Request-Id") {
				t.Error("both requests have one ID")
			}
			if n := runs.Load(); n != 1 {
				t.Errorf("it ran %d times", n)
			}
		})
	}
}

func TestReplayAsEvents(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		if strings.Contains(string(r.Body), "fail") {
			failed := failure(execution.CodeActionFailed, "action", "run", "the action ended with exit code 1")
			failed.Started = true
			return ended(r, failed)
		}
		return succeeded(r, []byte(`{"a":1}`), "application/json"), nil
	})
	for _, test := range []struct{ body, event string }{{`{"name":"ok"}`, "result"}, {`{"name":"fail"}`, "problem"}} {
		last := func() string {
			response, body := w.do(t, "POST", "/invoke/demo.echo", test.body, "Idempotency-Key", test.event, "Accept", "application/x-ndjson")
			lines := strings.Split(strings.TrimSpace(body), "\n")
			if response.StatusCode != http.StatusOK || !strings.HasPrefix(lines[len(lines)-1], `{"event":"`+test.event+`"`) {
				t.Errorf("%s = %d %s", test.body, response.StatusCode, body)
			}
			return lines[len(lines)-1]
		}
		first, again := last(), last()
		if first != again {
			t.Errorf("the last event differs:\n%s\n%s", first, again)
		}
		response, _ := w.do(t, "POST", "/invoke/demo.echo", test.body, "Idempotency-Key", test.event)
		if response.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("without events = %d, want the answer of the call with events", response.StatusCode)
		}
	}
}

func TestReplayOfAStreamedBody(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		return succeeded(r, []byte("said\n"), "text/plain; charset=utf-8"), nil
	})
	for i := range 2 {
		response, body := w.do(t, "POST", "/invoke/demo.say?stream=1", "{}", "Idempotency-Key", "k")
		if response.StatusCode != 200 || body != "said\n" || (response.Header.Get("Idempotency-Replayed") == "true") != (i == 1) {
			t.Errorf("call %d = %d %q, replayed %q", i, response.StatusCode, body, response.Header.Get("Idempotency-Replayed"))
		}
	}
	if runs.Load() != 1 {
		t.Errorf("it ran %d times", runs.Load())
	}
}

func TestKeyOfAnotherCall(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	w.do(t, "POST", "/invoke/demo.echo", `{"name":"Ada"}`, "Idempotency-Key", "k")
	a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Idempotency-Key: k\r\nContent-Length: 20\r\n\r\n{\"name\":\""+canary+"\"}")
	a.refused(t, 422, "idempotency-key-reuse", true)
	if response, body := w.do(t, "POST", "/invoke/demo.say", `{"name":"Ada"}`, "Idempotency-Key", "k"); response.StatusCode != 200 || response.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("the key at another action = %d %s, want it to run", response.StatusCode, body)
	}
}

func TestOneExecutionOfManyCalls(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	release := make(chan struct{})
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		<-release
		return succeeded(r, []byte(`{"by":"`+r.ID+`"}`), "application/json"), nil
	})
	statuses := make(chan int, 100)
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+w.Addr().String()+"/invoke/demo.echo", strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
				return
			}
			request.Header.Set("Idempotency-Key", "k")
			response, err := w.client.Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			defer response.Body.Close()
			if response.StatusCode == http.StatusConflict && response.Header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After = %q", response.Header.Get("Retry-After"))
			}
			statuses <- response.StatusCode
		})
	}
	for range 99 {
		if status := <-statuses; status != http.StatusConflict {
			t.Errorf("a call beside the first = %d, want 409", status)
		}
	}
	close(release)
	if status := <-statuses; status != http.StatusOK {
		t.Errorf("the first = %d", status)
	}
	group.Wait()
	if runs.Load() != 1 {
		t.Errorf("it ran %d times", runs.Load())
	}
}

func TestWithoutTheStoreNothingRuns(t *testing.T) {
	t.Parallel()
	w, memory := withKeys(t)
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		return succeeded(r, []byte("{}"), "application/json"), nil
	})
	memory.Fail(errors.New("the disk " + canary))
	a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Idempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}")
	a.refused(t, 503, "state-unavailable", true)
	if a.header.Get("Retry-After") == "" || runs.Load() != 0 {
		t.Errorf("Retry-After %q, %d runs", a.header.Get("Retry-After"), runs.Load())
	}
	memory.Fail(nil)
	if response, _ := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k"); response.StatusCode != 200 {
		t.Errorf("afterwards = %d", response.StatusCode)
	}
}

// An answer that can't be kept goes out, and its call does not run again.
func TestAnswerThatCanNotBeKept(t *testing.T) {
	t.Parallel()
	w, memory := withKeys(t)
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		memory.Fail(errors.New("away"))
		return succeeded(r, []byte("{}"), "application/json"), nil
	})
	response, _ := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k")
	memory.Fail(nil)
	again, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k")
	if response.StatusCode != 200 || again.StatusCode != 409 || runs.Load() != 1 {
		t.Errorf("first %d, then %d %s, %d runs", response.StatusCode, again.StatusCode, body, runs.Load())
	}
}

// What did not get to its program leaves the key free.
func TestKeyIsFreeWhenNothingRan(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	calls := 0
	w.invoker.do(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		calls++
		switch calls {
		case 1:
			return nil, failure(execution.CodeInvalidParameters, "request", "validate", "no")
		case 2:
			overloaded := failure(execution.CodeOverloaded, "gateway", "queue", "full")
			overloaded.Retryable, overloaded.RetryAfter = true, time.Second
			return ended(r, overloaded)
		case 3:
			return ended(r, failure(execution.CodeEnvironmentFailed, "environment", "environment", "no"))
		}
		return succeeded(r, []byte("{}"), "application/json"), nil
	})
	for i, want := range []int{422, 503, 503, 200, 200} {
		response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k")
		if response.StatusCode != want || (response.Header.Get("Idempotency-Replayed") != "") != (i == 4) {
			t.Errorf("call %d = %d %s, want %d", i, response.StatusCode, body, want)
		}
	}
	// Other parameters are no reuse of a key under which nothing ran.
	calls = 0
	w.do(t, "POST", "/invoke/demo.echo", `{"name":1}`, "Idempotency-Key", "l")
	calls = 3
	if response, body := w.do(t, "POST", "/invoke/demo.echo", `{"name":"a"}`, "Idempotency-Key", "l"); response.StatusCode != 200 {
		t.Errorf("corrected parameters = %d %s", response.StatusCode, body)
	}
}

func TestDeadGatewaysCallIsNotRunAgain(t *testing.T) {
	t.Parallel()
	w, memory := withKeys(t)
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		return succeeded(r, []byte("{}"), "application/json"), nil
	})
	dead := w.Options.Idempotency.Claim("", "demo.echo", "k", []byte("{}"), knownExecution)
	dead.Lease = 0
	if held, err := memory.Claim(t.Context(), dead); held != nil || err != nil {
		t.Fatalf("Claim() = %v, %v", held, err)
	}
	a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Idempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}")
	a.refused(t, 409, "outcome-unknown", true)
	if a.problem.Execution != knownExecution || !a.problem.Started || a.problem.Retryable || runs.Load() != 0 {
		t.Errorf("problem = %+v after %d runs", a.problem, runs.Load())
	}
}

func TestLargeAnswersAreNotKept(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		return succeeded(r, []byte(`"`+strings.Repeat("a", 2<<10)+`"`), "application/json"), nil
	})
	w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k")
	response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k")
	if response.StatusCode != 409 || !strings.Contains(body, "/problems/answer-not-kept") || runs.Load() != 1 {
		t.Errorf("the second = %d %s after %d runs", response.StatusCode, body, runs.Load())
	}
}

func TestIdempotencyKeyGrammar(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	for _, header := range []string{
		"Idempotency-Key:", "Idempotency-Key:  ", "Idempotency-Key: " + strings.Repeat("a", 256), "Idempotency-Key: \xff" + canary,
		"Idempotency-Key: a\tb", "Idempotency-Key: a\r\nIdempotency-Key: b", "idempotency-key: a\r\nIDEMPOTENCY-KEY: a", "Idempotency-Key: \x7f",
	} {
		a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+header+"\r\nContent-Length: 2\r\n\r\n{}")
		t.Run(header, func(t *testing.T) {
			if a.status != 400 || a.problem.Type != "/problems/invalid-header" && a.problem.Type != "/problems/invalid-request" {
				t.Errorf("= %d %s, want 400 invalid-header", a.status, a.problem.Type)
			}
		})
	}
	if n := len(w.invoker.requests()); n != 0 {
		t.Errorf("%d refused calls ran", n)
	}
	for i, key := range []string{strings.Repeat("a", 255), `"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "~ !"} {
		if a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Idempotency-Key: "+key+"\r\nContent-Length: 2\r\n\r\n{}"); a.status != 200 {
			t.Errorf("key %d = %d %s", i, a.status, a.body)
		}
	}
	w.works(t)
}

// A client that leaves comes back for the answer: under a key, the call goes on.
func TestCallWithAKeyOutlivesItsClient(t *testing.T) {
	t.Parallel()
	for _, accept := range []string{"application/json", "text/event-stream"} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			w, _ := withKeys(t)
			running, release := make(chan struct{}), make(chan struct{})
			runs := w.counting(func(ctx context.Context, r execution.Request) (*execution.Outcome, error) {
				close(running)
				select {
				case <-release:
				case <-ctx.Done():
					t.Error("the call was cancelled")
				}
				return succeeded(r, []byte(`{"a":1}`), "application/json"), nil
			})
			c, err := net.Dial("tcp", w.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /invoke/demo.echo HTTP/1.1\r\n%sAccept: %s\r\nIdempotency-Key: k\r\nContent-Length: 2\r\n\r\n{}", host, accept)
			<-running
			if accept == "text/event-stream" {
				if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
					t.Errorf("no stream: %v", err)
				}
			}
			c.Close()
			<-time.After(2 * disconnectPoll) // it would be noticed by now
			close(release)
			for {
				response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k")
				if response.StatusCode == http.StatusConflict {
					continue // still being kept
				}
				if response.StatusCode != 200 || body != `{"a":1}` || response.Header.Get("Idempotency-Replayed") != "true" || runs.Load() != 1 {
					t.Errorf("= %d %s after %d runs", response.StatusCode, body, runs.Load())
				}
				return
			}
		})
	}
}

func TestKeysOfAGatewayWithoutAStore(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Idempotency-Key: "+canary+"\r\nContent-Length: 2\r\n\r\n{}")
	a.refused(t, 400, "invalid-header", true)
}

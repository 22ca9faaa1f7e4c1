package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/envcache"
	"attune/gateway/execution"
)

const snakeEnv = "/api/v1/environments/snake/python"

// building is a call that waits for its environment, and tells of it.
func building(after func(execution.Request) (*execution.Outcome, error)) func(context.Context, execution.Request) (*execution.Outcome, error) {
	return func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		accept(r)
		r.Progress(envcache.Event{Pack: "snake", Runtime: "python", Digest: firstDigest, Phase: envcache.PhaseInstall, Elapsed: time.Second})
		r.Progress(envcache.Event{Pack: "snake", Runtime: "python", Digest: firstDigest, Phase: envcache.PhaseInstall, Line: "Collecting <idna>"})
		r.Progress(envcache.Event{Pack: "snake", Runtime: "python", Digest: firstDigest, Phase: envcache.PhasePublished, Elapsed: 2 * time.Second})
		return after(r)
	}
}

func TestInvokeTellsOfTheBuild(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct{ output, media, result string }{
		{`{"html":"<b>&</b>","n":1.0}`, "application/json", `"result":{"html":"<b>&</b>","n":1.0}`},
		{"null", "application/json", `"result":null`},
		{"two\nlines", "text/plain; charset=utf-8", `"result":"two\nlines"`},
		{"{\"a\":1}\n", "application/x-ndjson", `"result":"{\"a\":1}\n"`},
		{"\xff", "text/plain; charset=utf-8", `"result":"/w==","encoding":"base64"`},
	} {
		w.invoker.do(building(func(r execution.Request) (*execution.Outcome, error) {
			return succeeded(r, []byte(test.output), test.media), nil
		}))
		s := w.open(t, "POST", "/invoke/snake.run", "{}", "Accept", "text/event-stream")
		id := s.response.Header.Get("Attune-Execution-Id")
		if seen := w.invoker.requests(); s.response.StatusCode != 200 || id == "" || seen[len(seen)-1].ID != id {
			t.Errorf("answer = %d %v, want 200 and the execution's ID", s.response.StatusCode, s.response.Header)
		}
		want := []received{
			{"1", "environment", `{"pack":"snake","runtime":"python","digest":"` + firstDigest + `","phase":"install","elapsed_ms":1000}`},
			{"2", "environment", `{"pack":"snake","runtime":"python","digest":"` + firstDigest + `","phase":"install","line":"Collecting <idna>","elapsed_ms":0}`},
			{"3", "environment", `{"pack":"snake","runtime":"python","digest":"` + firstDigest + `","phase":"published","elapsed_ms":2000}`},
			{"4", "result", `{"id":"` + id + `","status":"succeeded","media_type":"` + test.media + `",` + test.result +
				`,"timing":{"validate_ms":0.125,"queue_ms":0.25,"environment_ms":1.5,"start_ms":0,"run_ms":2}}`},
		}
		got := []received{s.next(t), s.next(t), s.next(t), s.next(t)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		s.ended(t)
	}
}

func TestInvokeAsLines(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	s := w.open(t, "POST", "/invoke/demo.echo", `{"name":"Ada"}`, "Accept", "application/x-ndjson")
	var got struct {
		Event, ID string
		Result    map[string]string
	}
	if err := json.Unmarshal([]byte(s.next(t).Data), &got); err != nil || got.Event != "result" || got.ID == "" || got.Result["name"] != "Ada" {
		t.Errorf("line = %+v, %v", got, err)
	}
	s.ended(t)
	// An action whose own result are such lines answers with them.
	if response, body := w.do(t, "POST", "/invoke/demo.rows", "", "Accept", "application/x-ndjson"); response.StatusCode != 200 || strings.Contains(body, "event") {
		t.Errorf("POST /invoke/demo.rows = %d %s, want its result", response.StatusCode, body)
	}
}

func TestInvokeStreamsOnlyOnRequest(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for accept, want := range map[string]string{
		"*/*":                                      "application/json",
		"application/*":                            "application/json",
		"text/event-stream, application/json":      "application/json",
		"text/event-stream, */*":                   "text/event-stream",
		"text/event-stream, */*;q=0.1":             "text/event-stream",
		"text/event-stream;q=0.1, */*":             "application/json",
		"application/x-ndjson, application/*":      "application/x-ndjson",
		"Text/Event-Stream":                        "text/event-stream",
		"text/event-stream;q=0, application/json":  "application/json",
		"application/json;q=0.5,text/event-stream": "text/event-stream",
	} {
		response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Accept", accept)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != want {
			t.Errorf("Accept: %s = %d %s %s, want %s", accept, response.StatusCode, got, body, want)
		}
	}
}

// Ensure that what is refused looks the same with events as without.
func TestInvokeStreamRefusesAsUsual(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	accept := "Accept: text/event-stream\r\n"
	for _, test := range []struct {
		request string
		status  int
		slug    string
	}{
		{"POST /invoke/demo.echo HTTP/1.1\r\n" + host + accept + "Content-Length: 11\r\n\r\n{\"name\": 5}", 422, "invalid-parameters"},
		{"POST /invoke/demo.echo HTTP/1.1\r\n" + host + accept + "Content-Length: 1\r\n\r\n{", 400, "invalid-json"},
		{"POST /invoke/demo." + canary + " HTTP/1.1\r\n" + host + accept + "\r\n", 404, "not-found"},
		{"POST /invoke/.. HTTP/1.1\r\n" + host + accept + "\r\n", 400, "invalid-ref"},
		{"POST /invoke/demo.echo?timeout=x HTTP/1.1\r\n" + host + accept + "\r\n", 400, "invalid-query"},
		{"POST /invoke/demo.echo HTTP/1.1\r\n" + host + accept + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, "unsupported-media-type"},
		{"POST /invoke/demo.echo HTTP/1.0\r\nConnection: keep-alive\r\n" + accept + "\r\n", 505, "unsupported-protocol"},
		{"POST /invoke/demo.echo HTTP/1.1\r\n" + host + accept + "Origin: https://" + canary + "\r\n\r\n", 403, "forbidden"},
	} {
		a := w.raw(t, test.request)
		a.refused(t, test.status, test.slug, true)
		if a.header.Get("Attune-Execution-Id") != "" {
			t.Errorf("%s has an execution", test.slug)
		}
	}
	w.works(t)
}

func TestInvokeStreamEndsWithTheProblem(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for name, test := range map[string]struct {
		behave func(context.Context, execution.Request) (*execution.Outcome, error)
		want   Problem
	}{
		"environment": {
			building(func(r execution.Request) (*execution.Outcome, error) {
				failed := failure(execution.CodeEnvironmentFailed, "environment", "environment", "the installer failed")
				failed.Retryable, failed.RetryAfter, failed.Log = true, 1200*time.Millisecond, "no such package"
				return &execution.Outcome{Execution: &execution.Execution{ID: r.ID, Status: execution.StatusFailed}}, failed
			}),
			Problem{Type: "/problems/environment-failed", Status: 503, Detail: "the installer failed", Component: "environment", Phase: "environment",
				Retryable: true, Log: "no such package", RetryAfter: 2, Environment: snakeEnv},
		},
		"fault": {
			building(func(execution.Request) (*execution.Outcome, error) { return nil, errors.New("open /etc/" + canary) }),
			Problem{Type: "/problems/internal", Status: 500, Detail: "the gateway's log has the cause, under the ID in instance", Component: "gateway", Phase: "run"},
		},
		"neither": {
			building(func(execution.Request) (*execution.Outcome, error) { return nil, nil }),
			Problem{Type: "/problems/internal", Status: 500, Detail: "the gateway's log has the cause, under the ID in instance", Component: "gateway", Phase: "run"},
		},
	} {
		w.invoker.do(test.behave)
		s := w.open(t, "POST", "/invoke/snake.run", "{}", "Accept", "text/event-stream")
		var last received
		for e := range s.events {
			last = e
		}
		var got Problem
		if err := json.Unmarshal([]byte(last.Data), &got); err != nil || last.Event != "problem" {
			t.Errorf("%s: last event = %+v, %v", name, last, err)
		}
		if got.Instance == "" || got.Instance != s.response.Header.Get("Attune-Request-Id") || got.Execution != s.response.Header.Get("Attune-Execution-Id") || got.Title == "" {
			t.Errorf("%s: problem = %+v, header %v", name, got, s.response.Header)
		}
		got.Instance, got.Execution, got.Title = "", "", ""
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: problem (-want +got):\n%s", name, diff)
		}
	}
	w.invoker.do(nil)
	w.works(t)
}

// A call that was accepted and failed in the same moment has events all the same.
func TestAcceptedBeforeItWasDone(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	close(closed)
	for range 100 {
		if f := (&followed{accepted: closed, done: closed}); !f.begun() {
			t.Fatal("begun() = false for an accepted call")
		}
	}
	if f := (&followed{accepted: make(chan struct{}), done: closed}); f.begun() {
		t.Error("begun() = true for a call that was refused")
	}
}

func TestPanicInAStreamIsAProblem(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.invoker.do(building(func(execution.Request) (*execution.Outcome, error) { panic(canary) }))
	s := w.open(t, "POST", "/invoke/snake.run", "{}", "Accept", "text/event-stream")
	var last received
	for e := range s.events {
		last = e
	}
	if last.Event != "problem" || !strings.Contains(last.Data, "/problems/internal") || strings.Contains(last.Data, canary) {
		t.Errorf("last event = %+v, want an internal problem", last)
	}
	if log := w.log.String(); !strings.Contains(log, canary) || !strings.Contains(log, "invoke_stream_test.go") {
		t.Errorf("log = %s, want the panic and its stack", log)
	}
	w.invoker.do(nil)
	w.works(t)
	waitFor(t, func() bool { return w.gate.running() == 0 })
}

func TestClientThatLeavesCancelsItsStream(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	started := make(chan context.Context, 1)
	w.invoker.do(func(ctx context.Context, r execution.Request) (*execution.Outcome, error) {
		accept(r)
		started <- ctx
		<-ctx.Done()
		return nil, failure(execution.CodeCancelled, "gateway", "run", "the call was cancelled")
	})
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Accept: text/event-stream\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// The headers come at once, with nothing to tell yet.
	if err := c.SetReadDeadline(time.Now().Add(heartbeat / 2)); err != nil {
		t.Fatal(err)
	}
	if response, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || response.StatusCode != 200 {
		t.Fatalf("answer = %v, %v", response, err)
	}
	call := <-started
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-call.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the call runs on without its client")
	}
	if cause := context.Cause(call); !errors.Is(cause, errClientLeft) {
		t.Errorf("cause = %v, want errClientLeft", cause)
	}
	waitFor(t, func() bool { return w.gate.running() == 0 })
}

// Ensure a stopping gateway waits for a streamed call as for any other, and
// tells it why it is cut off.
func TestShutdownCutsOffAStream(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.invoker.do(func(ctx context.Context, r execution.Request) (*execution.Outcome, error) {
		accept(r)
		<-ctx.Done()
		return nil, failure(execution.CodeCancelled, "gateway", "run", "the call was cancelled")
	})
	s := w.open(t, "POST", "/invoke/demo.echo", "", "Accept", "text/event-stream")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown(50ms) error = %v, want one that says calls were cut off", err)
	}
	if got := s.next(t); got.Event != "problem" || !strings.Contains(got.Data, "/problems/draining") {
		t.Errorf("event = %+v, want the problem draining", got)
	}
	s.ended(t)
}

// Ensure a client that reads slowly loses lines, and neither phases nor the
// result, and that nobody waits for it.
func TestSlowReaderLosesLinesOnly(t *testing.T) {
	t.Parallel()
	f := &followed{events: make(chan envcache.Event, followedEvents)}
	for i := range 3 * followedEvents {
		f.progress(envcache.Event{Phase: envcache.PhaseInstall, Line: fmt.Sprint(i)})
	}
	f.progress(envcache.Event{Phase: envcache.PhasePublished})
	var last envcache.Event
	for range followedEvents {
		last = <-f.events
	}
	if last.Phase != envcache.PhasePublished || len(f.events) != 0 {
		t.Errorf("last of %d events = %+v, want the end of the build", followedEvents, last)
	}
}

// Ensure plain callers are told where to look.
func TestEnvironmentProblemsLinkToItsState(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for action, want := range map[string]string{"snake.run": snakeEnv, "demo.echo": ""} { // a shell's has none
		for code, about := range map[string]bool{
			execution.CodeEnvironmentBuild: true, execution.CodeEnvironmentFailed: true, execution.CodeEnvironmentStorage: true,
			execution.CodeOverloaded: false,
		} {
			w.invoker.do(func(context.Context, execution.Request) (*execution.Outcome, error) {
				return nil, failure(code, "environment", "environment", "it is so")
			})
			a := w.raw(t, "POST /invoke/"+action+" HTTP/1.1\r\n"+host+"\r\n")
			link, member := a.header.Get("Link"), a.problem.Environment
			if about && want != "" && (link != "<"+want+`>; rel="status"` || member != want) {
				t.Errorf("%s of %s: Link = %q, environment = %q", code, action, link, member)
			}
			if (!about || want == "") && link+member != "" {
				t.Errorf("%s of %s: Link = %q, environment = %q, want none", code, action, link, member)
			}
		}
	}
}

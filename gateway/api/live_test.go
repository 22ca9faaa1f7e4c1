package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/execution"
)

const liveLogs = "/api/v1/executions/" + liveExecution + "/logs/"

func put(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

// printing is an action that runs the steps as its program.
func printing(w *world, steps func(r *execution.Running) error, output string) func(context.Context, execution.Request) (*execution.Outcome, error) {
	return performing(w, func(*execution.Running) io.Writer { return nil }, func(r *execution.Running, _ io.Writer) error { return steps(r) }, output)
}

// handling is an action that runs the steps as its handler, which gives items.
func handling(w *world, steps func(r *execution.Running, items io.Writer) error, output string) func(context.Context, execution.Request) (*execution.Outcome, error) {
	return performing(w, (*execution.Running).Handle, steps, output)
}

func performing(w *world, begin func(*execution.Running) io.Writer, steps func(*execution.Running, io.Writer) error, output string) func(context.Context, execution.Request) (*execution.Outcome, error) {
	return func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		running, _, end := w.store.run(r.ID)
		items := begin(running)
		accept(r)
		running.Start()
		err := steps(running, items)
		end(execution.StatusSucceeded)
		if err != nil {
			return &execution.Outcome{Execution: running.Summary()}, err
		}
		return succeeded(r, []byte(output), "text/plain; charset=utf-8"), nil
	}
}

// Ensure each step is seen before the next is taken.
func TestInvokeTellsWhatIsPrinted(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for action, want := range map[string][]string{
		"demo.say":  {`stdout {"text":"{\"n\": 1}\nhalf"}`, `stderr {"text":"why\n"}`, `stdout {"text":" \uFFFD é\n"}`, `dropped {"stream":"stderr","bytes":6}`},
		"demo.rows": {`item {"item":{"n":1}}`, `stderr {"text":"why\n"}`, `stdout {"text":"half \uFFFD é\n"}`, `dropped {"stream":"stderr","bytes":6}`},
	} {
		seen := make(chan struct{})
		w.invoker.do(printing(w, func(r *execution.Running) error {
			put(t, r.Stdout(), "{\"n\": 1}\nhalf")
			<-seen
			put(t, r.Stderr(), "why\n")
			<-seen
			put(t, r.Stdout(), " \xff é\n")
			<-seen
			put(t, r.Stderr(), strings.Repeat("x", 1<<10)+"é") // with "why" 6 bytes more than the log may have
			return nil
		}, "all"))
		s := w.open(t, "POST", "/invoke/"+action, "{}", "Accept", "text/event-stream")
		if got := s.next(t); got.Event != "started" || !strings.Contains(got.Data, `"id":"`+s.response.Header.Get("Attune-Execution-Id")) {
			t.Errorf("first event = %+v", got)
		}
		for i, line := range want {
			line = strings.ReplaceAll(line, `\uFFFD`, "\uFFFD")
			got := s.next(t)
			if i == 3 {
				if text := strings.Repeat("x", 1020); got.Event != "stderr" || got.Data != `{"text":"`+text+`"}` {
					t.Errorf("%s: event = %.80v, want as much as a log has room for", action, got)
				}
				got = s.next(t)
			}
			if diff := cmp.Diff(line, got.Event+" "+got.Data); diff != "" {
				t.Errorf("%s: event %d (-want +got):\n%s", action, i, diff)
			}
			if i < 3 {
				seen <- struct{}{}
			}
		}
		if got := s.next(t); got.Event != "result" {
			t.Errorf("%s: last event = %+v", action, got)
		}
		s.ended(t)
	}
}

// Ensure what a handler prints is never taken for the values that it gives.
func TestHandlersItemsAreNotWhatItPrints(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.invoker.do(handling(w, func(r *execution.Running, items io.Writer) error {
		put(t, items, "{\"n\":1}\n")
		put(t, r.Stdout(), "{\"chat\":1}\n")
		put(t, items, "2\n")
		return nil
	}, "{\"n\":1}\n2\n"))
	s := w.open(t, "POST", "/invoke/demo.rows", "{}", "Accept", "text/event-stream")
	var got []string
	for range 5 {
		e := s.next(t)
		got = append(got, e.Event+" "+e.Data)
	}
	s.ended(t)
	slices.Sort(got[1:4]) // streams keep no order between them
	want := []string{`item {"item":2}`, `item {"item":{"n":1}}`, `stdout {"text":"{\"chat\":1}\n"}`}
	if diff := cmp.Diff(want, got[1:4]); diff != "" {
		t.Errorf("events between started and result (-want +got):\n%s", diff)
	}
	if response, body := w.do(t, "POST", "/invoke/demo.rows?stream=1", "{}"); response.StatusCode != 200 || body != "{\"n\":1}\n2\n" {
		t.Errorf("streamed body = %d %q, want the items", response.StatusCode, body)
	}
	w.invoker.do(handling(w, func(r *execution.Running, _ io.Writer) error {
		put(t, r.Stdout(), "chat")
		return nil
	}, "the result"))
	if response, body := w.do(t, "POST", "/invoke/demo.say?stream=1", "{}"); response.StatusCode != 200 || body != "the result" {
		t.Errorf("streamed body of a text handler = %d %q, want its result", response.StatusCode, body)
	}
}

// Ensure a client that reads nothing holds up neither its action nor others, and
// gets everything when it reads after all.
func TestSlowClientHoldsUpNothing(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	ended := make(chan struct{})
	const size = 1 << 20 // all that is kept
	w.invoker.do(printing(w, func(r *execution.Running) error {
		defer close(ended)
		for range 64 {
			put(t, r.Stdout(), strings.Repeat("\x01", size/64)) // six bytes of JSON each
		}
		return nil
	}, "all"))
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	put(t, c, "POST /invoke/demo.say HTTP/1.1\r\n"+host+"Accept: application/x-ndjson\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the action waits for its client")
	}
	w.invoker.do(nil)
	w.works(t)
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if n := strings.Count(string(body), `\u0001`); err != nil || n != size || !strings.Contains(string(body), `"event":"result"`) {
		t.Errorf("the slow client got %d of %d bytes, %v", n, size, err)
	}
}

func TestFollowLog(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	running, _, end := w.store.run(liveExecution)
	running.Start()
	put(t, running.Stdout(), "one\n")
	if response, body := w.do(t, "GET", liveLogs+"stdout", ""); response.StatusCode != 200 || body != "one\n" {
		t.Errorf("log so far = %d %q", response.StatusCode, body)
	}
	if _, body := w.do(t, "GET", "/api/v1/executions/"+liveExecution, ""); !strings.Contains(body, `"status":"running"`) || !strings.Contains(body, `"stdout":"one\n"`) {
		t.Errorf("execution so far = %s", body)
	}
	follow := func(accept string) *bufio.Reader {
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+w.Addr().String()+liveLogs+"stdout?follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", accept)
		response, err := w.client.Do(request)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("GET %s = %v, %v", liveLogs, response, err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return bufio.NewReader(response.Body)
	}
	readers := map[string]*bufio.Reader{"a": follow("*/*"), "b": follow("text/plain"), "events": follow("application/x-ndjson")}
	expect := func(plain, event string) {
		t.Helper()
		for name, r := range readers {
			want := plain
			if name == "events" {
				want = event
			}
			if got, err := r.ReadString('\n'); got != want || err != nil && want != "" {
				t.Errorf("%s: next line = %q, %v, want %q", name, got, err, want)
			}
		}
	}
	expect("one\n", `{"event":"stdout","text":"one\n"}`+"\n")
	put(t, running.Stdout(), "two\n")
	expect("two\n", `{"event":"stdout","text":"two\n"}`+"\n")
	readers["late"] = follow("*/*")
	if got, err := readers["late"].ReadString('\n'); got != "one\n" || err != nil {
		t.Errorf("a late follower begins with %q, %v", got, err)
	}
	delete(readers, "late")
	end(execution.StatusFailed)
	expect("", `{"event":"ended","id":"`+liveExecution+`","status":"failed"}`+"\n")
	for name, r := range readers {
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil { // nil: the last chunk was there
			t.Errorf("%s: rest = %q, %v", name, rest, err)
		}
	}
	s := w.open(t, "GET", liveLogs+"stdout?follow=1", "", "Accept", "text/event-stream") // after its end
	if got := s.next(t); got != (received{"1", "stdout", `{"text":"one\ntwo\n"}`}) {
		t.Errorf("stored log = %+v", got)
	}
	if got := s.next(t); got.Event != "ended" {
		t.Errorf("last event = %+v", got)
	}
	s.ended(t)
	waitFor(t, func() bool { return w.gate.running() == 0 })
}

// Ensure a follower that reads nothing, or leaves, costs nobody anything.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	running, _, end := w.store.run(liveExecution)
	for range 20 {
		c, err := net.Dial("tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		put(t, c, "GET "+liveLogs+"stderr?follow=true HTTP/1.1\r\n"+host+"\r\n")
		defer c.Close()
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil { // the status: it follows
			t.Fatal(err)
		}
	}
	for range 1000 {
		put(t, running.Stderr(), strings.Repeat("x", 100))
	}
	w.works(t)
	end(execution.StatusSucceeded)
	waitFor(t, func() bool { return w.gate.running() == 0 })
}

func TestCancelExecution(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	_, cancelled, end := w.store.run(liveExecution)
	go func() {
		<-cancelled
		end(execution.StatusCancelled)
	}()
	for range 2 { // the second finds it cancelled, which is as good
		response, body := w.do(t, "POST", "/api/v1/executions/"+liveExecution+"/cancel", "")
		if response.StatusCode != 200 || !strings.Contains(body, `"status":"cancelled"`) {
			t.Errorf("cancel = %d %s", response.StatusCode, body)
		}
	}
	for _, test := range []struct {
		id, more string
		status   int
		slug     string
	}{
		{unknownExecution, "", 404, "not-found"},
		{knownExecution, "", 409, "execution-ended"},
		{elsewhereExecution, "", 409, "execution-elsewhere"},
		{liveExecution, "Origin: https://" + canary + "\r\n", 403, "forbidden"},
		{liveExecution, "Content-Type: text/plain\r\nContent-Length: 2\r\n", 415, "unsupported-media-type"},
	} {
		body := ""
		if strings.Contains(test.more, "Length") {
			body = "{}"
		}
		a := w.raw(t, "POST /api/v1/executions/"+test.id+"/cancel HTTP/1.1\r\n"+host+test.more+"\r\n"+body)
		a.refused(t, test.status, test.slug, true)
		if test.slug == "execution-elsewhere" && !strings.Contains(a.problem.Detail, "gw-2") {
			t.Errorf("detail = %q, want the gateway's ID", a.problem.Detail)
		}
	}
	a := w.raw(t, "GET /api/v1/executions/"+elsewhereExecution+"/logs/stdout?follow=true HTTP/1.1\r\n"+host+"\r\n")
	a.refused(t, 409, "execution-elsewhere", true)
	a = w.raw(t, "GET "+liveLogs+"stdout?follow="+canary+" HTTP/1.1\r\n"+host+"\r\n")
	a.refused(t, 400, "invalid-query", true)
	w.works(t)
}

// Ensure that a body that is streamed has an honest status: a problem as long as
// nothing was sent, and a broken body afterwards.
func TestStreamedBody(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	failed := failure(execution.CodeActionFailed, "action", "run", "the action ended with exit code 3")
	for _, action := range []string{"demo.say", "demo.rows"} {
		for name, test := range map[string]struct {
			print  string
			err    error
			status int
			body   string
			broken bool
		}{
			"succeeds":            {"{}\n\xff", nil, 200, "{}\n\xff", false},
			"prints nothing":      {"", nil, 200, "", false},
			"fails at once":       {"", failed, 502, "", false},
			"fails in the middle": {"{}\n", failed, 200, "{}\n", true},
		} {
			seen := make(chan struct{})
			w.invoker.do(printing(w, func(r *execution.Running) error {
				put(t, r.Stdout(), test.print)
				if test.print != "" {
					<-seen
				}
				if test.err != nil {
					return test.err
				}
				return nil
			}, test.print))
			request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+w.Addr().String()+"/invoke/"+action+"?stream=1", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := w.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if test.print != "" { // the header is there while the action runs
				seen <- struct{}{}
			}
			body, err := io.ReadAll(response.Body)
			if response.StatusCode != test.status || test.status == 200 && string(body) != test.body || errors.Is(err, io.ErrUnexpectedEOF) != test.broken {
				t.Errorf("%s %s = %d %q, %v", action, name, response.StatusCode, body, err)
			}
			response.Body.Close()
		}
	}
	w.invoker.do(nil)
	a := w.raw(t, fmt.Sprintf("POST /invoke/demo.echo?stream=1 HTTP/1.1\r\n%s\r\n", host))
	a.refused(t, 400, "invalid-query", true)
	waitFor(t, func() bool { return w.gate.running() == 0 })
}

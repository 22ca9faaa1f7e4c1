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
)

// received is one event as a client reads it.
type received struct {
	ID, Event, Data string
}

// stream is an open answer of events.
type stream struct {
	response *http.Response
	events   chan received // closed at the end of the answer
	cancel   context.CancelFunc
}

// open opens a stream of events. It ends with the test.
func (w *world) open(t *testing.T, method, target, body string, header ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, "http://"+w.Addr().String()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{response: response, events: make(chan received, 64), cancel: cancel}
	go s.read()
	return s
}

// read parses events strictly: id, event and data, in this order.
func (s *stream) read() {
	defer close(s.events)
	defer s.response.Body.Close()
	lines := bufio.NewReader(s.response.Body)
	var e received
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch {
		case s.response.Header.Get("Content-Type") == "application/x-ndjson":
			s.events <- received{Data: line}
		case line == "":
			s.events <- e
			e = received{}
		case name == "id":
			e.ID = value
		case name == "event":
			e.Event = value
		case name == "data":
			e.Data = value
		default:
			e = received{Event: "unexpected", Data: line}
		}
	}
}

// next waits for the next event.
func (s *stream) next(t *testing.T) received {
	t.Helper()
	select {
	case e, open := <-s.events:
		if !open {
			t.Fatal("the stream has ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event for 10 s")
	}
	return received{}
}

// ended waits for the end of the answer.
func (s *stream) ended(t *testing.T) {
	t.Helper()
	select {
	case e, open := <-s.events:
		if open {
			t.Fatalf("another event: %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the stream does not end")
	}
}

const eventsPath = demoEnv + "/events"

func TestEnvironmentEvents(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	s := w.open(t, "GET", eventsPath, "")
	if got := s.response.Header; s.response.StatusCode != 200 || got.Get("Content-Type") != "text/event-stream" ||
		got.Get("Cache-Control") != "no-store" || got.Get("Attune-Request-Id") == "" {
		t.Errorf("answer = %d %v", s.response.StatusCode, got)
	}
	state := func(id int, state envcache.State) received {
		status := envcache.Status{Pack: "demo", Runtime: "python", State: state, Digest: secondDigest, Serving: secondDigest}
		data, err := json.Marshal(status)
		if err != nil {
			t.Fatal(err)
		}
		return received{fmt.Sprint(id), "state", string(data)}
	}
	steps := []struct {
		event envcache.Event
		want  received
	}{
		{want: state(1, envcache.StateReady)},
		{envcache.Event{Phase: envcache.PhaseInstall, Elapsed: 1500 * time.Microsecond},
			received{"2", "phase", `{"pack":"demo","runtime":"python","digest":"` + secondDigest + `","phase":"install","elapsed_ms":1}`}},
		{envcache.Event{Phase: envcache.PhaseInstall, Line: "<b>\x1b[31m\nid: 7"},
			received{"3", "log", `{"pack":"demo","runtime":"python","digest":"` + secondDigest + `","phase":"install","line":"<b>\u001b[31m\nid: 7","elapsed_ms":0}`}},
	}
	for _, step := range steps {
		if step.event.Phase != "" {
			w.environments.tell(step.event)
		}
		if diff := cmp.Diff(step.want, s.next(t)); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	// The end of a build is followed by the state that it has led to.
	w.environments.becomes(envcache.StateDegraded)
	for i, test := range []struct {
		err    error
		reason string
	}{
		{&envcache.FailedError{Reason: "the installer failed"}, "the installer failed"},
		{fmt.Errorf("look: %w", envcache.ErrStorageFull), noSpace}, // the state is told again, although it is the same
		{envcache.ErrBusy, tooManyBuilds},
		{errors.New("open /var/" + canary), "the gateway's log says why"},
	} {
		w.environments.tell(envcache.Event{Phase: envcache.PhaseFailed, Err: test.err})
		if got := s.next(t); got.Event != "phase" || !strings.HasSuffix(got.Data, `"phase":"failed","elapsed_ms":0,"reason":"`+test.reason+`"}`) {
			t.Errorf("event = %+v, want the phase failed because %s", got, test.reason)
		}
		if diff := cmp.Diff(state(5+2*i, envcache.StateDegraded), s.next(t)); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
}

// Ensure a build that no event tells of, another gateway's, is seen to end.
func TestEnvironmentEventsFollowTheState(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.environments.becomes(envcache.StateQueued)
	s := w.open(t, "GET", eventsPath, "")
	if got := s.next(t); !strings.Contains(got.Data, `"state":"queued"`) {
		t.Fatalf("event = %+v, want the state queued", got)
	}
	w.environments.becomes(envcache.StateReady)
	if got := s.next(t); got.Event != "state" || !strings.Contains(got.Data, `"state":"ready"`) {
		t.Errorf("event = %+v, want the state ready", got)
	}
}

func TestEnvironmentEventsAsLines(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	s := w.open(t, "GET", eventsPath, "", "Accept", "application/x-ndjson")
	var got struct{ Event, Pack, State string }
	if err := json.Unmarshal([]byte(s.next(t).Data), &got); err != nil || got.Event != "state" || got.Pack != "demo" || got.State != "ready" {
		t.Errorf("line = %+v, %v", got, err)
	}
}

func TestEnvironmentEventsAcceptHeader(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for accept, want := range map[string]string{
		"*/*":                               "text/event-stream",
		"text/*":                            "text/event-stream",
		"text/event-stream":                 "text/event-stream",
		"application/*":                     "application/x-ndjson",
		"application/x-ndjson, */*;q=0.5":   "application/x-ndjson",
		"text/event-stream;q=0.1, text/css": "text/event-stream",
		"application/x-ndjson;q=0, */*":     "text/event-stream",
	} {
		response, _ := w.do(t, "HEAD", eventsPath, "", "Accept", accept)
		if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != want {
			t.Errorf("Accept: %s = %d %s, want %s", accept, response.StatusCode, got, want)
		}
	}
	for _, accept := range []string{"text/html", "application/json", canary, "*/*;q=0"} {
		a := w.raw(t, "GET "+eventsPath+" HTTP/1.1\r\n"+host+"Accept: "+accept+"\r\n\r\n")
		t.Run(accept, func(t *testing.T) { a.refused(t, 406, "not-acceptable", true) })
	}
	w.raw(t, "GET "+eventsPath+" HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").refused(t, 505, "unsupported-protocol", true)
	w.works(t)
}

// Ensure nothing is left of a client that has gone, however it went.
func TestClientThatLeavesEndsItsEvents(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for name, leave := range map[string]func(*net.TCPConn) error{
		"close":      func(c *net.TCPConn) error { return c.Close() },
		"half-close": func(c *net.TCPConn) error { return c.CloseWrite() },
	} {
		c, err := net.Dial("tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET "+eventsPath+" HTTP/1.1\r\n"+host+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return w.environments.listeners() == 1 })
		if err := leave(c.(*net.TCPConn)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return w.environments.listeners() == 0 && w.gate.running() == 0 })
		if t.Failed() {
			t.Errorf("%s: the stream runs on", name)
		}
	}
	if got := strings.Count(w.log.String(), `"route":"/api/v1/environments/:pack/:runtime/events","status":200`); got != 2 {
		t.Errorf("%d lines in the access log, want 2:\n%s", got, w.log)
	}
}

// Ensure a gateway that stops does not wait for those who only watch.
func TestDrainEndsEvents(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	s := w.open(t, "GET", eventsPath, "")
	s.next(t)
	start := time.Now()
	if err := w.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown() error = %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("Shutdown() took %v with a watcher", took)
	}
	s.ended(t)
}

// Ensure an environment that is removed ends the events about it.
func TestRemovedEnvironmentEndsItsEvents(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.environments.becomes(envcache.StateQueued) // looked at each second
	s := w.open(t, "GET", eventsPath, "")
	s.next(t)
	w.environments.mu.Lock()
	w.environments.removed = true
	w.environments.mu.Unlock()
	s.ended(t)
	waitFor(t, func() bool { return w.environments.listeners() == 0 })
	w.works(t)
}

// Ensure silence is no error, although
// fasthttp bounds the whole answer by the timeout for writing.
func TestEventsOutliveTheWriteTimeout(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{WriteTimeout: 300 * time.Millisecond})
	s := w.open(t, "GET", eventsPath, "")
	s.next(t)
	waitFor(t, func() bool { return w.environments.listeners() == 1 })
	select {
	case e, open := <-s.events:
		t.Fatalf("event %+v, open %v: want silence", e, open)
	case <-time.After(600 * time.Millisecond):
	}
	w.environments.tell(envcache.Event{Phase: envcache.PhaseQueued})
	if got := s.next(t); got.Event != "phase" {
		t.Errorf("event after a silence = %+v", got)
	}
}

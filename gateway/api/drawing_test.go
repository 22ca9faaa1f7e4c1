package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"attune/gateway/execution"
	"attune/gateway/trace"
	"attune/gateway/trace/tracetest"
)

const (
	someTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	somePlace = "00-" + someTrace + "-00f067aa0ba902b7-01"
)

// TestTraceContextIsPassedOn though nothing is drawn; what isn't valid is none, and
// no reason to refuse a call.
func TestTraceContextIsPassedOn(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct{ header, parent, state string }{
		{"", "", ""},
		{"Traceparent: " + somePlace + "\r\n", somePlace, ""},
		{"traceparent: " + somePlace + "\r\ntracestate: a=1\r\nTracestate: b=2\r\n", somePlace, "a=1,b=2"},
		{"Traceparent: " + somePlace + "\r\nTraceparent: " + somePlace + "\r\n", "", ""},
		{"Traceparent: " + canary + "\r\nTracestate: a=1\r\n", "", ""},
		{"Traceparent: " + somePlace + "\r\nTracestate: " + canary + "\r\n", somePlace, ""},
	} {
		a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+test.header+"\r\n")
		seen := w.invoker.requests()
		if got := seen[len(seen)-1]; a.status != 200 || got.Trace != test.parent || got.TraceState != test.state {
			t.Errorf("with %q: %d, trace %q, state %q; want 200, %q, %q", test.header, a.status, got.Trace, got.TraceState, test.parent, test.state)
		}
	}
	if log := w.log.String(); !strings.Contains(log, `"trace":"`+someTrace+`"`) || strings.Contains(log, canary) {
		t.Errorf("log = %s, want the valid trace alone", log)
	}
}

// TestRequestsAreDrawn: a span for each but the probes', failed where the gateway
// is to blame; the action is called from within it.
func TestRequestsAreDrawn(t *testing.T) {
	receiver := tracetest.New(t)
	tracer, err := trace.New(trace.Options{Endpoint: receiver.URL, Sample: 1, Version: "1.2.3", GatewayID: "gw", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, Limits{}, func(o *Options) { o.Tracer = tracer })
	w.do(t, "GET", "/readyz", "")
	w.do(t, "POST", "/invoke/demo.echo", `{"name":"Ada"}`, "Traceparent", somePlace)
	inside := w.invoker.requests()[0].Trace
	w.invoker.err(execution.CodeTimedOut)
	failed, _ := w.do(t, "POST", "/invoke/demo.echo", "{}")
	w.invoker.do(nil)
	w.do(t, "POST", "/invoke/demo.echo", `{"name":"Ada"}`, "Accept", mediaEvents)
	waitFor(t, func() bool { return w.gate.running() == 0 }) // the stream's span ends with it
	if err := tracer.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var spans []tracetest.Span
	for _, span := range receiver.Spans() {
		if span.Name != "auth" {
			spans = append(spans, span)
		}
	}
	if len(spans) != 3 || len(receiver.Spans()) != 6 {
		t.Fatalf("spans = %+v, want three requests, and of each who calls", receiver.Spans())
	}
	if span := receiver.Of(someTrace)["POST /invoke/:ref"]; inside != "00-"+someTrace+"-"+span.ID+"-01" || span.Failed || span.Attributes["faas.name"] != "demo.echo" {
		t.Errorf("span = %+v, the action is called from %s", span, inside)
	}
	for _, span := range spans {
		if span.Attributes["attune.request"] == failed.Header.Get("Attune-Request-Id") && (!span.Failed || span.Attributes["error.type"] != "timed-out") {
			t.Errorf("span of the failure = %+v", span)
		}
	}
}

// err makes calls fail.
func (f *fakeInvoker) err(code string) {
	f.do(func(context.Context, execution.Request) (*execution.Outcome, error) {
		return nil, failure(code, "action", "run", "it is so")
	})
}

func TestAccessLogSaysWhatWasCalledAndWhatWentWrong(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.invoker.err(execution.CodeTimedOut)
	w.do(t, "POST", "/invoke/demo.echo", "{}")
	for text := range strings.Lines(w.log.String()) {
		var line struct{ Msg, Action, Problem, Trace string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Msg == "request" && (line.Action != "demo.echo" || line.Problem != "timed-out" || line.Trace != "") {
			t.Errorf("line = %s", text)
		}
	}
}

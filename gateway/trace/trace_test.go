package trace_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"attune/gateway/trace"
	"attune/gateway/trace/tracetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	parent  = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		parent:                                   true,
		"00-" + traceID + "-00f067aa0ba902b7-00": true,
		"cc-" + traceID + "-00f067aa0ba902b7-01-what-later-has": true,
		"cc-" + traceID + "-00f067aa0ba902b7-01":                true,
		"":                                                      false, "00": false, traceID: false,
		"00-" + strings.ToUpper(traceID) + "-00f067aa0ba902b7-01": false,
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-" + traceID + "-0000000000000000-01":                  false,
		"ff-" + traceID + "-00f067aa0ba902b7-01":                  false,
		parent + "-more":                                          false, parent + " ": false, " " + parent: false,
		"cc-" + traceID + "-00f067aa0ba902b7-01x":                            false,
		"cc-" + traceID + "-00f067aa0ba902b7-01-\x00":                        false,
		"cc-" + traceID + "-00f067aa0ba902b7-01-a\nB=c":                      false,
		"cc-" + traceID + "-00f067aa0ba902b7-01-" + strings.Repeat("x", 300): false,
		"00_" + traceID + "-00f067aa0ba902b7-01":                             false,
		"00-" + traceID[:31] + "g-00f067aa0ba902b7-01":                       false,
		"00-" + traceID + "-00f067aa0ba902b7-0":                              false,
	} {
		got := trace.Parse(text, "vendor=1,other=2")
		if (got.Parent == text && text != "") != want {
			t.Errorf("Parse(%q) = %+v, want it taken: %v", text, got, want)
		}
		if want && (got.State != "vendor=1,other=2" || len(got.Variables()) != 2 || got.TraceID() != traceID) {
			t.Errorf("Parse(%q) = %+v, want the state, two variables and the trace", text, got)
		}
		if !want && (got != trace.Context{} || got.Variables() != nil || got.TraceID() != "") {
			t.Errorf("Parse(%q) = %+v, want none", text, got)
		}
	}
	for _, state := range []string{"", "no pair", "a=\x00", "a=1\nX=2", strings.Repeat("a=1,", 40)} {
		if got := trace.Parse(parent, state); got.State != "" || got.Parent != parent || len(got.Variables()) != 1 {
			t.Errorf("Parse(…, %q) = %+v, want the parent alone", state, got)
		}
	}
}

// FuzzParse: whatever a caller sends, a program gets nothing with a line break,
// and what is passed on is what was sent.
func FuzzParse(f *testing.F) {
	f.Add(parent, "a=1")
	f.Add("cc-"+traceID+"-00f067aa0ba902b7-01-x", "a=1,b=2")
	f.Fuzz(func(t *testing.T, text, state string) {
		got := trace.Parse(text, state)
		if got.Parent != "" && got.Parent != text {
			t.Errorf("Parse(%q) = %q", text, got.Parent)
		}
		for _, entry := range got.Variables() {
			if strings.ContainsAny(entry, "\x00\r\n") {
				t.Errorf("Parse(%q, %q) gives the variable %q", text, state, entry)
			}
		}
	})
}

// open returns a tracer, and what sends all that it has drawn.
func open(t *testing.T, endpoint string, sample float64) (*trace.Tracer, func()) {
	t.Helper()
	tracer, err := trace.New(trace.Options{
		Endpoint: endpoint, Sample: sample, Version: "1.2.3", GatewayID: "gw", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		if err := tracer.Close(t.Context()); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return tracer, end
}

// TestSpansArriveAsATree: with a caller's trace above them, as a collector sees it.
func TestSpansArriveAsATree(t *testing.T) {
	receiver := tracetest.New(t)
	tracer, end := open(t, receiver.URL, 1)
	defer end()
	arrived := time.Now().Add(-time.Second)
	request := tracer.Request(trace.Parse(parent, "vendor=1"), "POST", "/invoke/:ref", arrived)
	execution := tracer.Execution(request.Context(), "demo.echo", "01X")
	execution.Past("queue", arrived, arrived.Add(time.Millisecond))
	execution.Past("start", arrived, arrived) // there was none
	run := execution.Child("run")
	inside := run.Context()
	run.End()
	execution.SetInt("process.exit.code", 3)
	execution.Fail("action-failed")
	execution.End()
	request.SetInt("http.response.status_code", 502)
	request.End()
	end()

	got := receiver.Of(traceID)
	if len(got) != 4 || len(receiver.Spans()) != 4 {
		t.Fatalf("spans = %+v, want four of one trace", receiver.Spans())
	}
	top, call := got["POST /invoke/:ref"], got["execute demo.echo"]
	for name, above := range map[string]string{"POST /invoke/:ref": "00f067aa0ba902b7", "execute demo.echo": top.ID, "queue": call.ID, "run": call.ID} {
		if got[name].Parent != above {
			t.Errorf("%s is below %s, want %s", name, got[name].Parent, above)
		}
	}
	if top.Kind != "SPAN_KIND_SERVER" || !top.Start.Equal(arrived.Round(0)) && top.Start.Sub(arrived).Abs() > time.Microsecond {
		t.Errorf("request = %+v, want one of a server from %v on", top, arrived)
	}
	if top.Attributes["http.route"] != "/invoke/:ref" || top.Attributes["http.request.method"] != "POST" || top.Attributes["http.response.status_code"] != "502" {
		t.Errorf("attributes of the request = %v", top.Attributes)
	}
	if !call.Failed || call.Attributes["error.type"] != "action-failed" || call.Attributes["faas.name"] != "demo.echo" ||
		call.Attributes["faas.invocation_id"] != "01X" || call.Attributes["process.exit.code"] != "3" {
		t.Errorf("execution = %+v", call)
	}
	if call.Resource["service.name"] != "attune" || call.Resource["service.version"] != "1.2.3" || call.Resource["service.instance.id"] != "gw" {
		t.Errorf("resource = %v", call.Resource)
	}
	if want := "00-" + traceID + "-" + got["run"].ID + "-01"; inside.Parent != want || inside.State != "vendor=1" {
		t.Errorf("place of the program = %+v, want %s within the caller's state", inside, want)
	}
}

// TestSampling: the caller's word counts, and then the operator's.
func TestSampling(t *testing.T) {
	receiver := tracetest.New(t)
	tracer, end := open(t, receiver.URL, 0)
	defer end()
	unasked := tracer.Execution(trace.Context{}, "demo.unasked", "1")
	if got := unasked.Context(); !strings.HasSuffix(got.Parent, "-00") {
		t.Errorf("a trace that isn't drawn = %s, want it marked so", got.Parent)
	}
	unasked.Past("queue", time.Now().Add(-time.Second), time.Now())
	unasked.End()
	asked := tracer.Execution(trace.Parse(parent, ""), "demo.asked", "2")
	asked.End()
	end()
	if spans := receiver.Spans(); len(spans) != 1 || spans[0].Name != "execute demo.asked" {
		t.Errorf("spans = %+v, want the one that its caller draws, too", spans)
	}
}

// TestNobodyDraws: a nil tracer can be used like another, at no cost.
func TestNobodyDraws(t *testing.T) {
	var tracer *trace.Tracer
	draw := func() {
		request := tracer.Request(trace.Context{}, "GET", "/", time.Time{})
		execution := tracer.Execution(request.Context(), "demo.echo", "1")
		execution.Past("queue", time.Time{}, time.Time{}.Add(1))
		execution.Child("run").End()
		execution.Set("a", "b")
		execution.SetInt("a", 1)
		execution.SetFlag("a", true)
		execution.Fail("x")
		execution.End()
		request.End()
	}
	if n := testing.AllocsPerRun(100, draw); n != 0 {
		t.Errorf("drawing nothing makes %v allocations", n)
	}
	if err := tracer.Close(t.Context()); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// TestReceiverAwayFailsNobody: spans are lost, and calls aren't.
func TestReceiverAwayFailsNobody(t *testing.T) {
	tracer, _ := open(t, "http://127.0.0.1:1", 1)
	for range 5000 { // more than are kept
		tracer.Execution(trace.Context{}, "demo.echo", "1").End()
	}
	_ = tracer.Close(t.Context()) // says that they are lost, or has logged it
}

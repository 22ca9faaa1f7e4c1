package execution

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/agent"
)

// hands are instances whose slots reply by themselves.
type hands struct {
	call     func(ctx context.Context, c agent.Call, out agent.Output) (agent.Reply, error)
	exit     agent.Exit
	released []bool
	acquire  func(ctx context.Context) error
}

func (h *hands) Acquire(ctx context.Context, _ *runtimes.Shape) (*runtimes.Slot, time.Duration, error) {
	if h.acquire != nil {
		if err := h.acquire(ctx); err != nil {
			return nil, 0, err
		}
	}
	return runtimes.NewSlot(h), 0, nil
}

func (h *hands) Release(_ *runtimes.Slot, reusable bool, _ time.Duration) {
	h.released = append(h.released, reusable)
}

func (h *hands) Call(ctx context.Context, c agent.Call, out agent.Output) (agent.Reply, error) {
	return h.call(ctx, c, out)
}

func (h *hands) Close(context.Context) (agent.Exit, error) { return h.exit, nil }

// newHands makes a rig with one handler.
func newHands(t testing.TB, yaml string, h *hands) *rig {
	t.Helper()
	return newRig(t, map[string]action{"a.hands": {"isolation: worker\n" + yaml, ""}}, func(o *Options) { o.Instances = h })
}

func TestResultsOfHandlers(t *testing.T) {
	t.Parallel()
	lines := func(out agent.Output) { io.WriteString(out.Items, "{\"a\":1}\n2\n") }
	chatty := func(out agent.Output) {
		io.WriteString(out.Items, "{\"a\":1}\n")
		io.WriteString(out.Stdout, "{\"chat\":1}\n")
		io.WriteString(out.Items, "2\n")
	}
	for name, test := range map[string]struct {
		format         string
		reply          agent.Reply
		print          func(agent.Output)
		output, result string
		log            string
	}{
		"json":            {"json", agent.Reply{Result: []byte(`{"b":1,"a":2}`)}, nil, "{\"b\":1,\"a\":2}\n", `{"b":1,"a":2}`, ""},
		"json, text":      {"json", agent.Reply{Result: []byte("hé"), Text: true}, nil, "\"hé\"\n", `"hé"`, ""},
		"json, prints":    {"json", agent.Reply{Result: []byte("1")}, func(o agent.Output) { o.Stdout.Write([]byte("chat")) }, "1\n", "1", "chat"},
		"text":            {"text", agent.Reply{Result: []byte("as it is"), Text: true}, nil, "as it is", "", ""},
		"text, value":     {"text", agent.Reply{Result: []byte("[1]")}, nil, "[1]", "", ""},
		"yaml":            {"yaml", agent.Reply{Result: []byte(`{"name":[1,"x"]}`)}, nil, "name:\n  - 1\n  - \"x\"\n", `{"name":[1,"x"]}`, ""},
		"yaml, list":      {"yaml", agent.Reply{Result: []byte(`[1,2]`)}, nil, "  - 1\n  - 2\n", `[1,2]`, ""},
		"jsonl":           {"jsonl", agent.Reply{Result: []byte("null")}, lines, "{\"a\":1}\n2\n", `[{"a":1},2]`, ""},
		"jsonl, prints":   {"jsonl", agent.Reply{Result: []byte("null")}, chatty, "{\"a\":1}\n2\n", `[{"a":1},2]`, "{\"chat\":1}\n"},
		"jsonl, a list":   {"jsonl", agent.Reply{Result: []byte("[1,2]")}, nil, "1\n2\n", `[1,2]`, ""},
		"jsonl, an item":  {"jsonl", agent.Reply{Result: []byte("3")}, nil, "3\n", `[3]`, ""},
		"jsonl, no items": {"jsonl", agent.Reply{Result: []byte("null")}, nil, "", `[]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hands{call: func(_ context.Context, c agent.Call, out agent.Output) (agent.Reply, error) {
				if string(c.Parameters) != `{"n":7}` || c.Deadline.IsZero() || !strings.HasSuffix(c.File, "/actions/a.hands") || c.Action != "demo.a" {
					t.Errorf("call %+v", c)
				}
				if test.print != nil {
					test.print(out)
				}
				return test.reply, nil
			}}
			r := newHands(t, "output_format: "+test.format+"\nparameters: {n: {type: integer, default: 7}}\n", h)
			outcome := r.mustCall(t, "a", "")
			if x := outcome.Execution; string(outcome.Output) != test.output || string(x.Result) != test.result || x.Stdout != test.log || x.StartedAt == nil {
				t.Errorf("output %q, result %s, stdout %q", outcome.Output, x.Result, x.Stdout)
			}
			if len(h.released) != 1 || !h.released[0] {
				t.Errorf("released %v", h.released)
			}
		})
	}
}

func TestFailuresOfHandlers(t *testing.T) {
	t.Parallel()
	lost := errors.Join(agent.ErrLost)
	raised := agent.Reply{Failure: &agent.CallFailure{Type: "ValueError", Message: "no", Traceback: "Traceback\n"}, Duration: 1}
	for name, test := range map[string]struct {
		reply  agent.Reply
		err    error
		exit   agent.Exit
		code   string
		reason string
		log    string
	}{
		"raised":        {raised, nil, agent.Exit{}, CodeActionFailed, "ValueError: no", "Traceback\n"},
		"bad schema":    {agent.Reply{Result: []byte(`{"ok":1}`), Duration: 1}, nil, agent.Exit{}, CodeBadOutput, "output_schema", ""},
		"lost":          {agent.Reply{Duration: 1}, lost, agent.Exit{}, CodeInstanceLost, "worker was lost", ""},
		"out of memory": {agent.Reply{Duration: 1}, lost, agent.Exit{OutOfMemory: true}, CodeOutOfMemory, "limits.memory", ""},
		"too large":     {agent.Reply{Duration: 1}, agent.ErrTooLarge, agent.Exit{}, CodeResultTooLarge, "limits.result", ""},
		"deadline":      {agent.Reply{Duration: 1}, context.DeadlineExceeded, agent.Exit{Reusable: true}, CodeTimedOut, "run ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hands{exit: test.exit, call: func(context.Context, agent.Call, agent.Output) (agent.Reply, error) { return test.reply, test.err }}
			r := newHands(t, "output_format: json\noutput_schema: {ok: {type: boolean}}\n", h)
			x, failure := r.mustFail(t, t.Context(), "a", 0)
			if failure.Code != test.code || !strings.Contains(failure.Reason, test.reason) || !failure.Started || failure.Log != test.log {
				t.Errorf("failure %+v, log %q", failure.Failure, failure.Log)
			}
			if x.StartedAt == nil || x.Stderr != test.log || x.ExitCode != nil {
				t.Errorf("execution %+v", x)
			}
		})
	}
}

// A call that the worker never got is made again, once, and a call that is too
// large was never made.
func TestHandlerThatWasNotStarted(t *testing.T) {
	t.Parallel()
	calls := 0
	h := &hands{call: func(context.Context, agent.Call, agent.Output) (agent.Reply, error) {
		if calls++; calls == 1 {
			return agent.Reply{}, agent.ErrNotStarted
		}
		return agent.Reply{}, agent.ErrTooLarge
	}}
	r := newHands(t, "output_format: json\n", h)
	x, failure := r.mustFail(t, t.Context(), "a", 0)
	if calls != 2 || failure.Code != CodeLimitExceeded || failure.Started || x.StartedAt != nil {
		t.Errorf("after %d calls %+v", calls, failure.Failure)
	}
}

// The deadline is one budget, and a call that it ends says where the time went.
func TestTimedOutCallSaysWhereTheTimeWent(t *testing.T) {
	t.Parallel()
	h := &hands{acquire: func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	r := newHands(t, "output_format: json\n", h)
	x, failure := r.mustFail(t, t.Context(), "a", 150*time.Millisecond)
	if failure.Code != CodeTimedOut || failure.Started || !failure.Retryable || x.Timing.Queue < 100 ||
		!strings.Contains(failure.Reason, "timed out after 150ms: validation ") || !strings.Contains(failure.Reason, "environment 0 ms, queue ") || !strings.Contains(failure.Reason, "run 0 ms") {
		t.Errorf("%+v, %+v", failure.Failure, x.Timing)
	}
}

// BenchmarkInvokeHandler is a warm call without the socket.
func BenchmarkInvokeHandler(b *testing.B) {
	h := &hands{call: func(context.Context, agent.Call, agent.Output) (agent.Reply, error) {
		return agent.Reply{Result: []byte(`{"greeting":"Hello, Ada!"}`), Duration: 1}, nil
	}}
	r := newHands(b, "output_format: json\nparameters: {name: {type: string, required: true}}\n", h)
	body := []byte(`{"name":"Ada"}`)
	b.ReportAllocs()
	for b.Loop() {
		h.released = h.released[:0]
		if _, err := r.Invoke(b.Context(), Request{ID: NewID(), Action: "demo.a", Body: body, Arrived: time.Now()}); err != nil {
			b.Fatal(err)
		}
	}
}

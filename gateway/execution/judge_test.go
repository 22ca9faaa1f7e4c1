package execution

import (
	"context"
	"strings"
	"testing"
	"time"

	"attune/gateway/pack"
	"attune/gateway/secret"
	"attune/runtimes/agent"
)

// judged is a call whose program has printed something and ended.
func judged(t *testing.T) (*Runner, *call, *output) {
	t.Helper()
	r := &Runner{Options: Options{Limits: Limits{Result: 1 << 10, Log: 1 << 10}}}
	c := &call{
		action: &pack.Action{OutputFormat: pack.FormatText}, arrived: time.Now(),
		execution: &Execution{StartedAt: new(time.Time)},
	}
	out := newOutput(r.Limits)
	out.stdout.Write([]byte("half of what"))
	out.stdout.end(0, true)
	return r, c, out
}

// A program whose output was lost is no success, whatever its exit code.
func TestLostOutputIsNoSuccess(t *testing.T) {
	t.Parallel()
	r, c, out := judged(t)
	if failure := r.judge(t.Context(), c, agent.Exit{}, out); failure != nil {
		t.Fatalf("judge() of a good end = %v", failure)
	}
	failure := r.judge(t.Context(), c, agent.Exit{Incomplete: true, Reason: "output did not end with the program"}, out)
	if failure == nil || failure.Code != CodeInstanceLost || !failure.Started || failure.Retryable {
		t.Errorf("judge() of lost output = %+v, want instance-lost", failure)
	}
}

// Who cancelled an execution is not who called it.
func TestCancelledHandlerSaysByWhom(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cause error
		want  string
	}{{errStopped, "was cancelled"}, {errLeft, "the caller left"}} {
		r, c, _ := judged(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(test.cause)
		failure := r.explainCall(ctx, c, agent.Reply{}, test.cause)
		if failure.Code != CodeCancelled || !strings.Contains(failure.Reason, test.want) {
			t.Errorf("explainCall() of %v = %+v, want %q", test.cause, failure, test.want)
		}
	}
}

// What a worker has cut may end in the midst of a secret.
func TestCutFailureShowsNoPartOfASecret(t *testing.T) {
	t.Parallel()
	const hidden = "hunter22-very-secret"
	c := &call{masker: secret.NewMasker([]string{hidden})}
	for cut := 4; cut < len(hidden); cut++ {
		text := strings.Repeat("x", 4096-cut) + hidden[:cut]
		reply := agent.Reply{Failure: &agent.CallFailure{Message: text, Traceback: text}}
		c.mask(&reply)
		if f := reply.Failure; strings.Contains(f.Message+f.Traceback, hidden[:4]) {
			t.Errorf("cut after %d bytes: %.40q", cut, f.Message[4096-cut:])
		}
	}
}

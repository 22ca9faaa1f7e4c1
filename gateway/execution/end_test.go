package execution

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
	"attune/tests/kit"
)

// errLeft is a cause as the api gives it.
var errLeft = errors.New("the client left")

// gate holds actions up: "read _ <gate" in a script returns when it is opened
// once for it.
type gate struct {
	path string
	pipe *os.File // both ends: so neither opening nor writing waits for the other side
}

func newGate(t *testing.T) gate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	return gate{path, pipe}
}

// script says that it runs, and waits.
func (g gate) script() string {
	return "echo x >>" + g.path + ".runs; read _ <" + g.path + "; echo passed\n"
}

// open lets one script pass.
func (g gate) open(t *testing.T) {
	t.Helper()
	if _, err := g.pipe.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
}

// await returns when the script has run n times.
func (g gate) await(t *testing.T, n int) {
	t.Helper()
	kit.Until(t, func() bool { return g.runs(t) >= n })
}

func (g gate) runs(t *testing.T) int {
	t.Helper()
	content, err := os.ReadFile(g.path + ".runs")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return bytes.Count(content, []byte("x"))
}

// ended is what a call in the background came to.
type ended struct {
	outcome *Outcome
	err     error
}

func (r *rig) start(ctx context.Context, name string) <-chan ended {
	done := make(chan ended, 1)
	go func() {
		outcome, err := r.call(ctx, name, "", 0)
		done <- ended{outcome, err}
	}()
	return done
}

// What it takes to read and check a call counts, too.
func TestTimeoutSaysHowLongValidationTook(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"hello": {"output_format: text\n", "echo hello"}}, nil)
	request := Request{ID: NewID(), Action: "demo.hello", Timeout: time.Second, Arrived: time.Now().Add(-time.Minute)}
	outcome, err := r.Invoke(t.Context(), request)
	failure := asError(t, err)
	if failure.Code != CodeTimedOut || failure.Started || !strings.Contains(failure.Reason, "timed out after 1s: validation 60") {
		t.Errorf("error = %+v, want timed-out after 60 s of validation", failure)
	}
	if outcome == nil || outcome.Execution.Timing.Validate < 60_000 {
		t.Errorf("outcome = %+v, want it to tell of the validation", outcome)
	}
}

func TestTimeoutKillsAndSaysWhereTheTimeWent(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{
		"sleep": {"output_format: text\n", "echo begun; sleep 1000"},
		"own":   {"output_format: text\ntimeout: 200ms\n", "sleep 1000"},
	}, nil)
	r.mustFail(t, t.Context(), "own", 0) // its instance is warm now
	for name, timeout := range map[string]time.Duration{"sleep": 300 * time.Millisecond, "own": time.Hour} {
		x, failure := r.mustFail(t, t.Context(), name, timeout)
		if failure.Code != CodeTimedOut || x.Status != StatusTimedOut || !failure.Started || failure.Retryable || x.ExitCode != nil {
			t.Errorf("%s: execution = %+v, %+v", name, x, failure)
		}
		if !strings.HasPrefix(failure.Reason, "timed out after ") || !strings.Contains(failure.Reason, "environment 0 ms, queue 0 ms, start 0 ms, run ") {
			t.Errorf("%s: reason = %q", name, failure.Reason)
		}
		if name == "sleep" && (x.Stdout != "begun\n" || x.Timing.Run < 100) {
			t.Errorf("execution = %+v", x)
		}
	}
	if total, _ := r.pools.Counts(); total != 1 {
		t.Errorf("%d instances: what leaves nothing is reused", total)
	}
}

// hold fills the pool with calls that wait at a gate.
func (r *rig) hold(t *testing.T, g gate) []<-chan ended {
	t.Helper()
	holders := []<-chan ended{r.start(t.Context(), "hold"), r.start(t.Context(), "hold")}
	g.await(t, 2)
	return holders
}

func (r *rig) letGo(t *testing.T, g gate, holders []<-chan ended) {
	t.Helper()
	for range holders {
		g.open(t)
	}
	for _, holder := range holders {
		if end := <-holder; end.err != nil || string(end.outcome.Output) != "passed\n" {
			t.Errorf("a held call ended in %+v, %v", end.outcome, end.err)
		}
	}
}

func TestCallsThatEndBeforeTheyStart(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	r := newRig(t, map[string]action{
		"hold": {"output_format: text\n", g.script()},
		"next": {"output_format: text\n", "true"},
	}, nil)
	holders := r.hold(t, g)
	x, failure := r.mustFail(t, t.Context(), "next", 50*time.Millisecond)
	if failure.Code != CodeTimedOut || failure.Started || !failure.Retryable || failure.Phase != "queue" || x.StartedAt != nil || x.Timing.Queue < 40 {
		t.Errorf("a call out of time: %+v, %+v", x, failure)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errLeft)
	x, failure = r.mustFail(t, ctx, "next", 0)
	if failure.Code != CodeCancelled || x.Status != StatusCancelled || failure.Started || !errors.Is(failure, errLeft) {
		t.Errorf("a caller who left: %+v, %+v", x, failure)
	}
	waiting, leave := context.WithCancelCause(t.Context())
	line := make(chan ended, 5) // one more than may wait
	for range cap(line) {
		go func() { line <- <-r.start(waiting, "next") }()
	}
	overloaded := asError(t, (<-line).err)
	if overloaded.Code != CodeOverloaded || overloaded.RetryAfter < time.Second || !overloaded.Retryable {
		t.Errorf("failure = %+v", overloaded)
	}
	leave(errLeft)
	for range cap(line) - 1 {
		if end := <-line; asError(t, end.err).Code != CodeCancelled {
			t.Errorf("a call that left the line ended in %v", end.err)
		}
	}
	r.letGo(t, g, holders)
}

func TestCancelKillsAndAnswers(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	r := newRig(t, map[string]action{"hold": {"output_format: text\n", g.script()}}, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	call := r.start(ctx, "hold")
	g.await(t, 1)
	cancel(errLeft)
	end := <-call
	x := end.outcome.Execution
	if failure := asError(t, end.err); failure.Code != CodeCancelled || x.Status != StatusCancelled || !failure.Started || x.ExitCode != nil {
		t.Errorf("execution = %+v, %+v", x, failure)
	}
}

// losing is a set of instances that loses the container of the next few between
// handing it out and its use.
type losing struct {
	*runtimes.Pools
	engine container.Engine
	next   atomic.Int32
	handed atomic.Int32
}

func (l *losing) Acquire(ctx context.Context, s *runtimes.Shape) (*runtimes.Slot, time.Duration, error) {
	instance, start, err := l.Pools.Acquire(ctx, s)
	if err != nil || l.next.Add(-1) < 0 {
		return instance, start, err
	}
	l.handed.Add(1)
	found, err := l.engine.Find(ctx, nil)
	for _, c := range found {
		if c.ID() == instance.ID() {
			err = errors.Join(err, c.Remove(ctx))
		}
	}
	return instance, start, err
}

func TestInstanceLostBeforeTheStartIsReplacedOnce(t *testing.T) {
	t.Parallel()
	for lost, wantCode := range map[int32]string{1: "", 2: CodeInstanceLost} {
		instances := &losing{}
		r := newRig(t, map[string]action{"a": {"output_format: text\n", "echo ran >>$ATTUNE_PACK_DIR/ran"}}, func(o *Options) {
			instances.Pools = o.Instances.(*runtimes.Pools)
			o.Instances = instances
		})
		instances.engine = r.engine
		instances.next.Store(lost)
		outcome, err := r.call(t.Context(), "a", "", 0)
		if wantCode == "" {
			if err != nil || outcome.Execution.Status != StatusSucceeded {
				t.Errorf("after one loss: %+v, %v", outcome, err)
			}
		} else if failure := asError(t, err); failure.Code != wantCode || failure.Started || !failure.Retryable || outcome.Execution.StartedAt != nil {
			t.Errorf("after two losses: %+v, %+v", outcome.Execution, failure)
		}
		ran, err := os.ReadFile(filepath.Join(r.packDir, "ran"))
		if want := map[bool]string{true: "ran\n", false: ""}[lost == 1]; string(ran) != want {
			t.Errorf("after %d losses the program ran: %q, %v", lost, ran, err)
		}
		if handed := instances.handed.Load(); handed != lost {
			t.Errorf("%d instances were lost, want %d", handed, lost)
		}
	}
}

func TestInstanceLostAfterTheStartIsNeverRetried(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	r := newRig(t, map[string]action{"kill": {"output_format: text\n", "echo x >>" + g.path + ".runs; kill -9 $PPID"}}, nil)
	x, failure := r.mustFail(t, t.Context(), "kill", 0)
	if failure.Code != CodeInstanceLost || !failure.Started || failure.Retryable || x.StartedAt == nil || x.Status != StatusFailed {
		t.Errorf("execution = %+v, %+v", x, failure)
	}
	if n := g.runs(t); n != 1 {
		t.Errorf("the program ran %d times", n)
	}
	kit.Until(t, func() bool { total, _ := r.pools.Counts(); return total == 0 })
}

func TestDrainWaitsAndThenKills(t *testing.T) {
	t.Parallel()
	for _, patient := range []bool{true, false} {
		g := newGate(t)
		r := newRig(t, map[string]action{"hold": {"output_format: text\n", g.script()}}, nil)
		call := r.start(t.Context(), "hold")
		g.await(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		drained := make(chan struct{})
		go func() {
			r.Drain(ctx)
			close(drained)
		}()
		kit.Until(t, func() bool {
			outcome, err := r.call(ctx, "missing", "", 0)
			return outcome == nil && asError(t, err).Code == CodeDraining
		})
		if patient {
			g.open(t)
		} else {
			cancel()
		}
		<-drained
		end := <-call
		if patient && (end.err != nil || end.outcome.Execution.Status != StatusSucceeded) {
			t.Errorf("a call with time to end: %+v, %v", end.outcome, end.err)
		}
		if !patient {
			if failure := asError(t, end.err); failure.Code != CodeDraining || !failure.Started {
				t.Errorf("a call without: %+v", failure)
			}
		}
		cancel()
		r.Drain(ctx) // again
	}
}

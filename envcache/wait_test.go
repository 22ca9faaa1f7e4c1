package envcache

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"
)

func TestWaiterIsToldWhenToComeBackAndTheBuildGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	c := r.gateway(t, func(o *Options) { o.Limits.Waiter = 10 * time.Millisecond })
	recipe := r.recipe(t, g.wait())
	for name, ctx := range map[string]func() (context.Context, context.CancelFunc){
		"its own patience": func() (context.Context, context.CancelFunc) { return t.Context(), func() {} },
		"the caller's deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("of the caller"))
		},
	} {
		ctx, cancel := ctx()
		var building *BuildingError
		if env, err := c.Ensure(ctx, recipe); !errors.As(err, &building) || building.RetryAfter < time.Second || building.RetryAfter > firstGuess {
			t.Errorf("%s: Ensure() = %v, %v, want a *BuildingError with 1 s to %v", name, env, err, firstGuess)
		}
		cancel()
	}
	g.open(t)
	mustEnsure(t, r.gateway(t, nil), recipe) // has more patience
	r.engine.wantBuilders(t, 1)
}

func TestRetryAfterIsTheMedianOfPastBuilds(t *testing.T) {
	t.Parallel()
	c := &Cache{}
	for _, d := range []time.Duration{time.Hour, 7 * time.Second, time.Millisecond} {
		c.observe(d)
	}
	if got := c.remaining(&flight{since: time.Now()}); got < 6*time.Second || got > 7*time.Second {
		t.Errorf("remaining() = %v, want about 7 s", got)
	}
	if got := c.remaining(&flight{since: time.Now().Add(-time.Minute)}); got != time.Second {
		t.Errorf("remaining() of a late build = %v, want 1 s", got)
	}
	for range 100 {
		c.observe(time.Minute)
	}
	if len(c.times) != 32 {
		t.Errorf("%d durations are kept", len(c.times))
	}
}

func TestCallerWhoLeavesFailsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, g.wait())
	left := errors.New("the client left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(left)
	if env, err := c.Ensure(ctx, recipe); !errors.Is(err, left) {
		t.Errorf("Ensure() = %v, %v, want the cause", env, err)
	}
	g.open(t)
	mustEnsure(t, c, recipe)
	r.engine.wantBuilders(t, 1)
}

func TestCloseIsNotAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, g.wait())
	answer := make(chan error, 1)
	go func() {
		_, err := c.Ensure(t.Context(), recipe)
		answer <- err
	}()
	told.await(t, waiting)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; !errors.Is(err, ErrClosed) {
		t.Errorf("Ensure() during Close = %v, want ErrClosed", err)
	}
	if _, err := c.Ensure(t.Context(), recipe); !errors.Is(err, ErrClosed) {
		t.Errorf("Ensure() after Close = %v, want ErrClosed", err)
	}
	if record := c.volume.failureRecord(mustDigest(t, r.gateway(t, nil), recipe)); record != nil {
		t.Errorf("a failure was recorded: %+v", record)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close() = %v", err)
	}
}

func TestBuildQueueIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) {
		o.Events = told.take
		o.Limits.Concurrency, o.Limits.Queue = 1, 1
	})
	recipes := make([]*Recipe, 3)
	for i, ref := range []string{"building", "queued", "refused"} {
		recipes[i] = r.recipe(t, g.wait())
		recipes[i].Pack = ref
	}
	for i, phase := range []Phase{PhaseInstall, PhaseQueued} {
		if _, err := c.join(recipes[i]); err != nil {
			t.Fatal(err)
		}
		told.await(t, func(e Event) bool { return e.Pack == recipes[i].Pack && e.Phase == phase })
	}
	if _, err := c.Ensure(t.Context(), recipes[2]); !errors.Is(err, ErrBusy) {
		t.Errorf("Ensure() = %v, want ErrBusy", err)
	}
	g.open(t)
	mustEnsure(t, c, recipes[0])
	g.open(t)
	mustEnsure(t, c, recipes[1])
}

func TestStorageFull(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, func(o *Options) { o.Limits.FreeSpace = math.MaxInt64 })
	recipe := r.recipe(t, "true")
	if _, err := c.Ensure(t.Context(), recipe); !errors.Is(err, ErrStorageFull) {
		t.Fatalf("Ensure() = %v, want ErrStorageFull", err)
	}
	r.nothingLeft(t)
	c.Limits.FreeSpace = 1 // measured anew, without a back-off
	mustEnsure(t, c, recipe)
}

func TestBuildThatTakesTooLong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t) // never opened
	c := r.gateway(t, func(o *Options) { o.Limits.Timeout = 200 * time.Millisecond })
	failed := mustFail(t, c, r.recipe(t, g.wait()))
	if want := "the build took longer than 200ms (build.timeout)"; failed.Reason != want || failed.Infrastructure {
		t.Errorf("failure = %+v, want %q", failed, want)
	}
	r.nothingLeft(t)
}

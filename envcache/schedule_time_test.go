package envcache

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// firstFails makes the first builder fail and the others not.
func firstFails(n int) int {
	if n == 1 {
		return endFailed
	}
	return endWhole
}

// stopAt lets a gateway go on until it stands at a point.
func (w *scheduleWorld) stopAt(t *testing.T, i int, at Point) {
	t.Helper()
	g := w.gateways[i]
	for range 1000 {
		synctest.Wait()
		if g.gate.holds(string(at)) {
			return
		}
		if g.gate.step(func(int, string) int { return 0 }) == "" {
			time.Sleep(time.Second)
		}
	}
	t.Fatalf("the gateway never comes to %q", at)
}

// inTrouble is a world in which the first gateway stands at a point of a build
// and the second has just been asked for the same environment.
func inTrouble(t *testing.T, root string, at Point, shared, file bool) (w *scheduleWorld, ready chan time.Time) {
	t.Helper()
	w = newScheduleWorld(t, root, 1, 2, shared, file)
	w.engine.build = scheduleBuild
	if at == PointRecorded {
		w.engine.how = firstFails
	}
	w.gateways[0].ask(time.Hour)
	w.stopAt(t, 0, at)
	w.settling.Store(true)
	w.gateways[1].gate.unlock()
	ready = make(chan time.Time, 1)
	other := w.gateways[1].cache
	w.calls.Go(func() {
		w.settled(other, w.recipes[0])
		ready <- time.Now()
	})
	synctest.Wait()
	return w, ready
}

// eachPoint runs f at every point under every kind of lease.
func eachPoint(t *testing.T, f func(t *testing.T, root string, at Point, shared, file bool)) {
	t.Helper()
	for _, at := range Points {
		for leases := range 4 {
			shared, file := leases&1 != 0, leases&2 != 0
			t.Run(fmt.Sprintf("%s, shared lease %v, file lease %v", at, shared, file), func(t *testing.T) {
				t.Parallel()
				bubble(t, func(t *testing.T, root string) { f(t, root, at, shared, file) })
			})
		}
	}
}

// TestReadySoonAfterACrash is I4, to the second: build + 2 TTL + 5 s, and the
// back-off where the crash followed a failure.
func TestReadySoonAfterACrash(t *testing.T) {
	t.Parallel()
	eachPoint(t, func(t *testing.T, root string, at Point, shared, file bool) {
		w, ready := inTrouble(t, root, at, shared, file)
		crashed := time.Now()
		w.gateways[0].crash(t)
		most := scheduleBuild + 2*scheduleLease + 5*time.Second
		if at == PointRecorded {
			most += buildBackoff * 12 / 10
		}
		for range 300 {
			time.Sleep(time.Second)
			synctest.Wait()
			if broken := w.check(); broken != "" {
				t.Error(broken)
				break
			}
		}
		select {
		case when := <-ready:
			if took := when.Sub(crashed); took > most {
				t.Errorf("ready %v after the crash, want at most %v", took, most)
			}
		default:
			t.Error("not ready five minutes after the crash")
		}
		w.finish(t)
	})
}

// TestPausedHolderChangesNothing is I5: a gateway sleeps for three TTLs where
// others hold it for dead, and wakes up.
func TestPausedHolderChangesNothing(t *testing.T) {
	t.Parallel()
	eachPoint(t, func(t *testing.T, root string, at Point, shared, file bool) {
		w, _ := inTrouble(t, root, at, shared, file)
		w.gateways[0].pause(true)
		for range 9 {
			time.Sleep(scheduleLease / 3)
			if broken := w.check(); broken != "" {
				t.Error(broken)
			}
		}
		w.finish(t)
		// Only where nothing excludes a sleeper may it do once more, in vain,
		// what another has done meanwhile.
		most := 1
		if !file || at == PointRecorded {
			most = 2
		}
		if w.engine.ran() > most {
			t.Errorf("%d builders ran, want at most %d", w.engine.ran(), most)
		}
	})
}

// finish settles a world, looks for what is broken or left, and ends it.
func (w *scheduleWorld) finish(t *testing.T) {
	t.Helper()
	w.settle(t)
	w.atRest()
	if broken := w.check(); broken != "" {
		t.Error(broken)
	}
	w.end(t)
}

// TestWaitersAreAnsweredInTime is I13, to the nanosecond, wherever the build
// hangs.
func TestWaitersAreAnsweredInTime(t *testing.T) {
	t.Parallel()
	eachPoint(t, func(t *testing.T, root string, at Point, shared, file bool) {
		w, _ := inTrouble(t, root, at, shared, file)
		g := w.gateways[0]
		for _, own := range []time.Duration{0, time.Second, scheduleWaiter, time.Hour} {
			w.calls.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), own)
				defer cancel()
				asked := time.Now()
				_, err := g.cache.Ensure(ctx, w.recipes[0])
				var building *BuildingError
				if waited, want := time.Since(asked), min(own, scheduleWaiter); waited != want || !errors.As(err, &building) {
					t.Errorf("Ensure() with %v of patience = %v after %v, want a *BuildingError after %v", own, err, waited, want)
				}
			})
		}
		gone, leave := context.WithCancelCause(context.Background())
		left := errors.New("the caller has left")
		w.calls.Go(func() {
			if _, err := g.cache.Ensure(gone, w.recipes[0]); !errors.Is(err, left) {
				t.Errorf("Ensure() of a caller who leaves = %v", err)
			}
		})
		synctest.Wait()
		leave(left)
		time.Sleep(scheduleWaiter)
		w.finish(t)
	})
}

// TestOneBuildPerBackOff is I8: within the window no call builds, and the first
// call after it does.
func TestOneBuildPerBackOff(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, root string) {
		w := newScheduleWorld(t, root, 1, 2, true, true)
		w.engine.build = time.Second
		w.engine.how = func(n int) int {
			if n <= 9 {
				return endFailed
			}
			return endWhole
		}
		w.settling.Store(true)
		for _, g := range w.gateways {
			g.gate.unlock()
		}
		ensure := func(i int) (next time.Time) {
			t.Helper()
			_, err := w.gateways[i%2].cache.Ensure(t.Context(), w.recipes[0])
			var failure *FailedError
			if !errors.As(err, &failure) {
				t.Fatalf("Ensure() = %v, want a *FailedError", err)
			}
			return failure.NextRetry
		}
		for n := 1; n <= 9; n++ {
			next := ensure(n)
			if wait := time.Until(next); wait < min(buildBackoff<<(n-1), maxBuildBackoff)*8/10-1 || wait > min(buildBackoff<<(n-1), maxBuildBackoff)*12/10 {
				t.Errorf("after %d failures the window is %v", n, wait)
			}
			for time.Until(next) > time.Second {
				time.Sleep(time.Until(next) / 2)
				ensure(n + 1)
			}
			time.Sleep(time.Until(next) - 1)
			if ensure(n); w.engine.ran() != n {
				t.Fatalf("%d builders a nanosecond before the end of window %d", w.engine.ran(), n)
			}
			time.Sleep(time.Nanosecond)
		}
		if env, err := w.gateways[0].cache.Ensure(t.Context(), w.recipes[0]); err != nil || w.engine.ran() != 10 {
			t.Errorf("Ensure() after the last window = %+v, %v, with %d builders", env, err, w.engine.ran())
		}
		w.finish(t)
	})
}

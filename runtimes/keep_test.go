package runtimes

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"attune/runtimes/agent"
)

func TestKeptInstanceThatDiesIsReplacedWithBackOff(t *testing.T) {
	bubble(t, PoolLimits{Queue: 9}, func(t *testing.T, y *yard) {
		shape := fakeShape("p")
		shape.MinWarm = 2
		y.pools.Keep([]*Shape{shape})
		time.Sleep(time.Minute)
		y.nth(0).Close()
		time.Sleep(2 * time.Second)
		if y.living() != 2 {
			t.Fatalf("%d live after one has died, want 2", y.living())
		}
		var tries atomic.Int64
		y.mu.Lock()
		y.fault = func(*Shape) error { tries.Add(1); return errors.New("broken") }
		y.mu.Unlock()
		y.nth(1).Close()
		time.Sleep(10 * time.Minute)
		if n := tries.Load(); n < 8 || n > 25 {
			t.Errorf("%d starts in ten minutes that all fail, want about one a minute", n)
		}
	})
}

func TestKeptInstancesFollowTheirShape(t *testing.T) {
	bubble(t, PoolLimits{Queue: 9}, func(t *testing.T, y *yard) {
		before, after := fakeShape("p"), fakeShape("p")
		before.MinWarm, after.MinWarm, after.Revision = 1, 1, "r2"
		y.pools.Keep([]*Shape{before})
		time.Sleep(time.Minute)
		y.takes.Store(int64(5 * time.Second))
		y.pools.Keep([]*Shape{after})
		time.Sleep(3 * time.Second)
		if y.living() != 1 || y.launches() != 1 {
			t.Errorf("the instance of the shape before went before that of the new one was there")
		}
		time.Sleep(5 * time.Second)
		if _, start, _ := acquireAndRelease(t, y, after); y.living() != 1 || start != 0 {
			t.Errorf("%d live; the new shape's call waited %v for a start", y.living(), start)
		}
		y.pools.Keep(nil)
		time.Sleep(time.Minute)
		if y.living() != 0 {
			t.Error("an instance of what isn't kept any more lives")
		}
	})
}

func acquireAndRelease(t *testing.T, y *yard, s *Shape) (*Slot, time.Duration, error) {
	t.Helper()
	slot, start, err := y.pools.Acquire(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	y.pools.Release(slot, true, time.Millisecond)
	return slot, start, err
}

// What is kept goes last, and only for a call that waits.
func TestKeptInstanceIsEvictedLast(t *testing.T) {
	bubble(t, PoolLimits{Total: 2, Queue: 9}, func(t *testing.T, y *yard) {
		kept := fakeShape("kept")
		kept.MinWarm = 1
		y.pools.Keep([]*Shape{kept})
		time.Sleep(time.Minute)
		acquireAndRelease(t, y, fakeShape("a"))
		acquireAndRelease(t, y, fakeShape("b"))
		if y.of("kept") != 1 || y.of("a") != 0 || y.of("b") != 1 {
			t.Error("the kept instance, idle for longest, was evicted before one that isn't")
		}
		slot := y.must(t, fakeShape("b"))
		acquireAndRelease(t, y, fakeShape("c"))
		if y.of("kept") != 0 || y.of("c") != 1 {
			t.Error("a call waited for room that a kept instance had")
		}
		y.pools.Release(slot, true, time.Millisecond)
	})
}

func TestContainerIsolationUsesAnInstanceOnce(t *testing.T) {
	bubble(t, PoolLimits{Queue: 9, IdleTimeout: time.Minute}, func(t *testing.T, y *yard) {
		shape := fakeShape("p")
		shape.Isolation, shape.Spare = IsolationContainer, 1
		first, _, _ := acquireAndRelease(t, y, shape)
		time.Sleep(time.Second)
		if y.living() != 1 {
			t.Fatalf("%d instances are kept started after a call, want 1", y.living())
		}
		second, start, _ := acquireAndRelease(t, y, shape)
		if second.instance == first.instance || start != 0 {
			t.Errorf("the second call waited %v, or got a used instance", start)
		}
		time.Sleep(2 * time.Minute)
		if y.living() != 0 {
			t.Error("an unused instance was kept beyond the idle timeout")
		}
	})
}

func TestSlotsOfOneInstance(t *testing.T) {
	bubble(t, PoolLimits{PerPool: 1, Queue: 9}, func(t *testing.T, y *yard) {
		shape := fakeShape("p")
		shape.Slots = 3
		a, b, c := y.must(t, shape), y.must(t, shape), y.must(t, shape)
		if a.instance != b.instance || b.instance != c.instance || a == b || b == c || y.launches() != 1 {
			t.Fatal("three calls aren't in three slots of one instance")
		}
		y.pools.Release(a, true, time.Millisecond)
		if again := y.must(t, shape); again != a {
			t.Error("not the slot that was used last")
		}
		// One leaves something: nothing new starts there, the others end in peace.
		y.pools.Release(a, false, time.Millisecond)
		if y.living() != 1 {
			t.Error("the instance went while its other slots were in use")
		}
		y.pools.Release(b, true, time.Millisecond)
		y.pools.Release(c, true, time.Millisecond)
		if got := y.must(t, shape); got.instance == a.instance {
			t.Error("an instance that must not be reused was")
		} else {
			y.pools.Release(got, true, time.Millisecond)
		}
	})
}

// What becomes of a slot whose worker gave no reply.
func TestWorkerIsReplacedOrItsInstanceGoes(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		exit  agent.Exit
		stays bool
	}{
		"deadline":           {context.DeadlineExceeded, agent.Exit{Reusable: true}, true},
		"deadline, leftover": {context.DeadlineExceeded, agent.Exit{}, false},
		"lost":               {agent.ErrLost, agent.Exit{Reusable: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, PoolLimits{PerPool: 1, Queue: 9}, func(t *testing.T, y *yard) {
				var hired, closed atomic.Int32
				y.employ = func() (worker, error) {
					hired.Add(1)
					return &fakeWorker{err: test.err, exit: test.exit, closed: &closed}, nil
				}
				shape := fakeShape("p")
				shape.Isolation = IsolationWorker
				slot := y.must(t, shape)
				if _, err := slot.Call(context.Background(), agent.Call{}, agent.Output{}); !errors.Is(err, test.err) {
					t.Errorf("Call() = %v", err)
				}
				y.pools.Release(slot, true, time.Millisecond)
				next := y.must(t, shape)
				if same := next.instance == slot.instance; same != test.stays || hired.Load() != 2 || closed.Load() != 1 {
					t.Errorf("same instance: %v, workers: %d started, %d closed", same, hired.Load(), closed.Load())
				}
				y.pools.Release(next, true, time.Millisecond)
			})
		})
	}
}

// A slot that gets another worker is on its way: nobody starts an instance for it.
func TestNoInstanceIsStartedForASlotThatReturns(t *testing.T) {
	bubble(t, PoolLimits{Queue: 9}, func(t *testing.T, y *yard) {
		y.employ = func() (worker, error) {
			time.Sleep(100 * time.Millisecond)
			return &fakeWorker{err: context.DeadlineExceeded, exit: agent.Exit{Reusable: true}, closed: new(atomic.Int32)}, nil
		}
		shape := fakeShape("p")
		shape.Isolation = IsolationWorker
		slot := y.must(t, shape)
		if _, err := slot.Call(context.Background(), agent.Call{}, agent.Output{}); err == nil {
			t.Error("Call() = nil")
		}
		y.pools.Release(slot, true, time.Millisecond)
		if next := y.must(t, shape); next != slot {
			t.Error("not the slot that came back first")
		} else {
			y.pools.Release(next, true, time.Millisecond)
		}
		time.Sleep(time.Second) // as long as any start takes
		if len(y.launched) != 1 {
			t.Errorf("%d instances were launched, want 1", len(y.launched))
		}
	})
}

func TestNoticeIsToldOnceForAPool(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, PoolLimits{Queue: 9})
		var log logged
		y.pools.log = slog.New(slog.NewTextHandler(&log, nil))
		shape := fakeShape("p")
		a, b := y.must(t, shape), y.must(t, shape)
		for _, slot := range []*Slot{a, b} {
			slot.instance.link.(*fakeLink).notices <- "preload numpy started threads"
		}
		synctest.Wait()
		y.pools.Release(a, true, time.Millisecond)
		y.pools.Release(b, true, time.Millisecond)
		y.close(t)
		if text := log.String(); strings.Count(text, "numpy") != 1 || !strings.Contains(text, "level=WARN") ||
			!strings.Contains(text, "pack=p") || !strings.Contains(text, "runtime=sh") {
			t.Errorf("logged %q", text)
		}
	})
}

// A directory that was replaced is another, though path and content are the same.
func TestRenewLeavesWhatIsStillThere(t *testing.T) {
	bubble(t, PoolLimits{Queue: 9}, func(t *testing.T, y *yard) {
		shape := fakeShape("p")
		shape.PackDir = t.TempDir()
		slot, _, _ := acquireAndRelease(t, y, shape)
		y.pools.Renew()
		if same, _, _ := acquireAndRelease(t, y, shape); same != slot {
			t.Error("an instance went whose directory is still there")
		}
		replace(t, shape.PackDir)
		y.pools.Renew()
		if other, _, _ := acquireAndRelease(t, y, shape); other.instance == slot.instance {
			t.Error("an instance serves that shows a directory which is gone")
		}
	})
}

// BenchmarkAcquireRelease is the way of a warm call through the pools.
func BenchmarkAcquireRelease(b *testing.B) {
	y := &yard{}
	y.pools = newPools(PoolLimits{Queue: 9, IdleTimeout: time.Hour}, slog.New(slog.DiscardHandler), y.launch)
	defer y.pools.Close()
	shape := fakeShape("p")
	y.pools.Release(y.must(b, shape), true, time.Millisecond)
	b.ReportAllocs()
	for b.Loop() {
		slot, _, err := y.pools.Acquire(b.Context(), shape)
		if err != nil {
			b.Fatal(err)
		}
		y.pools.Release(slot, true, time.Millisecond)
	}
}

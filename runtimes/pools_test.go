package runtimes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"attune/runtimes/container"
	"attune/tests/kit"
)

func TestIdleInstanceAgesOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 2, PerPool: 2, Queue: 9, IdleTimeout: 20 * time.Millisecond})
	s := r.shape(t, "p")
	r.release(r.mustAcquire(t, s))
	kit.Until(t, func() bool { total, idle := r.pools.Counts(); return total == 0 && idle == 0 })
	kit.Until(t, func() bool { // the pool goes with its last instance
		return len(*r.pools.pools.Load()) == 0
	})
	r.release(r.mustAcquire(t, s))
}

func TestLongestIdleInstanceIsEvictedAtTheLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 2, PerPool: 2, Queue: 9})
	oldest, newer, third := r.shape(t, "oldest"), r.shape(t, "newer"), r.shape(t, "third")
	a := r.mustAcquire(t, oldest)
	b := r.mustAcquire(t, newer)
	r.release(a)
	r.release(b)
	c := r.mustAcquire(t, third)
	<-a.instance.link.Done()
	if !b.instance.alive() {
		t.Error("the instance used later was evicted")
	}
	r.release(c)
	if got := r.mustAcquire(t, newer); got != b {
		t.Error("the instance used later is not there any more")
	} else {
		r.release(got)
	}
}

// A pool that found no room waits for it in line, and is not forgotten when an
// instance of another pool becomes idle.
func TestPoolWithoutRoomIsServedWhenThereIsSome(t *testing.T) {
	t.Parallel()
	for name, free := range map[string]func(*rig, *Slot){
		"idle":   func(r *rig, i *Slot) { r.release(i) },
		"broken": func(r *rig, i *Slot) { r.pools.Release(i, false, time.Millisecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
			busy := r.mustAcquire(t, r.shape(t, "busy"))
			waiter := r.queue(t, t.Context(), r.shape(t, "hungry"), 1)
			kit.Until(t, r.pools.budget.blocked.Load)
			free(r, busy)
			got := receive(t, waiter)
			if got.err != nil {
				t.Fatalf("the waiter got %+v", got)
			}
			r.release(got.slot)
		})
	}
}

func TestCloseWaitsForInstancesInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	s := r.shape(t, "p")
	instance := r.mustAcquire(t, s)
	waiter := r.queue(t, t.Context(), s, 1)
	closed := make(chan error, 1)
	go func() { closed <- r.pools.Close() }()
	if got := receive(t, waiter); !errors.Is(got.err, ErrClosed) {
		t.Errorf("the waiter got %+v, want ErrClosed", got)
	}
	if _, _, err := r.pools.Acquire(t.Context(), s); !errors.Is(err, ErrClosed) {
		t.Errorf("Acquire() = %v, want ErrClosed", err)
	}
	if exit := run(t, instance, "exit 4"); exit.Code != 4 { // it still works
		t.Errorf("exit = %+v", exit)
	}
	select {
	case err := <-closed:
		t.Fatalf("Close() = %v before the instance was released", err)
	default:
	}
	r.release(instance)
	if err := <-closed; err != nil {
		t.Errorf("Close() = %v", err)
	}
	<-instance.instance.link.Done()
}

func TestCloseGivesUpAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	starting := make(chan struct{})
	r.engine.onCreate(func(ctx context.Context, _ container.Spec) error {
		close(starting)
		<-ctx.Done()
		return container.Ended(ctx)
	})
	waiter := r.queue(t, t.Context(), r.shape(t, "p"), 1)
	<-starting
	r.close(t)
	if got := receive(t, waiter); !errors.Is(got.err, ErrClosed) {
		t.Errorf("the waiter got %+v, want ErrClosed", got)
	}
}

func TestFailedRemovalIsReported(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	instance := r.mustAcquire(t, r.shape(t, "p"))
	real := instance.instance.container
	instance.instance.container = &irremovable{real}
	r.release(instance)
	if err := r.pools.Close(); !errors.Is(err, container.ErrUnavailable) {
		t.Errorf("Close() = %v, want the removal's failure", err)
	}
	r.pools.failures = errorList{} // for the rig's own Close
	if err := real.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

type irremovable struct{ container.Container }

func (irremovable) Remove(context.Context) error { return container.ErrUnavailable }

// Everything at once, with more calls than room: nobody is forgotten, and never
// are there more instances than may be.
func TestStress(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 3, PerPool: 2, Queue: 99, IdleTimeout: 30 * time.Millisecond})
	shapes := make([]*Shape, 4)
	for i := range shapes {
		shapes[i] = r.shape(t, fmt.Sprint("p", i))
	}
	var inUse sync.Map
	var callers sync.WaitGroup
	for range 12 {
		callers.Go(func() {
			for range 20 {
				ctx, cancel := context.WithCancel(t.Context())
				if rand.N(8) == 0 {
					time.AfterFunc(rand.N(20*time.Millisecond), cancel)
				}
				instance, _, err := r.pools.Acquire(ctx, shapes[rand.N(len(shapes))])
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("Acquire() error = %v", err)
					}
					cancel()
					continue
				}
				if _, taken := inUse.LoadOrStore(instance, true); taken {
					t.Error("two calls have the same instance")
				}
				run(t, instance, "true")
				inUse.Delete(instance)
				r.pools.Release(instance, rand.N(6) > 0, time.Millisecond)
				cancel()
			}
		})
	}
	callers.Wait()
}

// On a real engine: what isolation container leaves is gone with its instance,
// and another is there for the next call.
func TestContainerIsolationOnAnEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 4, PerPool: 4, Queue: 9})
	s := r.shape(t, "p")
	s.Isolation, s.Spare = IsolationContainer, 1
	first := r.mustAcquire(t, s)
	run(t, first, "true")
	r.release(first)
	<-first.instance.link.Done()
	kit.Until(t, func() bool { _, idle := r.pools.Counts(); return idle == 1 })
	second, start, err := r.pools.Acquire(t.Context(), s)
	if err != nil || start != 0 || second.instance == first.instance {
		t.Fatalf("Acquire() = %v, %v, want an unused instance at once", start, err)
	}
	run(t, second, "true")
	r.release(second)
}

func TestMinWarmOnAnEngine(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 4, PerPool: 4, Queue: 9, IdleTimeout: 20 * time.Millisecond})
	s := r.shape(t, "p")
	s.MinWarm = 2
	r.pools.Keep([]*Shape{s})
	kit.Until(t, func() bool { _, idle := r.pools.Counts(); return idle == 2 })
	slot, start, err := r.pools.Acquire(t.Context(), s)
	if err != nil || start != 0 {
		t.Fatalf("the first call waited %v for a start: %v", start, err)
	}
	r.pools.Release(slot, false, time.Millisecond)
	kit.Until(t, func() bool { _, idle := r.pools.Counts(); return idle == 2 })
}

package runtimes

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"attune/runtimes/container"
	"attune/tests/kit"
)

func TestInstanceIsReusedLastInFirstOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 4, PerPool: 4, Queue: 4})
	s := r.shape(t, "p")
	a, b := r.mustAcquire(t, s), r.mustAcquire(t, s)
	if exit := run(t, a, "exit 3"); exit.Code != 3 || !exit.Reusable {
		t.Errorf("exit = %+v", exit)
	}
	r.release(a)
	r.release(b)
	for _, want := range []*Slot{b, a} {
		got, start, err := r.pools.Acquire(t.Context(), s)
		if got != want || start != 0 || err != nil {
			t.Errorf("Acquire() = %v, %v, %v, want the one used last, at once", got, start, err)
		}
		defer r.release(got)
	}
	if n := r.engine.count(); n != 2 {
		t.Errorf("%d instances were made", n)
	}
}

func TestShapesDoNotShareInstances(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 9, PerPool: 9, Queue: 9})
	first := r.shape(t, "p")
	mine := r.mustAcquire(t, first)
	r.release(mine)
	same := *first
	if got := r.mustAcquire(t, &same); got != mine {
		t.Error("an equal shape got another instance")
	} else {
		r.release(got)
	}
	for name, change := range map[string]func(*Shape){
		"pack":        func(s *Shape) { s.Pack = "q" },
		"revision":    func(s *Shape) { s.Revision = "r2" },
		"runtime":     func(s *Shape) { s.Runtime = &Runtime{Name: "bash"} },
		"image":       func(s *Shape) { s.Image.ID = "sha256:22" },
		"environment": func(s *Shape) { s.Digest = "d2" },
		"network":     func(s *Shape) { s.Network = NetworkOutbound },
		"limits":      func(s *Shape) { s.Limits.Memory++ },
	} {
		other := *first
		change(&other)
		got := r.mustAcquire(t, &other)
		if got == mine {
			t.Errorf("another %s shares an instance", name)
		}
		r.release(got)
	}
}

func TestWaitersAreServedInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	s := r.shape(t, "p")
	instance := r.mustAcquire(t, s)
	var line []<-chan acquired
	for n := 1; n <= 3; n++ {
		line = append(line, r.queue(t, t.Context(), s, n))
	}
	for n, waiter := range line {
		r.release(instance)
		if got := receive(t, waiter); got.slot != instance || got.start != 0 || got.err != nil {
			t.Errorf("waiter %d got %+v, want the freed instance and no start", n, got)
		}
		for later := n + 1; later < len(line); later++ {
			if len(line[later]) > 0 {
				t.Errorf("waiter %d was served before %d", later, n)
			}
		}
	}
	r.release(instance)
}

// A start is beside the wait: an instance that is freed meanwhile serves sooner.
func TestFreedInstanceOvertakesAStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 2, PerPool: 2, Queue: 9})
	s := r.shape(t, "p")
	instance := r.mustAcquire(t, s)
	starting, goOn := make(chan struct{}), make(chan struct{})
	r.engine.onCreate(func(ctx context.Context, _ container.Spec) error {
		close(starting)
		<-goOn
		return nil
	})
	waiter := r.queue(t, t.Context(), s, 1)
	<-starting
	r.release(instance)
	if got := receive(t, waiter); got.slot != instance || got.start != 0 {
		t.Errorf("the waiter got %+v, want the freed instance", got)
	}
	close(goOn)
	kit.Until(t, func() bool { _, idle := r.pools.Counts(); return idle == 1 })
	r.release(instance)
}

func TestStartIsTimed(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 1})
	instance, start, err := r.pools.Acquire(t.Context(), r.shape(t, "p"))
	if err != nil || start <= 0 {
		t.Fatalf("Acquire() = %v, %v, want a start", start, err)
	}
	r.release(instance)
}

func TestFullLineIsOverloaded(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 2})
	s := r.shape(t, "p")
	instance := r.mustAcquire(t, s)
	p, err := r.pools.pool(s)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.observe(10 * time.Second)
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	first, second := r.queue(t, ctx, s, 1), r.queue(t, ctx, s, 2)
	_, _, err = r.pools.Acquire(t.Context(), s)
	var overloaded *OverloadedError
	if !errors.As(err, &overloaded) || !errors.Is(err, ErrOverloaded) || overloaded.RetryAfter != 30*time.Second {
		t.Errorf("Acquire() = %v, want ErrOverloaded and (2 + 1) × 10 s ÷ 1", err)
	}
	cancel()
	for _, waiter := range []<-chan acquired{first, second} {
		if got := receive(t, waiter); !errors.Is(got.err, context.Canceled) {
			t.Errorf("a waiter who left got %+v", got)
		}
	}
	r.release(instance)
}

func TestFailedStartFailsOneCallAndTheNextIsTried(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	s := r.shape(t, "p")
	broken := errors.New("broken")
	starts := make(chan struct{})
	var failed atomic.Bool
	r.engine.onCreate(func(context.Context, container.Spec) error {
		<-starts
		if !failed.Swap(true) {
			return broken
		}
		return nil
	})
	first := r.queue(t, t.Context(), s, 1)
	second := r.queue(t, t.Context(), s, 2)
	starts <- struct{}{}
	if got := receive(t, first); !errors.Is(got.err, broken) {
		t.Errorf("the first got %+v, want the fault", got)
	}
	starts <- struct{}{}
	got := receive(t, second)
	if got.err != nil || got.start <= 0 {
		t.Fatalf("the second got %+v, want an instance of its own start", got)
	}
	r.release(got.slot)
}

func TestAgentThatNeverComesIsAFailedStart(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	r.box.AgentDir = t.TempDir()
	fake := r.box.AgentDir + "/" + AgentFile
	writeFile(t, fake, "#!/bin/sh\nexit 5\n", 0o755)
	_, _, err := r.pools.Acquire(t.Context(), r.shape(t, "p"))
	if err == nil || err.Error() != "wait for the instance's agent: the container stopped with exit code 5" {
		t.Errorf("Acquire() = %v", err)
	}
	r.box.AgentDir = TestAgentDir
}

func TestDeadIdleInstanceIsReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	s := r.shape(t, "p")
	dead := r.mustAcquire(t, s)
	r.release(dead)
	if err := dead.instance.container.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-dead.instance.link.Done()
	got := r.mustAcquire(t, s)
	if got == dead || run(t, got, "true").Code != 0 {
		t.Errorf("Acquire() = %v, want another instance", got)
	}
	r.release(got)
}

func TestUnusableInstanceIsDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	s := r.shape(t, "p")
	first := r.mustAcquire(t, s)
	waiter := r.queue(t, t.Context(), s, 1)
	r.pools.Release(first, false, time.Millisecond)
	got := receive(t, waiter)
	if got.err != nil || got.slot == first {
		t.Fatalf("the waiter got %+v, want a new instance", got)
	}
	r.release(got.slot)
	kit.Until(t, func() bool { total, _ := r.pools.Counts(); return total == 1 })
}

// A call that leaves in the moment in which it is served passes the instance on.
func TestCallThatLeavesPassesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	s := r.shape(t, "p")
	instance := r.mustAcquire(t, s)
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		waiter := r.queue(t, ctx, s, 1)
		go cancel()
		r.release(instance)
		if got := receive(t, waiter); got.err == nil {
			r.release(got.slot)
		}
		instance = r.mustAcquire(t, s)
	}
	r.release(instance)
	if n := r.engine.count(); n != 1 {
		t.Errorf("%d instances were made", n)
	}
}

package leasetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/envcache"
)

// contend lets 32 goroutines pass one after the other.
func contend(t *testing.T, leaserOf func(n int) envcache.Leaser) {
	t.Helper()
	const contenders = 32
	var (
		name    = someName()
		inside  atomic.Int32
		passed  atomic.Int32
		group   sync.WaitGroup
		ctx, cf = context.WithTimeout(t.Context(), patience)
	)
	defer cf()
	for n := range contenders {
		leaser := leaserOf(n)
		group.Go(func() {
			for ctx.Err() == nil {
				held, err := leaser.Acquire(ctx, name, ttl)
				if errors.Is(err, envcache.ErrLeaseTaken) {
					pause(ctx)
					continue
				}
				if err != nil {
					t.Errorf("Acquire(%s) error = %v", name, err)
					return
				}
				if got := inside.Add(1); got != 1 {
					t.Errorf("%d holders at once", got)
				}
				pause(ctx)
				inside.Add(-1)
				passed.Add(1)
				if err := held.Release(ctx); err != nil {
					t.Errorf("Release(%s) error = %v", name, err)
				}
				return
			}
		})
	}
	group.Wait()
	if got := passed.Load(); got != contenders {
		t.Errorf("%d of %d passed", got, contenders)
	}
}

// pause lets others try: what is tested must not depend on it.
func pause(ctx context.Context) {
	select {
	case <-time.After(2 * time.Millisecond):
	case <-ctx.Done():
	}
}

func oneHolderAtATime(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	contend(t, func(int) envcache.Leaser { return newLeaser(t) })
}

func oneLeaserIsEnough(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	leaser := newLeaser(t)
	contend(t, func(int) envcache.Leaser { return leaser })
}

func secondIsTaken(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	first, name := newLeaser(t), someName()
	held := mustAcquire(t, first, name)
	wantTaken(t, first, name)
	wantTaken(t, newLeaser(t), name)
	wantHeld(t, held)
}

func releaseFreesAtOnce(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	first, second, name := newLeaser(t), newLeaser(t), someName()
	for range 10 {
		mustRelease(t, mustAcquire(t, first, name))
		mustRelease(t, mustAcquire(t, second, name))
	}
}

func releaseTwice(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	held := mustAcquire(t, newLeaser(t), someName())
	mustRelease(t, held)
	mustRelease(t, held)
	var group sync.WaitGroup
	held = mustAcquire(t, newLeaser(t), someName())
	for range 8 {
		group.Go(func() {
			if err := held.Release(t.Context()); err != nil {
				t.Errorf("Release() error = %v", err)
			}
		})
	}
	group.Wait()
	wantHeld(t, held) // given back isn't lost
}

func releaseTwiceSparesTheNext(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	first, second, name := newLeaser(t), newLeaser(t), someName()
	old := mustAcquire(t, first, name)
	mustRelease(t, old)
	held := mustAcquire(t, second, name)
	mustRelease(t, old)
	wantTaken(t, first, name)
	wantHeld(t, held)
}

// releaseAtOnce: hardly started, the renewal must not come after the release.
func releaseAtOnce(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	leaser := newLeaser(t)
	var group sync.WaitGroup
	for range 16 {
		name := someName()
		group.Go(func() {
			held, err := leaser.Acquire(t.Context(), name, ttl)
			if err != nil {
				t.Errorf("Acquire(%s) error = %v", name, err)
				return
			}
			if err := held.Release(t.Context()); err != nil {
				t.Errorf("Release(%s) error = %v", name, err)
			}
		})
	}
	group.Wait()
}

func cancelledContext(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	leaser, name := newLeaser(t), someName()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	held, err := leaser.Acquire(ctx, name, ttl)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire with a cancelled context = %v, %v", held, err)
	}
	mustAcquire(t, leaser, name) // nothing was left behind
}

func leaseOutlivesAcquireContext(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	leaser, name := newLeaser(t), someName()
	ctx, cancel := context.WithCancel(t.Context())
	held, err := leaser.Acquire(ctx, name, ttl)
	if err != nil {
		t.Fatalf("Acquire(%s) error = %v", name, err)
	}
	cancel()
	stayHeld(t, leaser, name, held)
	mustRelease(t, held)
}

func namesAreIndependent(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	leaser, name := newLeaser(t), someName()
	for _, other := range []string{name, name + ".", name + "-1", strings.ToLower(name), "_" + name, name[:len(name)-1]} {
		mustAcquire(t, leaser, other)
	}
}

func namesAreChecked(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	leaser := newLeaser(t)
	for _, name := range []string{
		"", ".", "..", ".hidden", "a/b", "/a", "../a", "a\x00b", "a b", "a\n", "a:b", "é", "-a", "*", strings.Repeat("x", 129),
	} {
		held, err := leaser.Acquire(t.Context(), name, ttl)
		if err == nil || errors.Is(err, envcache.ErrLeaseTaken) {
			t.Errorf("Acquire(%q) = %v, %v, want it refused", name, held, err)
		}
	}
	mustAcquire(t, leaser, strings.Repeat("x", 128))
}

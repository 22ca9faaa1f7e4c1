package runtimes

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// A start takes longer than short calls in line have to wait, and processors from
// those that run: it is for calls that would really wait.
func TestShortCallsStartNoFurtherInstance(t *testing.T) {
	for name, test := range map[string]struct {
		service time.Duration
		least   int
		most    int
	}{
		"short": {100 * time.Microsecond, 1, 1},
		"long":  {100 * time.Millisecond, 16, 16},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, PoolLimits{Total: 99, Queue: 99}, func(t *testing.T, y *yard) {
				shape := fakeShape("p")
				y.pools.Release(y.must(t, shape), true, test.service)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				var served atomic.Int64
				y.flood(ctx, 16, shape, test.service, &served).Wait()
				if y.most < test.least || y.most > test.most {
					t.Errorf("%d instances for 16 callers of %v, want %d to %d", y.most, test.service, test.least, test.most)
				}
			})
		})
	}
}

// Calls that were short and are long now get further instances all the same.
func TestCallsThatBecameLongStartInstances(t *testing.T) {
	bubble(t, PoolLimits{Total: 99, Queue: 99}, func(t *testing.T, y *yard) {
		shape := fakeShape("p")
		for range 20 {
			y.pools.Release(y.must(t, shape), true, 100*time.Microsecond)
		}
		held := y.must(t, shape)
		begun := time.Now()
		other := y.must(t, shape) // nobody frees the first
		if waited := time.Since(begun); waited < bearable || waited > 2*time.Second {
			t.Errorf("the second call waited for %v", waited)
		}
		y.pools.Release(held, true, time.Second)
		y.pools.Release(other, true, time.Second)
	})
}

// However many calls come at once, the starts don't.
func TestStartsAreNotAllAtOnce(t *testing.T) {
	bubble(t, PoolLimits{Total: 999, Queue: 999}, func(t *testing.T, y *yard) {
		y.takes.Store(int64(time.Second))
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		var served atomic.Int64
		y.flood(ctx, 100, fakeShape("p"), time.Second, &served).Wait()
		if n := y.launches(); n > startsAtOnce {
			t.Errorf("%d starts at once, want at most %d", n, startsAtOnce)
		}
	})
}

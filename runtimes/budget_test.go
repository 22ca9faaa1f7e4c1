package runtimes

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test with a time of its own over instances of nothing.
func bubble(t *testing.T, limits PoolLimits, f func(t *testing.T, y *yard)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		y := newYard(t, limits)
		f(t, y)
		y.close(t)
	})
}

func TestBudgetOfMemoryAndCoresIsKept(t *testing.T) {
	for name, limits := range map[string]PoolLimits{
		"memory": {Memory: 350, Queue: 99}, "cores": {CPU: 3, Queue: 99}, "instances": {Total: 3, Queue: 99},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, limits, func(t *testing.T, y *yard) {
				var served atomic.Int64
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				y.flood(ctx, 20, fakeShape("p"), 10*time.Millisecond, &served).Wait()
				if y.most != 3 {
					t.Errorf("%d instances at once, want 3", y.most)
				}
				if n := served.Load(); n < 2900 {
					t.Errorf("%d calls were served, want three at a time all the while", n)
				}
			})
		})
	}
}

func TestInstanceLargerThanTheBudgetIsRefused(t *testing.T) {
	bubble(t, PoolLimits{Memory: 99, Queue: 9}, func(t *testing.T, y *yard) {
		_, _, err := y.pools.Acquire(context.Background(), fakeShape("p"))
		if !errors.Is(err, ErrTooBig) {
			t.Errorf("Acquire() = %v, want ErrTooBig", err)
		}
	})
}

// A pack that floods the gateway gives up what it has more than another that waits.
func TestFloodedPackSharesTheBudget(t *testing.T) {
	bubble(t, PoolLimits{Total: 8, Queue: 999}, func(t *testing.T, y *yard) {
		ctx, cancel := context.WithCancel(context.Background())
		var flood, other atomic.Int64
		first := y.flood(ctx, 100, fakeShape("flood"), 10*time.Millisecond, &flood)
		time.Sleep(time.Second)
		if n := y.of("flood"); n != 8 {
			t.Fatalf("the flooded pack has %d instances, want all", n)
		}
		begun := time.Now()
		y.pools.Release(y.must(t, fakeShape("small")), true, time.Millisecond)
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("the other pack's call waited for %v", waited)
		}
		second := y.flood(ctx, 100, fakeShape("other"), 10*time.Millisecond, &other)
		time.Sleep(10 * time.Second)
		if a, b := y.of("flood"), y.of("other"); a < 3 || b < 3 || a+b > 8 {
			t.Errorf("%d and %d instances, want about half of 8 each", a, b)
		}
		before := y.launches()
		time.Sleep(10 * time.Second)
		if n := y.launches() - before; n > 0 {
			t.Errorf("%d instances were started though both have their part", n)
		}
		cancel()
		first.Wait()
		second.Wait()
	})
}

// Two packs and room for one instance: both are served, in turn and not by the call.
func TestOnlyInstanceChangesHandsSlowly(t *testing.T) {
	bubble(t, PoolLimits{Total: 1, Queue: 999}, func(t *testing.T, y *yard) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var a, b atomic.Int64
		first, second := y.flood(ctx, 5, fakeShape("a"), time.Millisecond, &a), y.flood(ctx, 5, fakeShape("b"), time.Millisecond, &b)
		first.Wait()
		second.Wait()
		if a.Load() < 5000 || b.Load() < 5000 || y.launches() > 20 {
			t.Errorf("%d and %d calls with %d starts", a.Load(), b.Load(), y.launches())
		}
	})
}

// Another pool of the same pack isn't starved either.
func TestPoolsOfOnePackShare(t *testing.T) {
	bubble(t, PoolLimits{Total: 4, Queue: 999}, func(t *testing.T, y *yard) {
		ctx, cancel := context.WithCancel(context.Background())
		var served atomic.Int64
		flood := y.flood(ctx, 50, fakeShape("p"), 10*time.Millisecond, &served)
		time.Sleep(time.Second)
		other := fakeShape("p")
		other.Revision = "r2"
		begun := time.Now()
		y.pools.Release(y.must(t, other), true, time.Millisecond)
		if waited := time.Since(begun); waited > time.Second {
			t.Errorf("the other pool's call waited for %v", waited)
		}
		cancel()
		flood.Wait()
	})
}

func TestTwoHundredPacksWithAWarmInstance(t *testing.T) {
	bubble(t, PoolLimits{Total: 512, Queue: 9}, func(t *testing.T, y *yard) {
		var shapes []*Shape
		for n := range 200 {
			shape := fakeShape(packName(n))
			shape.MinWarm = 1
			shapes = append(shapes, shape)
		}
		y.pools.Keep(shapes)
		time.Sleep(time.Second)
		if total, idle := y.pools.Counts(); total != 200 || idle != 200 {
			t.Fatalf("Counts() = %d, %d, want 200", total, idle)
		}
		for _, shape := range shapes {
			slot, start, err := y.pools.Acquire(context.Background(), shape)
			if err != nil || start != 0 {
				t.Fatalf("Acquire() = %v, %v", start, err)
			}
			y.pools.Release(slot, true, time.Millisecond)
		}
		time.Sleep(3 * time.Hour) // they don't age
		if n := y.launches(); n != 200 || y.living() != 200 {
			t.Errorf("%d were started, %d live", n, y.living())
		}
	})
}

func TestThousandCallsAreOpenOnOneAction(t *testing.T) {
	bubble(t, PoolLimits{Total: 64, PerPool: 8, Queue: 1024}, func(t *testing.T, y *yard) {
		var failed atomic.Int64
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				slot, _, err := y.pools.Acquire(context.Background(), fakeShape("p"))
				if err != nil {
					failed.Add(1)
					return
				}
				time.Sleep(time.Millisecond)
				y.pools.Release(slot, true, time.Millisecond)
			})
		}
		all.Wait()
		if n := failed.Load(); n > 0 || y.launches() != 8 {
			t.Errorf("%d calls failed with %d instances", n, y.launches())
		}
	})
}

// Whatever happens in whatever order: a slot is in one call's hands, the budget
// is kept, and nobody waits for ever.
func TestPoolsUnderChaos(t *testing.T) {
	for seed := range uint64(20) {
		t.Run("", func(t *testing.T) {
			bubble(t, PoolLimits{Total: 6, Memory: 900, PerPool: 4, Queue: 999, IdleTimeout: 3 * time.Second}, func(t *testing.T, y *yard) {
				chaos(t, y, rand.New(rand.NewPCG(seed, 1)))
			})
		})
	}
}

func chaos(t *testing.T, y *yard, dice *rand.Rand) {
	shapes := make([]*Shape, 6)
	for n := range shapes {
		shapes[n] = fakeShape(packName(n % 4))
		shapes[n].Slots, shapes[n].Limits.Memory = 1+n%3, int64(100+n*20)
		shapes[n].MinWarm = n % 2
		if n == 5 {
			shapes[n].Isolation, shapes[n].Slots, shapes[n].Spare = IsolationContainer, 1, 1
		}
	}
	faults := rand.New(rand.NewPCG(dice.Uint64(), 3)) // under the yard's lock
	y.fault = func(*Shape) error {
		if faults.IntN(10) == 0 {
			return errors.New("broken")
		}
		return nil
	}
	var held sync.Map
	var all sync.WaitGroup
	for range 30 {
		own := rand.New(rand.NewPCG(dice.Uint64(), 2))
		all.Go(func() {
			for range 40 {
				use(t, y, shapes[own.IntN(len(shapes))], own, &held)
			}
		})
	}
	fate := rand.New(rand.NewPCG(dice.Uint64(), 4))
	all.Go(func() {
		for range 20 {
			time.Sleep(300 * time.Millisecond)
			y.pools.Keep(shapes[:fate.IntN(len(shapes))])
			y.killOne(fate)
			y.pools.budget.mu.Lock()
			used := y.pools.budget.used
			y.pools.budget.mu.Unlock()
			if !used.within(y.pools.budget.limit) {
				t.Errorf("%+v is used", used)
			}
		}
	})
	all.Wait()
}

func use(t *testing.T, y *yard, shape *Shape, dice *rand.Rand, held *sync.Map) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	if dice.IntN(6) == 0 {
		ctx, cancel = context.WithTimeout(context.Background(), time.Duration(dice.IntN(400))*time.Millisecond)
	}
	defer cancel()
	begun := time.Now()
	slot, _, err := y.pools.Acquire(ctx, shape)
	if err != nil {
		if time.Since(begun) >= time.Minute {
			t.Errorf("a call was forgotten: %v", err)
		}
		return
	}
	if slot.instance.pool.shape != shape {
		t.Error("a slot of another shape")
	}
	if _, twice := held.LoadOrStore(slot, true); twice {
		t.Error("two calls have the same slot")
	}
	time.Sleep(time.Duration(dice.IntN(50)) * time.Millisecond)
	held.Delete(slot)
	y.pools.Release(slot, dice.IntN(8) > 0, time.Millisecond)
}

package runtimes

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestStatsTellWhatBecomesOfInstances(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 2, PerPool: 1, Queue: 1})
	first, second, third := r.shape(t, "first"), r.shape(t, "second"), r.shape(t, "third")
	a, b := r.mustAcquire(t, first), r.mustAcquire(t, second)
	waiting := make(chan *Slot, 1)
	go func() { waiting <- r.mustAcquire(t, first) }() // the only place in the line
	for r.pools.Stats().waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, _, err := r.pools.Acquire(t.Context(), first); !errors.Is(err, ErrOverloaded) {
		t.Fatalf("Acquire() of a full line = %v, want ErrOverloaded", err)
	}
	stats := r.pools.Stats()
	if stats.Refused != 1 || stats.Started != 2 || stats.StartTime <= 0 || stats.Used.Instances != 2 || stats.Limit.Instances != 2 {
		t.Errorf("stats = %+v, want two instances, one refused call", stats)
	}
	want := []PoolStats{{Pack: "first", Runtime: a.instance.pool.shape.Runtime.Name, Busy: 1, Waiting: 1}, {Pack: "second", Runtime: b.instance.pool.shape.Runtime.Name, Busy: 1}}
	byPack := cmpopts.SortSlices(func(a, b PoolStats) bool { return a.Pack < b.Pack })
	if diff := cmp.Diff(want, stats.Pools, byPack); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
	r.release(a)
	a = <-waiting
	r.release(b)
	c := r.mustAcquire(t, third) // evicts second's
	r.pools.Release(c, false, time.Millisecond)
	r.release(a)
	<-c.instance.link.Done()
	removed := r.pools.Stats().Removed
	if removed["evicted"] != 1 || removed["spoiled"] != 1 || removed["idle"] != 0 {
		t.Errorf("removed = %v, want one evicted and one spoiled", removed)
	}
}

func (s Stats) waiting() (n int) {
	for _, pool := range s.Pools {
		n += pool.Waiting
	}
	return n
}

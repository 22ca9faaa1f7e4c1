package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"attune/envcache"
	"attune/envcache/leasetest"
	"attune/gateway/redis/redistest"

	goredis "github.com/redis/go-redis/v9"
)

const patience = 20 * time.Second

// I14: all kinds of leases pass one suite.
func TestI14LeaserConforms(t *testing.T) {
	t.Parallel()
	address := redistest.URL(t)
	direct := mustOpenURL(t, address)
	newLeaser := func(t *testing.T) envcache.Leaser { return mustOpenURL(t, address).Leaser() }
	leasetest.Exercise(t, newLeaser, leasetest.Options{
		Address: address,
		Expires: true,
		TakeOver: func(t *testing.T, name string) {
			if err := direct.redis.Set(t.Context(), keyPrefix+"lease:"+name, "another", time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
		},
		Drop: func(t *testing.T, name string) {
			if n, err := direct.redis.Del(t.Context(), keyPrefix+"lease:"+name).Result(); err != nil || n != 1 {
				t.Fatalf("DEL = %d, %v", n, err)
			}
		},
	})
}

// through returns a client behind a proxy and one beside it, with the same keys.
func through(t *testing.T) (p *proxy, behind, beside *Client) {
	t.Helper()
	p, url := newProxy(t)
	behind, beside = mustOpenURL(t, url), mustOpen(t)
	behind.prefix = beside.prefix
	return p, behind, beside
}

func mustAcquire(t *testing.T, c *Client, ttl time.Duration) envcache.Lease {
	t.Helper()
	held, err := c.Leaser().Acquire(t.Context(), "a", ttl)
	if err != nil {
		t.Fatalf("Acquire() error = %v", err)
	}
	t.Cleanup(func() {
		// Idempotent, and its error is of no interest: the network is broken.
		_ = held.Release(context.WithoutCancel(t.Context()))
	})
	return held
}

func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// The server took the lease but its reply was lost: the retry is the same
// owner's, so it isn't told that somebody else has the lease.
func TestAcquireWhoseReplyIsLost(t *testing.T) {
	t.Parallel()
	p, behind, beside := through(t)
	for range 5 {
		p.set(func(p *proxy) { p.cutNext = true })
		held := mustAcquire(t, behind, time.Minute)
		wait(t, "a reply is lost", p.swallowed)
		if _, err := beside.Leaser().Acquire(t.Context(), "a", time.Minute); !errors.Is(err, envcache.ErrLeaseTaken) {
			t.Errorf("another's Acquire() error = %v, want ErrLeaseTaken", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Errorf("Release() error = %v", err)
		}
	}
}

// No reply comes until the deadline: that is no "taken", and what the server
// granted is given up.
func TestAcquireWithoutAReplyIsAbandoned(t *testing.T) {
	t.Parallel()
	p, behind, beside := through(t)
	p.set(func(p *proxy) { p.mute = p.serial })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	held, err := behind.Leaser().Acquire(ctx, "a", time.Minute)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, envcache.ErrLeaseTaken) {
		t.Fatalf("Acquire() = %v, %v, want ErrUnavailable", held, err)
	}
	wait(t, "a reply is lost", p.swallowed)
	mustAcquire(t, beside, time.Minute)
}

// A holder that can't reach Redis says that it lost the lease before anyone else
// can have it.
func TestLostBeforeAnotherHasIt(t *testing.T) {
	t.Parallel()
	p, behind, beside := through(t)
	held := mustAcquire(t, behind, time.Second)
	p.set(func(p *proxy) { p.refuse = true })
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		_, err := beside.Leaser().Acquire(t.Context(), "a", time.Minute)
		if err == nil {
			break
		}
		if !errors.Is(err, envcache.ErrLeaseTaken) || time.Now().After(deadline) {
			t.Fatalf("another's Acquire() error = %v", err)
		}
	}
	select {
	case <-held.Lost():
	default:
		t.Error("another has the lease and its first holder doesn't know")
	}
}

// Redis gets each renewal and no reply comes back: the holder can't know, so it
// has lost the lease when its ttl is over, even though a renewal hangs.
func TestLostWithoutReplies(t *testing.T) {
	t.Parallel()
	p, behind, _ := through(t)
	var failed atomic.Int64
	leaser := behind.Leaser()
	leaser.RenewFailed = func() { failed.Add(1) }
	held, err := leaser.Acquire(t.Context(), "a", 300*time.Millisecond)
	if err != nil {
		t.Fatalf("Acquire() error = %v", err)
	}
	p.set(func(p *proxy) { p.mute = math.MaxInt })
	wait(t, "Lost", held.Lost())
	if failed.Load() == 0 {
		t.Error("nobody was told of a renewal that failed")
	}
	if err := held.Release(t.Context()); err != nil {
		t.Errorf("Release() of a lost lease: error = %v", err)
	}
}

// A holder outlives an outage that is shorter than its ttl.
func TestShortOutageLosesNothing(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	p, behind, beside := through(t)
	held := mustAcquire(t, behind, ttl)
	p.set(func(p *proxy) { p.refuse = true })
	wait(t, "a renewal fails", p.refused)
	p.set(func(p *proxy) { p.refuse = false })
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(patience); ; <-again.C {
		left, err := beside.redis.PTTL(t.Context(), beside.prefix+"lease:a").Result()
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("PTTL = %v, %v, want it renewed", left, err)
		}
		if left > ttl*9/10 {
			break
		}
	}
	select {
	case <-held.Lost():
		t.Error("the lease was lost")
	default:
	}
}

// Redis is away: Release says so, has stopped the renewal all the same, and can
// be repeated.
func TestReleaseWhileAway(t *testing.T) {
	t.Parallel()
	p, behind, beside := through(t)
	held := mustAcquire(t, behind, time.Minute)
	p.set(func(p *proxy) { p.refuse = true })
	if err := held.Release(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Release() error = %v, want ErrUnavailable", err)
	}
	select {
	case <-held.(*lease).stopped:
	default:
		t.Error("Release returned while the renewal runs")
	}
	p.set(func(p *proxy) { p.refuse = false })
	if err := held.Release(t.Context()); err != nil {
		t.Errorf("second Release() error = %v", err)
	}
	mustAcquire(t, beside, time.Minute)
}

func TestLeaseKeyIsAnUnguessableOwnerWithATTL(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	owners := map[string]bool{}
	for range 3 {
		held := mustAcquire(t, c, time.Minute)
		owner, err := c.redis.Get(t.Context(), c.prefix+"lease:a").Result()
		if err != nil || len(owner) != 32 || owners[owner] {
			t.Errorf("owner %q, %v, want 128 bits that are new", owner, err)
		}
		owners[owner] = true
		if left, err := c.redis.PTTL(t.Context(), c.prefix+"lease:a").Result(); err != nil || left <= 0 || left > time.Minute {
			t.Errorf("PTTL = %v, %v", left, err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.redis.Get(t.Context(), c.prefix+"lease:a").Err(); !errors.Is(err, goredis.Nil) {
			t.Errorf("GET after Release: %v, want nothing", err)
		}
	}
}

func TestShortTTLIsRefused(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	for _, ttl := range []time.Duration{-1, 0, time.Millisecond, minTTL - 1} {
		if held, err := c.Leaser().Acquire(t.Context(), rand.Text(), ttl); err == nil {
			t.Errorf("Acquire(ttl %v) = %v, want an error", ttl, held)
		}
	}
}

func BenchmarkLease(b *testing.B) {
	leaser := mustOpen(b).Leaser()
	for b.Loop() {
		held, err := leaser.Acquire(b.Context(), "a", time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		if err := held.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

package envcache

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/tests/kit"

	"golang.org/x/sys/unix"
)

// generous grants every lease to everybody.
type generous struct{}

func (generous) Acquire(context.Context, string, time.Duration) (Lease, error) {
	return generousLease{}, nil
}

type generousLease struct{}

func (generousLease) Lost() <-chan struct{}         { return nil }
func (generousLease) Release(context.Context) error { return nil }

// away is a service that does not answer.
type away struct{ asked atomic.Int32 }

func (a *away) Acquire(context.Context, string, time.Duration) (Lease, error) {
	a.asked.Add(1)
	return nil, errors.New("connection refused")
}

// Leases save work; nothing is wrong without them.
func TestLeaseThatGrantsEverybodyPublishesOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		r := newRig(t)
		recipe := r.recipe(t, "seq 1000 >numbers")
		gateways := make([]*Cache, 4)
		for i := range gateways {
			gateways[i] = r.gateway(t, func(o *Options) { o.Local, o.Shared = generous{}, generous{} })
		}
		var callers sync.WaitGroup
		digests := make([]string, len(gateways))
		for i, c := range gateways {
			callers.Go(func() {
				env, err := c.Ensure(t.Context(), recipe)
				if err != nil {
					t.Errorf("Ensure() error = %v", err)
					return
				}
				digests[i] = env.Digest
				wantSealed(t, env.Dir)
			})
			callers.Go(func() {
				if err := c.Reap(t.Context()); err != nil {
					t.Logf("Reap() = %v", err) // others delete the same things
				}
			})
		}
		callers.Wait()
		for _, d := range digests {
			if d != digests[0] {
				t.Errorf("digests = %q", digests)
			}
		}
		for _, c := range gateways {
			if err := c.Reap(t.Context()); err != nil {
				t.Errorf("Reap() = %v", err)
			}
		}
		wantPointer(t, gateways[0], digests[0])
		r.nothingLeft(t)
	}
}

func TestSharedLeaseThatIsAwayCostsNoEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	redis := &away{}
	mustEnsure(t, r.gateway(t, func(o *Options) { o.Shared = redis }), r.recipe(t, "true"))
	if redis.asked.Load() == 0 {
		t.Error("the shared lease was not asked for")
	}
}

// Whoever holds the lease builds; the others wait for what comes of it.
func TestHeldLeaseIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"local", "shared"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			told := newEvents()
			shared := NewFileLeaser(t.TempDir())
			c := r.gateway(t, func(o *Options) { o.Shared, o.Events = shared, told.take })
			recipe := r.recipe(t, "true")
			leaser := c.Local
			if name == "shared" {
				leaser = shared
			}
			held, err := leaser.Acquire(t.Context(), "build."+mustDigest(t, c, recipe), 0)
			if err != nil {
				t.Fatal(err)
			}
			c.Plan([]*Recipe{recipe})
			told.await(t, func(e Event) bool { return e.Phase == PhaseQueued })
			r.engine.wantBuilders(t, 0)
			if err := held.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustEnsure(t, c, recipe)
			for _, leaser := range []Leaser{c.Local, shared} { // both were given back
				kit.Until(t, func() bool {
					lease, err := leaser.Acquire(t.Context(), "build."+mustDigest(t, c, recipe), 0)
					return err == nil && lease.Release(t.Context()) == nil
				})
			}
		})
	}
}

// Of two gateways that verify the same attempt one is held for dead; when it
// wakes up it changes nothing.
func TestClaimOfADeadGatewayIsTakenOver(t *testing.T) {
	t.Parallel()
	v := newVolume(t)
	name := filepath.Base(v.attemptFor(t, someDigest))
	first, err := v.claim(name, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.claim(name, time.Hour); !errors.Is(err, errAgain) {
		t.Errorf("second claim() = %v, want errAgain", err)
	}
	second, err := v.claim(name, 0)
	if err != nil {
		t.Fatalf("claim() of a stale claim = %v", err)
	}
	if _, err := v.publish(v.attempt(first), someDigest); err == nil {
		t.Error("the first, awake again, publishes")
	}
	if err := v.unclaim(first); err != nil {
		t.Errorf("unclaim() of a lost claim = %v", err)
	}
	if mine, err := v.publish(v.attempt(second), someDigest); err != nil || !mine {
		t.Errorf("publish() = %v, %v", mine, err)
	}
	if _, err := v.claim(name, 0); !errors.Is(err, errAgain) {
		t.Errorf("claim() of what is published = %v, want errAgain", err)
	}
}

func TestClaimFromTheFutureGetsOld(t *testing.T) {
	t.Parallel()
	future := someDigest + ".0" + claimMark + "ffffffffffff-0"
	if age := claimAge(future); age < time.Hour {
		t.Errorf("claimAge(%s) = %v, want as old as it is ahead", future, age)
	}
	if age := claimAge(someDigest + claimMark + "nonsense"); age < time.Hour {
		t.Errorf("claimAge of nonsense = %v", age)
	}
}

// A child that is forked and has not called exec yet holds a copy of the
// descriptor: the release must not depend on its being closed.
func TestFileLeaseReleaseFreesCopies(t *testing.T) {
	t.Parallel()
	leaser := NewFileLeaser(t.TempDir())
	lease, err := leaser.Acquire(t.Context(), "copied", 0)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.Dup(int(lease.(*fileLease).file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(copied)
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := leaser.Acquire(t.Context(), "copied", 0)
	if err != nil {
		t.Fatalf("Acquire() after Release() with a copy of the descriptor open = %v", err)
	}
	if err := again.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

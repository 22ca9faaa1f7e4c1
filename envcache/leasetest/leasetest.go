// Package leasetest is what every envcache.Leaser has to pass: the port's
// comments as tests, with real holders that really die.
package leasetest

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"attune/envcache"
)

// Options says what kind of lease it is, and what the tests can do to it from
// outside.
type Options struct {
	// Address by which a holder in another process opens a leaser of the same
	// leases: what Hold's open is given.
	Address string
	// Expires: a lease whose holder dies ends by its ttl, and not before.
	Expires bool
	// TakeOver makes an unknown owner hold the lease called name, as if it had
	// expired unnoticed; for a minute. Nil: nobody can.
	TakeOver func(t *testing.T, name string)
	// Drop makes the service forget the lease. Nil: it can't.
	Drop func(t *testing.T, name string)
}

// ttl of all leases here: short to wait for, long for a scheduler.
const ttl = 300 * time.Millisecond

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// Exercise runs all tests in parallel. All leasers that newLeaser makes grant
// the same leases. The test binary's TestMain calls Hold first.
func Exercise(t *testing.T, newLeaser func(*testing.T) envcache.Leaser, options Options) {
	t.Helper()
	tests := map[string]func(*testing.T, func(*testing.T) envcache.Leaser){
		"OneHolderAtATime":            oneHolderAtATime,
		"OneLeaserIsEnough":           oneLeaserIsEnough,
		"SecondIsTaken":               secondIsTaken,
		"ReleaseFreesAtOnce":          releaseFreesAtOnce,
		"ReleaseTwice":                releaseTwice,
		"ReleaseTwiceSparesTheNext":   releaseTwiceSparesTheNext,
		"ReleaseAtOnce":               releaseAtOnce,
		"CancelledContext":            cancelledContext,
		"LeaseOutlivesAcquireContext": leaseOutlivesAcquireContext,
		"NamesAreIndependent":         namesAreIndependent,
		"NamesAreChecked":             namesAreChecked,
		"HeldBeyondItsTTL":            heldBeyondItsTTL,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newLeaser)
		})
	}
	t.Run("KilledHolder", func(t *testing.T) {
		t.Parallel()
		killedHolder(t, newLeaser(t), options)
	})
	t.Run("TakenOver", func(t *testing.T) {
		t.Parallel()
		if options.TakeOver == nil {
			t.Skip("nobody can take such a lease away")
		}
		takenOver(t, newLeaser(t), options.TakeOver)
	})
	t.Run("Dropped", func(t *testing.T) {
		t.Parallel()
		if options.Drop == nil {
			t.Skip("nobody can forget such a lease")
		}
		dropped(t, newLeaser, options.Drop)
	})
}

// someName is a lease that no other test asks for.
func someName() string { return "lease-" + rand.Text() }

func mustAcquire(t *testing.T, l envcache.Leaser, name string) envcache.Lease {
	t.Helper()
	held, err := l.Acquire(t.Context(), name, ttl)
	if err != nil {
		t.Fatalf("Acquire(%s) error = %v", name, err)
	}
	t.Cleanup(func() {
		if err := held.Release(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("Release(%s) at the end: error = %v", name, err)
		}
	})
	return held
}

func mustRelease(t *testing.T, held envcache.Lease) {
	t.Helper()
	if err := held.Release(t.Context()); err != nil {
		t.Fatalf("Release() error = %v", err)
	}
}

func wantTaken(t *testing.T, l envcache.Leaser, name string) {
	t.Helper()
	held, err := l.Acquire(t.Context(), name, ttl)
	if err == nil {
		mustRelease(t, held)
	}
	if !errors.Is(err, envcache.ErrLeaseTaken) {
		t.Errorf("Acquire(%s) error = %v, want ErrLeaseTaken", name, err)
	}
}

func wantHeld(t *testing.T, held envcache.Lease) {
	t.Helper()
	select {
	case <-held.Lost():
		t.Error("the lease was lost")
	default:
	}
}

func wantLost(t *testing.T, held envcache.Lease) {
	t.Helper()
	select {
	case <-held.Lost():
	case <-time.After(patience):
		t.Fatalf("the lease isn't lost after %v", patience)
	}
}

// acquireEventually asks until it gets the lease, and returns how long it took.
func acquireEventually(t *testing.T, l envcache.Leaser, name string) time.Duration {
	t.Helper()
	start := time.Now()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for time.Since(start) < patience {
		held, err := l.Acquire(t.Context(), name, ttl)
		if err == nil {
			took := time.Since(start)
			mustRelease(t, held)
			return took
		}
		if !errors.Is(err, envcache.ErrLeaseTaken) {
			t.Fatalf("Acquire(%s) error = %v", name, err)
		}
		<-again.C
	}
	t.Fatalf("Acquire(%s): still taken after %v", name, patience)
	return 0
}

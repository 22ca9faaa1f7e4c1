package leasetest

import (
	"testing"
	"time"

	"attune/envcache"
)

// stayHeld asks for a held lease again and again until long after its ttl.
func stayHeld(t *testing.T, contender envcache.Leaser, name string, held envcache.Lease) {
	t.Helper()
	over := time.NewTimer(3*ttl + ttl/2)
	defer over.Stop()
	again := time.NewTicker(ttl / 10)
	defer again.Stop()
	for {
		select {
		case <-held.Lost():
			t.Fatal("the lease was lost")
		case <-over.C:
			return
		case <-again.C:
			wantTaken(t, contender, name)
		}
	}
}

func heldBeyondItsTTL(t *testing.T, newLeaser func(*testing.T) envcache.Leaser) {
	name := someName()
	held := mustAcquire(t, newLeaser(t), name)
	stayHeld(t, newLeaser(t), name, held)
	mustRelease(t, held)
	mustAcquire(t, newLeaser(t), name)
}

// takenOver: the holder learns of it, and leaves the other's lease alone.
func takenOver(t *testing.T, leaser envcache.Leaser, takeOver func(*testing.T, string)) {
	name := someName()
	held := mustAcquire(t, leaser, name)
	takeOver(t, name)
	wantLost(t, held)
	mustRelease(t, held)
	mustRelease(t, held)
	wantTaken(t, leaser, name)

	// Released before it can know.
	name = someName()
	held = mustAcquire(t, leaser, name)
	takeOver(t, name)
	mustRelease(t, held)
	wantTaken(t, leaser, name)
}

// dropped: the service lost its memory. The first holder learns of it by its
// next renewal, whether or not there is a second one.
func dropped(t *testing.T, newLeaser func(*testing.T) envcache.Leaser, drop func(*testing.T, string)) {
	name := someName()
	held := mustAcquire(t, newLeaser(t), name)
	drop(t, name)
	wantLost(t, held)
	mustRelease(t, held)

	name = someName()
	held = mustAcquire(t, newLeaser(t), name)
	drop(t, name)
	second := mustAcquire(t, newLeaser(t), name)
	wantLost(t, held)
	mustRelease(t, held)
	stayHeld(t, newLeaser(t), name, second)
}

package envcache

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// ErrLeaseTaken says that somebody else holds the lease.
var ErrLeaseTaken = errors.New("lease is held by another")

// Leaser grants leases: locks that can be lost. A lease only saves work (one
// builder at a time); that an environment is never published twice or by halves
// is enforced at the volume, whatever a Leaser does.
//
// Adapters pass leasetest.Exercise.
type Leaser interface {
	// Acquire takes the lease called name for ttl, without waiting.
	// ErrLeaseTaken if another holder has it; any other error means that the
	// service behind it did not answer, and nothing is known. An acquire whose
	// answer was lost is retried inside with the same owner.
	Acquire(ctx context.Context, name string, ttl time.Duration) (Lease, error)
}

// Lease is a held lease. Until Release it renews itself in time (every third of
// its ttl, where it has one).
type Lease interface {
	// Lost is closed when the lease was lost or could not be renewed in time.
	Lost() <-chan struct{}
	// Release gives it back; it never takes another holder's lease away. No
	// error if it was lost before. Idempotent.
	Release(ctx context.Context) error
}

// leaseName is what a lease may be called: it becomes a file name and a part of
// a key. No separator, no leading dot.
var leaseName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// CheckLeaseName is what every Leaser asks before it acquires.
func CheckLeaseName(name string) error {
	if !leaseName.MatchString(name) {
		return fmt.Errorf("lease name %q: want %s", name, leaseName)
	}
	return nil
}

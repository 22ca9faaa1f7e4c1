package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"attune/envcache"
)

// Leases counts leases by what grants them: "file" or "redis".
type Leases struct {
	asked, lost, renewFailed *Counter
}

// NewLeases makes the metrics of leases.
func NewLeases(r *Registry) *Leases {
	return &Leases{
		asked:       r.Counter("lease_acquires_total", "Leases that were asked for, by outcome: acquired, taken by another, or error.", "backend", "outcome"),
		lost:        r.Counter("leases_lost_total", "Leases that were lost while they were held.", "backend"),
		renewFailed: r.Counter("lease_renew_failures_total", "Renewals of leases that got no answer; the lease is lost if they go on.", "backend"),
	}
}

// RenewFailed returns what counts a renewal without an answer.
func (l *Leases) RenewFailed(backend string) func() { return l.renewFailed.With(backend).Inc }

// Of counts what a Leaser grants.
func (l *Leases) Of(backend string, inner envcache.Leaser) envcache.Leaser {
	return &countedLeaser{
		inner: inner, acquired: l.asked.With(backend, "acquired"), taken: l.asked.With(backend, "taken"),
		failed: l.asked.With(backend, "error"), lost: l.lost.With(backend),
	}
}

type countedLeaser struct {
	inner                         envcache.Leaser
	acquired, taken, failed, lost *Counted
}

var _ envcache.Leaser = (*countedLeaser)(nil)

// Acquire implements envcache.Leaser.
func (l *countedLeaser) Acquire(ctx context.Context, name string, ttl time.Duration) (envcache.Lease, error) {
	lease, err := l.inner.Acquire(ctx, name, ttl)
	switch {
	case errors.Is(err, envcache.ErrLeaseTaken):
		l.taken.Inc()
		return nil, err
	case err != nil:
		l.failed.Inc()
		return nil, err
	}
	l.acquired.Inc()
	held := &countedLease{Lease: lease, released: make(chan struct{})}
	go func() {
		select {
		case <-lease.Lost():
			select {
			case <-held.released: // before it was lost
			default:
				l.lost.Inc()
			}
		case <-held.released:
		}
	}()
	return held, nil
}

// countedLease ends the watch for its loss when it is given back.
type countedLease struct {
	envcache.Lease
	once     sync.Once
	released chan struct{}
}

// Release implements envcache.Lease. A loss in the same moment may go uncounted.
func (l *countedLease) Release(ctx context.Context) error {
	l.once.Do(func() { close(l.released) })
	return l.Lease.Release(ctx)
}

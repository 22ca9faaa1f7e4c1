package envcache

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// memLeases is a service of leases with a TTL, which can be flushed and can be
// away.
type memLeases struct {
	mu   sync.Mutex
	held map[string]memLease
	away bool
}

// memLease is valid while its owner renews it, and then until its TTL is over.
type memLease struct {
	owner   *turnstile
	renewed bool
	until   time.Time
}

func (l memLease) valid() bool { return l.renewed || time.Now().Before(l.until) }

// renewal tells whether owner (nil: everybody) renews its leases from now on.
// What has run out meanwhile is lost.
func (l *memLeases) renewal(owner *turnstile, on bool) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if owner != nil {
		owner.asleep = !on
	}
	for name, lease := range l.held {
		other := owner != nil && lease.owner != owner || lease.owner == nil || on && lease.owner.asleep
		if other || lease.renewed == on || !lease.valid() {
			continue
		}
		l.held[name] = memLease{lease.owner, on, time.Now().Add(scheduleLease)}
	}
}

// setAway takes the service away, and all renewal with it.
func (l *memLeases) setAway(away bool) {
	l.renewal(nil, !away)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.away = away
}

// valid lists the leases that somebody holds.
func (l *memLeases) valid() (names []string) {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, lease := range l.held {
		if lease.valid() {
			names = append(names, name)
		}
	}
	return names
}

func (l *memLeases) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.held)
}

// gatedLeaser is the service as one gateway has it.
type gatedLeaser struct {
	leases *memLeases
	gate   *turnstile
}

func (l gatedLeaser) Acquire(_ context.Context, name string, ttl time.Duration) (Lease, error) {
	l.gate.pass("acquire")
	l.leases.mu.Lock()
	defer l.leases.mu.Unlock()
	if l.leases.away {
		return nil, errors.New("connection refused")
	}
	if held, taken := l.leases.held[name]; taken && held.valid() {
		return nil, ErrLeaseTaken
	}
	l.leases.held[name] = memLease{l.gate, true, time.Now().Add(ttl)}
	return gatedLease{l, name}, nil
}

type gatedLease struct {
	gatedLeaser
	name string
}

func (gatedLease) Lost() <-chan struct{} { return nil }

// Release does nothing in a dead gateway: its goroutines end by the way of
// deferred calls, which a killed process doesn't make.
func (l gatedLease) Release(context.Context) error {
	select {
	case <-l.gate.dead:
		runtime.Goexit()
	default:
	}
	l.gate.pass("release")
	l.leases.mu.Lock()
	defer l.leases.mu.Unlock()
	held := l.leases.held[l.name]
	switch {
	case held.owner != l.gate: // it was lost
	case l.leases.away:
		l.leases.held[l.name] = memLease{until: time.Now().Add(scheduleLease)} // nobody renews it
		return errors.New("connection refused")
	default:
		delete(l.leases.held, l.name)
	}
	return nil
}

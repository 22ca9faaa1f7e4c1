package envcache

import (
	"context"
	"errors"
	"runtime"
	"time"
)

// memLeases is a service of leases with a TTL, which can be flushed and can be
// away.
type memLeases struct {
	world *scheduleWorld
	held  map[string]memLease
	away  bool
}

type memLease struct {
	owner *turnstile
	until time.Time
}

// renew is what the renewal of each gateway does in time. One that is paused or
// dead doesn't.
func (l *memLeases) renew() {
	for _, g := range l.world.gateways {
		for name, lease := range l.held {
			if lease.owner == g.gate && !g.paused && !l.away {
				l.held[name] = memLease{g.gate, time.Now().Add(scheduleLease)}
			}
		}
	}
}

// gatedLeaser is the service as one gateway has it.
type gatedLeaser struct {
	leases  *memLeases
	gateway *scheduleGateway
	gate    *turnstile
}

func (l gatedLeaser) Acquire(_ context.Context, name string, ttl time.Duration) (Lease, error) {
	l.gate.pass("acquire")
	w := l.gateway.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if l.leases.away {
		return nil, errors.New("connection refused")
	}
	if held, taken := l.leases.held[name]; taken && time.Now().Before(held.until) {
		return nil, ErrLeaseTaken
	}
	l.leases.held[name] = memLease{l.gate, time.Now().Add(ttl)}
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
	w := l.gateway.world
	w.mu.Lock()
	defer w.mu.Unlock()
	held := l.leases.held[l.name]
	switch {
	case held.owner != l.gate: // it was lost
	case l.leases.away:
		l.leases.held[l.name] = memLease{until: held.until} // nobody renews it
		return errors.New("connection refused")
	default:
		delete(l.leases.held, l.name)
	}
	return nil
}

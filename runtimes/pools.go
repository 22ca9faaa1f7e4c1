package runtimes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-multierror"

	"attune/runtimes/container"
)

// Errors of Acquire, beside the engine's.
var (
	// ErrOverloaded says that as many calls wait as may. *OverloadedError.
	ErrOverloaded = errors.New("too many calls are waiting")
	// ErrClosed says that the pools take no more work.
	ErrClosed = errors.New("the pools are closed")
)

// OverloadedError is ErrOverloaded with the time after which a slot is
// expected: queue length × mean service time ÷ slots.
type OverloadedError struct{ RetryAfter time.Duration }

func (e *OverloadedError) Error() string { return ErrOverloaded.Error() }

// Is makes it an ErrOverloaded.
func (e *OverloadedError) Is(target error) bool { return target == ErrOverloaded }

// PoolLimits bound the pools of one gateway.
type PoolLimits struct {
	Total       int           // instances of all pools together
	PerPool     int           // instances of one shape
	Queue       int           // calls that wait in one pool
	IdleTimeout time.Duration // an instance unused for so long is removed
}

// Pools keeps warm instances, one pool per Shape.
type Pools struct {
	engine container.Engine
	box    *Box
	limits PoolLimits
	log    *slog.Logger

	total atomic.Int64 // instances, starting ones included
	mu    sync.RWMutex // guards pools, not what is in a pool
	pools map[key]*pool
	// starved says that a start found no room since the last time there was some.
	starved atomic.Bool

	epoch atomic.Uint64 // raised by Renew

	ctx    context.Context // of starts; ends with Close
	cancel context.CancelCauseFunc

	life       sync.Mutex     // guards closed; taken last
	closed     bool           // Close was called: background grows no more
	background sync.WaitGroup // reservations, starts, watches and the idle sweep
	failures   errorList      // of removals, reported by Close
}

// NewPools returns pools without any instance yet.
func NewPools(engine container.Engine, box *Box, limits PoolLimits, log *slog.Logger) *Pools {
	p := &Pools{
		engine: engine, box: box, limits: limits, log: log,
		pools: make(map[key]*pool),
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.background.Go(p.sweep)
	return p
}

// Acquire returns an instance of the shape for one execution, a warm one where
// there is one. It waits until ctx ends. The caller owns the instance until
// Release. The duration tells how long a new container's start took, if one was
// waited for.
func (p *Pools) Acquire(ctx context.Context, shape *Shape) (*Instance, time.Duration, error) {
	for {
		pool, err := p.pool(shape)
		if err != nil {
			return nil, 0, err
		}
		instance, waiter, err := pool.take()
		if errors.Is(err, errStalePool) {
			continue // the sweep removed it in between
		}
		if err != nil {
			return nil, 0, err
		}
		var started time.Duration
		if waiter != nil {
			instance, started, err = pool.await(ctx, waiter)
			if err != nil {
				return nil, 0, err
			}
		}
		if p.usable(instance) {
			return instance, started, nil
		}
		pool.drop(instance) // it died while it was idle: nothing was lost
	}
}

// Release gives an instance back after an execution that took service. An
// instance that may not be used again is removed.
func (p *Pools) Release(instance *Instance, reusable bool, service time.Duration) {
	pool, err := p.pool(instance.shape)
	if err != nil || !reusable || !p.usable(instance) {
		if pool != nil {
			pool.observe(service)
			pool.drop(instance)
			return
		}
		p.remove(instance)
		return
	}
	pool.observe(service)
	pool.give(instance, 0)
}

// Renew lets no instance that was started before serve another call: a mount
// shows the directory that was there at its start, though another of the same
// content may have taken its place.
func (p *Pools) Renew() {
	p.epoch.Add(1)
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, pool := range p.pools {
		pool.retire(func(i *Instance) bool { return !p.usable(i) }, -1)
	}
}

// usable tells whether an instance may serve another call.
func (p *Pools) usable(i *Instance) bool {
	return i.alive() && i.epoch == p.epoch.Load()
}

// Counts reports how many instances there are and how many of them are idle.
func (p *Pools) Counts() (total, idle int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, pool := range p.pools {
		pool.mu.Lock()
		idle += len(pool.idle)
		pool.mu.Unlock()
	}
	return int(p.total.Load()), idle
}

// Close refuses new work, removes every idle instance, and returns when every
// instance is gone, the ones in use after their Release. Idempotent.
func (p *Pools) Close() error {
	p.life.Lock()
	p.closed = true
	p.life.Unlock()
	p.cancel(ErrClosed)
	p.mu.Lock()
	pools := p.pools
	p.pools = make(map[key]*pool)
	p.mu.Unlock()
	for _, pool := range pools {
		pool.close()
	}
	p.background.Wait()
	return p.failures.err()
}

func (p *Pools) pool(shape *Shape) (*pool, error) {
	key := shape.key()
	p.mu.RLock()
	found := p.pools[key]
	p.mu.RUnlock()
	if found != nil {
		return found, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if p.pools[key] == nil {
		p.pools[key] = &pool{owner: p, shape: shape}
	}
	return p.pools[key], nil
}

// remove destroys an instance in the background, and gives its reservation back.
func (p *Pools) remove(instance *Instance) {
	go func() {
		defer p.unreserve()
		if err := instance.destroy(context.Background()); err != nil {
			p.failures.add(err)
			p.log.Warn("instance could not be removed", "instance", instance.run, "error", err)
		}
	}()
}

// spawn runs f in the background, which Close waits for; false after Close.
func (p *Pools) spawn(f func()) bool {
	p.life.Lock()
	defer p.life.Unlock()
	if p.closed {
		return false
	}
	p.background.Go(f)
	return true
}

// sweep removes instances that have been idle for too long.
func (p *Pools) sweep() {
	ticker := time.NewTicker(max(p.limits.IdleTimeout/4, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-ticker.C:
			p.mu.Lock()
			for key, pool := range p.pools {
				pool.retire(func(i *Instance) bool { return now.Sub(i.idleSince) >= p.limits.IdleTimeout }, -1)
				if pool.closeIfEmpty() {
					delete(p.pools, key)
				}
			}
			p.mu.Unlock()
		}
	}
}

// errorList collects failures from several goroutines.
type errorList struct {
	mu   sync.Mutex
	errs *multierror.Error
}

func (l *errorList) add(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = multierror.Append(l.errs, err)
}

func (l *errorList) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.errs.ErrorOrNil(); err != nil {
		return fmt.Errorf("remove instances: %w", err)
	}
	return nil
}

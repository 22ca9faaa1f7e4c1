package runtimes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
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

// PoolLimits bound the pools of one gateway. Zero means no limit for Total,
// Memory, CPU and PerPool.
type PoolLimits struct {
	Total       int           // instances of all pools together
	Memory      int64         // bytes: the sum of their limits
	CPU         float64       // cores: likewise
	PerPool     int           // instances of one shape
	Queue       int           // calls that wait in one pool
	IdleTimeout time.Duration // an instance unused for so long is removed
}

// Pools keeps warm instances, one pool per Shape. A call that finds a free slot
// locks nothing but its own pool.
type Pools struct {
	limits PoolLimits
	log    *slog.Logger
	budget *budget
	// launch starts an instance and waits until it can be used. On an error
	// nothing is left.
	launch func(ctx context.Context, shape *Shape) (*Instance, error)

	pools    atomic.Pointer[map[key]*pool] // replaced as a whole, never changed
	changing sync.Mutex                    // held by who replaces it
	tenants  sync.Map                      // pack → *tenant
	counters counters

	ctx    context.Context // of starts; ends with Close
	cancel context.CancelCauseFunc

	life       sync.Mutex     // guards closed; taken last
	closed     bool           // Close was called: background grows no more
	background sync.WaitGroup // starts, instances until they are removed, and the idle sweep
	failures   errorList      // of removals, reported by Close
}

// NewPools returns pools without any instance yet.
func NewPools(engine container.Engine, box *Box, limits PoolLimits, log *slog.Logger) *Pools {
	return newPools(limits, log, func(ctx context.Context, shape *Shape) (*Instance, error) {
		return launch(ctx, engine, box, shape)
	})
}

func newPools(limits PoolLimits, log *slog.Logger, launch func(context.Context, *Shape) (*Instance, error)) *Pools {
	p := &Pools{limits: limits, log: log, launch: launch}
	p.pools.Store(&map[key]*pool{})
	p.budget = newBudget(p, limits)
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.background.Go(p.sweep)
	p.background.Go(func() { p.budget.run(p.ctx) })
	return p
}

// Acquire returns a slot of an instance of the shape for one execution, a warm
// one where there is one. It waits until ctx ends. The caller owns the slot
// until Release. The duration tells how much of the wait was a container's
// start; also beside an error.
func (p *Pools) Acquire(ctx context.Context, shape *Shape) (*Slot, time.Duration, error) {
	for {
		pool, err := p.pool(shape)
		if err != nil {
			return nil, 0, err
		}
		slot, waiter, err := pool.take()
		if errors.Is(err, errStalePool) {
			continue // the sweep removed it in between
		}
		if err != nil {
			return nil, 0, err
		}
		var started time.Duration
		if waiter != nil {
			slot, started, err = pool.await(ctx, waiter)
			if err != nil {
				return nil, started, err
			}
		}
		if slot.instance.alive() {
			return slot, started, nil
		}
		pool.release(slot, false, pool.mean()) // it died while it was idle: nothing was lost
	}
}

// Release gives a slot back after an execution that took service. An instance
// that may not be used again gets no further executions, and is removed after
// those that run in its other slots.
func (p *Pools) Release(slot *Slot, reusable bool, service time.Duration) {
	pool := slot.instance.pool
	if reusable && !slot.spoiled && slot.needsWorker() && !pool.once && pool.reemploy(slot, service) {
		return
	}
	pool.release(slot, reusable && !slot.spoiled, service)
}

// Renew lets no instance serve another call that mounts a directory whose path
// is another directory's by now.
func (p *Pools) Renew() {
	for _, pool := range *p.pools.Load() {
		roots := pool.shape.roots()
		pool.weed(func(i *Instance) bool { return i.roots != roots }, -1, removedReplaced)
	}
}

// Counts reports how many instances there are, starting and leaving ones
// included, and how many of them are idle.
func (p *Pools) Counts() (total, idle int) {
	for _, pool := range *p.pools.Load() {
		pool.mu.Lock()
		for _, i := range pool.instances {
			if i.busy == 0 {
				idle++
			}
		}
		pool.mu.Unlock()
	}
	p.budget.mu.Lock()
	defer p.budget.mu.Unlock()
	return p.budget.used.instances, idle
}

// Close refuses new work, removes every idle instance, and returns when every
// instance is gone, the ones in use after their Release. Idempotent.
func (p *Pools) Close() error {
	p.life.Lock()
	p.closed = true
	p.life.Unlock()
	p.cancel(ErrClosed)
	p.changing.Lock()
	pools := *p.pools.Swap(&map[key]*pool{})
	p.changing.Unlock()
	for _, pool := range pools {
		pool.close()
	}
	p.background.Wait()
	return p.failures.err()
}

// pool finds or makes the pool of a shape.
func (p *Pools) pool(shape *Shape) (*pool, error) {
	key := shape.key()
	if found := (*p.pools.Load())[key]; found != nil {
		return found, nil
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.ctx.Err() != nil {
		return nil, ErrClosed
	}
	pools := maps.Clone(*p.pools.Load())
	if pools[key] == nil {
		pools[key] = newPool(p, shape)
		p.pools.Store(&pools)
	}
	return pools[key], nil
}

func (p *Pools) tenant(pack string) *tenant {
	found, _ := p.tenants.LoadOrStore(pack, &tenant{})
	return found.(*tenant)
}

// remove destroys an instance in the background, and then gives back what it
// took of the budget: before, where another pool waits for just that.
func (p *Pools) remove(i *Instance) {
	p.counters.removed[i.why].Add(1)
	if i.makesRoom {
		p.budget.giveBack(i.pool, i)
	}
	go func() {
		defer p.background.Done()
		p.destroy(i)
		if !i.makesRoom {
			p.budget.giveBack(i.pool, i)
		}
	}()
}

// destroy tries again for as long as the engine is away: what it has not removed
// would be nobody's, and run on. Close ends the waiting with a last try.
func (p *Pools) destroy(i *Instance) {
	for wait := firstBackOff; ; wait = min(2*wait, mostBackOff) {
		last := p.ctx.Err() != nil
		err := i.destroy(context.Background())
		if err == nil {
			return
		}
		p.log.Warn("instance could not be removed", "instance", i.run, "error", err)
		if last || !errors.Is(err, container.ErrUnavailable) {
			p.failures.add(err)
			return
		}
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
		}
	}
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

// sweep tends the pools and takes out those without a reason to stay.
func (p *Pools) sweep() {
	ticker := time.NewTicker(min(max(p.limits.IdleTimeout/4, 10*time.Millisecond), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-ticker.C:
			p.tend(now)
		}
	}
}

func (p *Pools) tend(now time.Time) {
	pools := *p.pools.Load()
	lacking := map[*tenant]bool{} // packs with a pool that isn't complete
	for _, pool := range pools {
		if !pool.complete() {
			lacking[pool.tenant] = true
		}
	}
	var empty []key
	for key, pool := range pools {
		pool.tend(now, !lacking[pool.tenant])
		if pool.closeIfEmpty() {
			empty = append(empty, key)
		}
	}
	p.budget.stir() // for what is kept: it doesn't wake with every instance that becomes idle
	if len(empty) == 0 {
		return
	}
	p.changing.Lock()
	defer p.changing.Unlock()
	pools = maps.Clone(*p.pools.Load())
	for _, key := range empty {
		delete(pools, key)
	}
	p.pools.Store(&pools)
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

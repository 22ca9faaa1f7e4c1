package runtimes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrTooBig says that one instance of the shape is more than the gateway's
// budget: its limits must be lowered, or the operator's budget raised.
var ErrTooBig = errors.New("an instance is larger than the gateway's budget")

// tenure is how long the only instance of a pack serves before it makes room for
// a pack that has none: a start takes long, and two packs that took turns by the
// call would do nothing else.
const tenure = time.Second

// resources are what instances take. In a limit zero means: none.
type resources struct {
	instances int
	memory    int64
	cpu       float64
}

func (r resources) plus(other resources) resources {
	return resources{r.instances + other.instances, r.memory + other.memory, r.cpu + other.cpu}
}

func (r resources) minus(other resources) resources {
	return r.plus(resources{-other.instances, -other.memory, -other.cpu})
}

// within tells whether r is no more than limit. Sums of cores are rounded.
func (r resources) within(limit resources) bool {
	return (limit.instances == 0 || r.instances <= limit.instances) &&
		(limit.memory == 0 || r.memory <= limit.memory) &&
		(limit.cpu == 0 || r.cpu <= limit.cpu+1e-6)
}

// tenant is a pack among those that share the budget.
type tenant struct{ instances atomic.Int64 }

// budget is what the instances of all pools may take together. Pools ask it for
// room, and one goroutine gives it to them in turn: a pool whose calls wait
// before one that only keeps something warm, of these the pack with the fewest
// instances, of these the pool with the fewest, of these who has asked first. Where there is none, idle instances
// of others are evicted, the longest idle first, kept ones last; where nothing
// is idle, the pack with the most instances loses the next slot that is freed.
//
// Acquire and Release look at two atomics; only starts and removals lock.
type budget struct {
	owner *Pools
	limit resources
	wake  chan struct{} // buffered: something has changed that the goroutine waits for

	blocked atomic.Bool           // a pool whose calls wait found no room
	claim   atomic.Pointer[claim] // on the next slot that is freed; nil = none

	mu       sync.Mutex
	used     resources
	line     []*pool // that have asked, each once, in order
	yielding int     // instances that yielded and aren't gone yet
}

// claim is what a pool without room asks of the others.
type claim struct {
	by     *pool
	tenant int64 // instances of another pack from which on that yields
	pool   int   // and of another pool of the same pack
}

func newBudget(owner *Pools, limits PoolLimits) *budget {
	return &budget{
		owner: owner, wake: make(chan struct{}, 1),
		limit: resources{instances: limits.Total, memory: limits.Memory, cpu: limits.CPU},
	}
}

// ask puts a pool in line. The pool is locked.
func (b *budget) ask(p *pool) {
	b.mu.Lock()
	if !slices.Contains(b.line, p) {
		b.line = append(b.line, p)
	}
	b.mu.Unlock()
	b.stir()
}

// stir has the line looked at again.
func (b *budget) stir() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// idled says that an instance could be evicted.
func (b *budget) idled() {
	if b.blocked.Load() {
		b.stir()
	}
}

// left says that a call has left its line, so that a pool may need less.
func (b *budget) left() { b.idled() }

// run gives room until ctx ends.
func (b *budget) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
			for b.give() {
			}
		}
	}
}

// give finds room for the pool whose turn it is; false if there is nobody, or no
// room.
func (b *budget) give() bool {
	p, urgent := b.turn()
	b.blocked.Store(urgent) // before the search: what becomes idle from here on wakes us
	if p == nil {
		b.claim.Store(nil)
		return false
	}
	if !p.cost.within(b.limit) {
		p.refuse(fmt.Errorf("%w: %d bytes of memory and %g cores", ErrTooBig, p.cost.memory, p.cost.cpu))
		return true
	}
	for !b.take(p) {
		if b.evict(p, urgent) {
			continue
		}
		if urgent {
			b.claim.Store(b.demand(p))
		}
		return false
	}
	b.claim.Store(nil)
	if !p.granted() || !b.owner.spawn(p.launch) {
		p.ungranted()
		b.giveBack(p, nil)
	}
	return true
}

// turn takes pools that want nothing any more out of the line, and finds the
// one that is next.
func (b *budget) turn() (next *pool, urgent bool) {
	b.mu.Lock()
	line := slices.Clone(b.line)
	b.mu.Unlock()
	var fewest, smallest int64 // instances of the pack, and of the pool
	for _, p := range line {
		wants, calls := p.wants()
		if !wants {
			b.leave(p)
			continue
		}
		instances, size := p.tenant.instances.Load(), int64(p.size())
		fewer := instances < fewest || instances == fewest && size < smallest
		if next == nil || calls && !urgent || calls == urgent && fewer {
			next, urgent, fewest, smallest = p, calls, instances, size
		}
	}
	return next, urgent
}

// leave takes a pool out of the line, unless it has asked again.
func (b *budget) leave(p *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted > 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line = slices.DeleteFunc(b.line, func(other *pool) bool { return other == p })
}

// take takes room for one instance, if there is some.
func (b *budget) take(p *pool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.used.plus(p.cost).within(b.limit) {
		return false
	}
	b.used = b.used.plus(p.cost)
	p.tenant.instances.Add(1)
	// Behind the others who have asked.
	b.line = slices.DeleteFunc(b.line, func(other *pool) bool { return other == p })
	b.line = append(b.line, p)
	return true
}

// giveBack returns what an instance took; nil is one that never came to be.
func (b *budget) giveBack(p *pool, i *Instance) {
	p.tenant.instances.Add(-1)
	b.mu.Lock()
	b.used = b.used.minus(p.cost)
	if i != nil && i.yielded {
		b.yielding--
	}
	b.mu.Unlock()
	b.stir()
}

// evict removes the instance that has been idle longest, of another pool than
// for. One that is kept goes only for a call that waits, and last.
func (b *budget) evict(asker *pool, urgent bool) bool {
	for {
		victim := b.idlest(asker, false)
		if victim == nil && urgent {
			victim = b.idlest(asker, true)
		}
		if victim == nil {
			return false
		}
		if victim.weed(func(i *Instance) bool { i.makesRoom = i.busy == 0; return i.makesRoom }, 1, removedEvicted) == 1 {
			return true
		} // otherwise a call has just taken it
	}
}

// idlest is the pool of the instance that has been idle longest, kept ones among
// them or not.
func (b *budget) idlest(asker *pool, kept bool) *pool {
	var oldest *pool
	var since time.Time
	for _, p := range *b.owner.pools.Load() {
		if p == asker {
			continue
		}
		if at, any := p.idleSince(kept); any && (oldest == nil || at.Before(since)) {
			oldest, since = p, at
		}
	}
	return oldest
}

// idleSince is since when the pool's longest idle instance is that, of those
// above the floor unless kept ones count.
func (p *pool) idleSince(kept bool) (since time.Time, any bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !kept && p.surplus() == 0 {
		return since, false
	}
	for _, i := range p.instances {
		if !i.retiring && i.busy == 0 && (!any || i.idleSince.Before(since)) {
			since, any = i.idleSince, true
		}
	}
	return since, any
}

// demand is the claim of a pool that found no room; nil while one is already
// being met.
func (b *budget) demand(p *pool) *claim {
	b.mu.Lock()
	yielding := b.yielding
	b.mu.Unlock()
	if yielding > 0 {
		return nil
	}
	// Never so that the other would have fewer: it would want it back.
	c := &claim{by: p, tenant: max(p.tenant.instances.Load()+2, 2), pool: p.size() + 2}
	if p.tenant.instances.Load() == 0 {
		c.tenant = 1
	}
	if c.pool == 2 {
		c.pool = 1
	}
	if most := b.largest(p); most > c.tenant {
		c.tenant = most
	}
	return c
}

// largest is how many instances the pack with the most has that isn't p's.
func (b *budget) largest(p *pool) int64 {
	var most int64
	for _, other := range *b.owner.pools.Load() {
		if other.tenant != p.tenant {
			most = max(most, other.tenant.instances.Load())
		}
	}
	return most
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.live
}

// yields tells whether an instance with a slot that was just freed makes room
// for another pool. The pool is locked.
func (b *budget) yields(p *pool, i *Instance) bool {
	c := b.claim.Load()
	if c == nil || !c.concerns(p, i) || !b.claim.CompareAndSwap(c, nil) {
		return false
	}
	b.mu.Lock()
	b.yielding++
	b.mu.Unlock()
	i.yielded, i.makesRoom = true, true
	return true
}

// concerns tells whether the claim is on an instance of p.
func (c *claim) concerns(p *pool, i *Instance) bool {
	instances, least := int64(p.live), int64(c.pool)
	switch {
	case p == c.by:
		return false
	case p.tenant != c.by.tenant:
		instances, least = p.tenant.instances.Load(), c.tenant
	}
	return instances >= least && (least > 1 || time.Since(i.started) >= tenure)
}

// wants tells whether the pool still wants an instance, and for a call.
func (p *pool) wants() (wants, calls bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.wanted
	p.wanted = 0
	p.wanted = min(asked, max(p.lacking(), 0))
	return p.wanted > 0, p.needed() > p.starting
}

// granted turns a wish into a start; false if it isn't one any more.
func (p *pool) granted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting++
	p.live++
	if p.wanted == 0 || p.closed {
		return false
	}
	p.wanted--
	return true
}

// ungranted takes back what granted has noted.
func (p *pool) ungranted() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	p.live--
}

// refuse fails every call in line: no instance will ever be started.
func (p *pool) refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = 0
	p.failures, p.notBefore = max(p.failures, 1), time.Now().Add(mostBackOff)
	for w := p.next(); w != nil; w = p.next() {
		w.ready <- grant{err: err}
	}
}

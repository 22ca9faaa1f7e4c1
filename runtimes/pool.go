package runtimes

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// errStalePool says that a pool was removed between being found and being used.
var errStalePool = errors.New("pool was removed")

// pool holds the instances of one shape. The most recently used slot is taken
// first, so that the instances nobody needs age out.
//
// A call that finds no free slot waits in line. A new instance is started beside
// the wait, never in front of it: whichever is there first, a freed slot or one
// of a new instance, goes to the head of the line.
type pool struct {
	owner  *Pools
	shape  *Shape
	tenant *tenant
	cost   resources     // of one instance
	slots  int           // of one instance
	most   int           // instances
	once   bool          // an instance serves one execution
	idle   time.Duration // an instance unused for so long is removed

	mu        sync.Mutex
	closed    bool
	free      []*Slot // of instances that may be used, last used last
	instances []*Instance
	live      int // instances and those starting
	starting  int // instances for which there is room
	wanted    int // instances for which the budget was asked
	waiters   []*waiter
	returning int           // slots that get another worker
	service   time.Duration // moving mean of an execution's time
	looking   bool          // whether more are needed is asked again in a moment
	called    time.Time     // of the last call
	keeping
}

// waiter is a call in line.
type waiter struct {
	since time.Time
	ready chan grant // buffered: a grant never blocks
}

// grant is what a waiter gets.
type grant struct {
	slot  *Slot
	start time.Duration // how long its instance took to start; 0 if it was there before
	err   error
}

func newPool(owner *Pools, shape *Shape) *pool {
	most := owner.limits.PerPool
	if own := shape.MaxInstances; own > 0 && (most == 0 || own < most) {
		most = own
	}
	p := &pool{
		owner: owner, shape: shape, tenant: owner.tenant(shape.Pack),
		cost:  resources{instances: 1, memory: shape.Limits.Memory, cpu: shape.Limits.CPU},
		slots: max(shape.Slots, 1), most: most, once: shape.Isolation == IsolationContainer,
		idle: owner.limits.IdleTimeout,
	}
	if shape.IdleTimeout > 0 {
		p.idle = shape.IdleTimeout
	}
	return p
}

// take returns a free slot, or a place in line.
func (p *pool) take() (*Slot, *waiter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errStalePool
	}
	if n := len(p.free); n > 0 {
		slot := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		slot.instance.busy++
		if p.once {
			p.called = time.Now()
			p.startMore()
		}
		return slot, nil, nil
	}
	p.called = time.Now()
	if len(p.waiters) >= p.owner.limits.Queue {
		p.owner.counters.refused.Add(1)
		return nil, nil, &OverloadedError{RetryAfter: p.expected()}
	}
	w := &waiter{since: p.called, ready: make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	p.startMore()
	return nil, w, nil
}

// expected estimates when the line will have moved on. The pool is locked.
func (p *pool) expected() time.Duration {
	slots := max(p.live, 1) * p.slots
	mean := max(p.service, 10*time.Millisecond)
	return max(time.Second, time.Duration(len(p.waiters)+1)*mean/time.Duration(slots))
}

// await waits for the grant, and tells how much of the wait was a start. A call
// that leaves the line passes on what it was given in the same moment.
func (p *pool) await(ctx context.Context, w *waiter) (*Slot, time.Duration, error) {
	select {
	case g := <-w.ready:
		return g.slot, min(g.start, time.Since(w.since)), g.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiters = slices.DeleteFunc(p.waiters, func(other *waiter) bool { return other == w })
	p.mu.Unlock()
	p.owner.budget.left()
	starting := time.Duration(0)
	select {
	case g := <-w.ready:
		if g.slot != nil {
			p.pass(g.slot)
		}
	default:
		starting = p.startingSince(w.since)
	}
	return nil, starting, context.Cause(ctx)
}

// startingSince is how much of the time since then a start was under way that
// nobody has waited for longer.
func (p *pool) startingSince(then time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starting == 0 {
		return 0
	}
	return time.Since(then)
}

// next takes the head of the line, if there is one.
func (p *pool) next() *waiter {
	if len(p.waiters) == 0 {
		return nil
	}
	w := p.waiters[0]
	p.waiters = slices.Delete(p.waiters, 0, 1)
	return w
}

// release takes a slot back after an execution.
func (p *pool) release(s *Slot, reusable bool, service time.Duration) {
	p.mu.Lock()
	p.observe(service)
	i := s.instance
	switch {
	case p.once:
		p.retire(i, removedUsed)
	case p.closed:
		p.retire(i, removedClosing)
	case !i.alive():
		p.retire(i, removedLost)
	case !reusable:
		p.retire(i, removedSpoiled)
	}
	p.putBack(s, 0)
}

// pass hands a slot on that was not used.
func (p *pool) pass(s *Slot) {
	p.mu.Lock()
	if p.closed {
		p.retire(s.instance, removedClosing)
	}
	p.putBack(s, 0)
}

// putBack hands a slot to the head of the line, or lays it by; the last of an
// instance that is to go removes that. It unlocks the pool.
func (p *pool) putBack(s *Slot, start time.Duration) {
	i := s.instance
	if !i.retiring && p.owner.budget.yields(p, i) {
		p.retire(i, removedYielded)
	}
	i.busy--
	switch {
	case i.retiring && i.busy == 0:
		p.detach(i)
		p.startMore()
		p.mu.Unlock()
		p.owner.remove(i)
		return
	case i.retiring:
		p.startMore()
		p.mu.Unlock()
		return
	}
	idle := p.lay(s, start)
	p.mu.Unlock()
	if idle {
		p.owner.budget.idled()
	}
}

// lay gives a slot of a usable instance to the head of the line, or lays it by,
// and tells whether all of its instance's are. The pool is locked.
func (p *pool) lay(s *Slot, start time.Duration) (idle bool) {
	if w := p.next(); w != nil {
		s.instance.busy++
		w.ready <- grant{slot: s, start: start}
		return false
	}
	p.free = append(p.free, s)
	if s.instance.busy > 0 {
		return false
	}
	s.instance.idleSince = time.Now()
	return true
}

// retire lets an instance get no more executions. The pool is locked.
func (p *pool) retire(i *Instance, why removal) {
	if i.retiring {
		return
	}
	i.retiring, i.why = true, why
	p.free = slices.DeleteFunc(p.free, func(s *Slot) bool { return s.instance == i })
}

// detach takes an instance without executions out of the pool; the caller
// removes it. The pool is locked.
func (p *pool) detach(i *Instance) {
	p.instances = slices.DeleteFunc(p.instances, func(other *Instance) bool { return other == i })
	p.live--
}

// weed retires the instances that match and removes those that are idle: all
// (limit -1) or so many, the longest idle first. It tells how many it removed.
func (p *pool) weed(match func(*Instance) bool, limit int, why removal) int {
	p.mu.Lock()
	var gone []*Instance
	candidates := slices.Clone(p.instances)
	slices.SortStableFunc(candidates, func(a, b *Instance) int { return a.idleSince.Compare(b.idleSince) })
	for _, i := range candidates {
		if len(gone) == limit {
			break
		}
		if i.retiring || !match(i) {
			continue
		}
		p.retire(i, why)
		if i.busy == 0 {
			p.detach(i)
			gone = append(gone, i)
		}
	}
	p.startMore()
	p.mu.Unlock()
	for _, i := range gone {
		p.owner.remove(i)
	}
	return len(gone)
}

// observe keeps the moving mean of service times, for Retry-After. The pool is
// locked.
func (p *pool) observe(service time.Duration) {
	if p.service == 0 {
		p.service = service
		return
	}
	p.service += (service - p.service) / 8
}

// closeIfEmpty closes a pool without instances, callers and a reason to stay,
// and reports it.
func (p *pool) closeIfEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == 0 && p.wanted == 0 && len(p.waiters) == 0 && !p.kept {
		p.closed = true
	}
	return p.closed
}

// close refuses the calls in line and removes the idle instances.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for w := p.next(); w != nil; w = p.next() {
		w.ready <- grant{err: ErrClosed}
	}
	p.mu.Unlock()
	p.weed(func(*Instance) bool { return true }, -1, removedClosing)
}

// mean is the moving mean of an execution's time.
func (p *pool) mean() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.service
}

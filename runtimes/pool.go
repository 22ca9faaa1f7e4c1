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

// pool holds the instances of one shape. The most recently used instance is
// taken first, so that the ones nobody needs age out.
//
// A call that finds no idle instance waits in line. A new instance is started
// beside the wait, never in front of it: whichever is there first, a freed
// instance or a new one, goes to the head of the line.
type pool struct {
	owner *Pools
	shape *Shape

	mu       sync.Mutex
	closed   bool
	idle     []*Instance // oldest first
	live     int         // instances that are idle, in use or starting
	starting int
	waiters  []*waiter
	service  time.Duration // moving mean of an execution's time
}

// waiter is a call in line.
type waiter struct {
	since time.Time
	ready chan grant // buffered: a grant never blocks
}

// grant is what a waiter gets.
type grant struct {
	instance *Instance
	start    time.Duration // how long the instance took to start; 0 if it was there before
	err      error
}

// take returns an idle instance, or a place in line.
func (p *pool) take() (*Instance, *waiter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errStalePool
	}
	if n := len(p.idle); n > 0 {
		instance := p.idle[n-1]
		p.idle = slices.Delete(p.idle, n-1, n)
		return instance, nil, nil
	}
	if len(p.waiters) >= p.owner.limits.Queue {
		return nil, nil, &OverloadedError{RetryAfter: p.expected()}
	}
	w := &waiter{since: time.Now(), ready: make(chan grant, 1)}
	p.waiters = append(p.waiters, w)
	p.startMore()
	return nil, w, nil
}

// expected estimates when the line will have moved on. The pool is locked.
func (p *pool) expected() time.Duration {
	slots := max(p.live, 1)
	mean := max(p.service, 10*time.Millisecond)
	return max(time.Second, time.Duration(len(p.waiters)+1)*mean/time.Duration(slots))
}

// startMore starts an instance for each waiter that none is starting for, as
// far as the limits allow. The pool is locked.
func (p *pool) startMore() {
	for !p.closed && p.starting < len(p.waiters) && p.live < p.owner.limits.PerPool && p.owner.spawn(p.start) {
		p.starting++
		p.live++
	}
}

func (p *pool) start() {
	if !p.owner.reserve() {
		p.gaveUp(nil)
		p.owner.starve()
		return
	}
	begun, epoch := time.Now(), p.owner.epoch.Load()
	instance, err := launch(p.owner.ctx, p.owner.engine, p.owner.box, p.shape)
	if err != nil {
		p.owner.unreserve()
		p.gaveUp(err)
		return
	}
	took := time.Since(begun)
	instance.epoch = epoch
	p.mu.Lock()
	p.starting--
	p.mu.Unlock()
	p.give(instance, took)
	p.watch(instance)
}

// gaveUp ends a start without an instance. A failure fails the call that has
// waited longest: a fault that stays must be told, not retried for ever. A start
// that found no room (nil) fails nobody; it is repeated when there is some.
func (p *pool) gaveUp(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	p.live--
	if err == nil {
		return
	}
	if w := p.next(); w != nil {
		w.ready <- grant{err: err}
	}
	p.startMore()
}

// retry starts what had found no room.
func (p *pool) retry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.startMore()
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

// await waits for the grant, and tells how much of the wait was a start. A call
// that leaves the line passes on what it was given in the same moment.
func (p *pool) await(ctx context.Context, w *waiter) (*Instance, time.Duration, error) {
	select {
	case g := <-w.ready:
		return g.instance, min(g.start, time.Since(w.since)), g.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.waiters = slices.DeleteFunc(p.waiters, func(other *waiter) bool { return other == w })
	p.mu.Unlock()
	select {
	case g := <-w.ready:
		if g.instance != nil {
			p.give(g.instance, 0)
		}
	default:
	}
	return nil, 0, context.Cause(ctx)
}

// give hands an instance to the head of the line, or lays it by.
func (p *pool) give(instance *Instance, start time.Duration) {
	p.mu.Lock()
	if p.closed {
		p.live--
		p.mu.Unlock()
		p.owner.remove(instance)
		return
	}
	if w := p.next(); w != nil {
		w.ready <- grant{instance: instance, start: start}
		p.mu.Unlock()
		return
	}
	instance.idleSince = time.Now()
	p.idle = append(p.idle, instance)
	p.mu.Unlock()
	p.owner.madeRoom() // another pool may evict it
}

// drop removes an instance that its holder can't use any more.
func (p *pool) drop(instance *Instance) {
	p.mu.Lock()
	p.live--
	p.startMore()
	p.mu.Unlock()
	p.owner.remove(instance)
}

// watch removes an instance whose agent is lost while it is idle. One in use is
// its holder's to drop.
func (p *pool) watch(instance *Instance) {
	<-instance.conn.Done()
	p.retire(func(i *Instance) bool { return i == instance }, 1)
}

// retire removes up to limit idle instances (-1 = any number), oldest first,
// and reports how many.
func (p *pool) retire(match func(*Instance) bool, limit int) int {
	p.mu.Lock()
	var retired []*Instance
	p.idle = slices.DeleteFunc(p.idle, func(i *Instance) bool {
		if len(retired) == limit || !match(i) {
			return false
		}
		retired = append(retired, i)
		return true
	})
	p.live -= len(retired)
	p.startMore()
	p.mu.Unlock()
	for _, instance := range retired {
		p.owner.remove(instance)
	}
	return len(retired)
}

// observe keeps the moving mean of service times, for Retry-After.
func (p *pool) observe(service time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.service == 0 {
		p.service = service
		return
	}
	p.service += (service - p.service) / 8
}

// closeIfEmpty closes a pool without instances and callers, and reports it.
func (p *pool) closeIfEmpty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live == 0 && len(p.waiters) == 0 {
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
	p.retire(func(*Instance) bool { return true }, -1)
}

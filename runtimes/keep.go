package runtimes

import (
	"slices"
	"time"
)

const (
	firstBackOff = time.Second
	mostBackOff  = time.Minute
	// settled is how long an instance lives that wasn't broken from the start.
	settled = 10 * time.Second
	// succession is how long instances of the shape before are kept for those
	// of the new one to be started.
	succession = 30 * time.Second
	maxNotices = 64 // of one pool that are remembered as told
)

// keeping is what a pool knows about instances that nobody has called for.
// Guarded by the pool.
type keeping struct {
	kept      bool      // min_warm counts: the catalog has the shape
	outgoing  time.Time // since when another shape of the pack is kept instead; zero = no
	failures  int       // starts in a row after which nothing stayed
	notBefore time.Time // no start without a call before
	told      []string  // notices
}

// Keep says which shapes' MinWarm counts from now on: their instances are
// started, in the background. Those of shapes that aren't in the list any more
// go when the new ones of their pack are there.
func (p *Pools) Keep(shapes []*Shape) {
	listed := make(map[*pool]bool, len(shapes))
	for _, shape := range shapes {
		pool, err := p.pool(shape)
		if err != nil {
			return // closed
		}
		listed[pool] = true
		pool.keep(true)
	}
	for _, pool := range *p.pools.Load() {
		if !listed[pool] {
			pool.keep(false)
		}
	}
}

func (p *pool) keep(kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept && !kept {
		p.outgoing = time.Now()
	}
	if kept {
		p.outgoing = time.Time{}
	}
	p.kept = kept
	p.startMore()
}

// floor is how many instances are kept though nobody calls: unused ones where
// each is used once. The pool is locked.
func (p *pool) floor() int {
	floor := 0
	if p.kept {
		floor = p.shape.MinWarm
	}
	if p.shape.Spare > 0 && !p.called.IsZero() && time.Since(p.called) < p.idle {
		floor = max(floor, p.shape.Spare)
	}
	return floor
}

// short is how many instances are missing to the floor. The pool is locked.
func (p *pool) short() int {
	if floor := p.floor(); floor > 0 && !time.Now().Before(p.notBefore) {
		return floor - p.stock() - p.wanted - p.starting + p.spokenFor()
	}
	return 0
}

// stock is what counts towards the floor. The pool is locked.
func (p *pool) stock() int {
	n := 0
	for _, i := range p.instances {
		if !i.retiring && (!p.once || i.busy == 0) {
			n++
		}
	}
	return n
}

// spokenFor is how many of the instances to come are for calls in line, where
// each is used once. The pool is locked.
func (p *pool) spokenFor() int {
	if !p.once {
		return 0
	}
	return p.needed()
}

// surplus is how many idle instances are more than the floor. The pool is locked.
func (p *pool) surplus() int { return max(p.stock()-p.floor(), 0) }

// backOff puts off the next start that nobody has called for. The pool is locked.
func (p *pool) backOff() {
	wait := min(firstBackOff<<min(p.failures, 10), mostBackOff)
	p.failures++
	p.notBefore = time.Now().Add(wait)
}

// tend does what time asks of a pool: removes what has been idle for too long,
// starts what is missing, lets an outgoing pool go. succeeded tells whether
// those of the pack that are kept instead are there.
func (p *pool) tend(now time.Time, succeeded bool) {
	p.mu.Lock()
	surplus := p.surplus()
	if !p.outgoing.IsZero() && (succeeded || now.Sub(p.outgoing) >= succession) {
		p.outgoing = time.Time{}
		p.mu.Unlock()
		p.weed(func(*Instance) bool { return true }, -1, removedReplaced)
		return
	}
	if p.stock() > 0 && now.After(p.notBefore.Add(settled)) {
		p.failures = 0
	}
	p.mu.Unlock()
	p.weed(func(i *Instance) bool { return i.busy == 0 && now.Sub(i.idleSince) >= p.idle }, surplus, removedIdle)
}

// complete tells whether as many instances are kept as should be, or can't.
func (p *pool) complete() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.kept || p.failures > 0 || p.stock() >= p.floor()
}

// notice logs what an instance of the pool has to say, once.
func (p *pool) notice(text string) {
	p.mu.Lock()
	known := slices.Contains(p.told, text) || len(p.told) == maxNotices
	if !known {
		p.told = append(p.told, text)
	}
	p.mu.Unlock()
	if !known {
		p.owner.log.Warn("instance notice", "pack", p.shape.Pack, "runtime", p.shape.Runtime.Name, "notice", text)
	}
}

package runtimes

import "time"

// reserve takes one of the instances the gateway may have; when all are taken
// it makes room by removing the one that has been idle longest. Close waits
// until every reservation was given back. The caller was spawned.
func (p *Pools) reserve() bool {
	// Above the limit only until an evicted instance is gone.
	if p.total.Add(1) <= int64(p.limits.Total) || p.evict() {
		p.background.Add(1)
		return true
	}
	p.total.Add(-1)
	return false
}

func (p *Pools) unreserve() {
	p.total.Add(-1)
	p.madeRoom()
	p.background.Done()
}

// starve notes that a start found no room, and looks whether some was made
// before that could be seen.
func (p *Pools) starve() {
	p.starved.Store(true)
	if p.total.Load() < int64(p.limits.Total) || p.idlest() != nil {
		p.madeRoom()
	}
}

// madeRoom repeats the starts that had found none.
func (p *Pools) madeRoom() {
	if !p.starved.Load() || !p.starved.Swap(false) {
		return
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, pool := range p.pools {
		pool.retry()
	}
}

// evict removes the instance that has been idle longest, if any is idle.
func (p *Pools) evict() bool {
	for {
		pool := p.idlest()
		if pool == nil {
			return false
		}
		if pool.retire(func(*Instance) bool { return true }, 1) == 1 {
			return true
		} // otherwise a call has just taken it
	}
}

// idlest is the pool of the instance that has been idle longest.
func (p *Pools) idlest() *pool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var oldest *pool
	var since time.Time
	for _, pool := range p.pools {
		pool.mu.Lock()
		if len(pool.idle) > 0 && (oldest == nil || pool.idle[0].idleSince.Before(since)) {
			oldest, since = pool, pool.idle[0].idleSince
		}
		pool.mu.Unlock()
	}
	return oldest
}

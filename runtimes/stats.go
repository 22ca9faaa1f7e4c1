package runtimes

import (
	"sync/atomic"
	"time"
)

// removal is why an instance goes.
type removal int

const (
	removedIdle     removal = iota // it had nothing to do
	removedEvicted                 // it was idle, and another pool needed the room
	removedYielded                 // it was in use, and another pool needed the room
	removedUsed                    // it serves one execution
	removedSpoiled                 // it can't be used again
	removedLost                    // its agent is gone
	removedReplaced                // its pack has changed
	removedClosing                 // the gateway stops
	removals                       // how many there are
)

var removalNames = [removals]string{"idle", "evicted", "yielded", "used", "spoiled", "lost", "replaced", "closing"}

// counters only grow.
type counters struct {
	started, failed, refused atomic.Int64
	startTime                atomic.Int64 // nanoseconds
	removed                  [removals]atomic.Int64
}

// Stats are what the instances of a gateway do at a moment, and have done since it
// started.
type Stats struct {
	Pools       []PoolStats // by pack and runtime, in no order
	Used, Limit Budget      // of all instances together, leaving ones included; a limit of 0 is none

	Started, StartsFailed int64
	StartTime             time.Duration    // of those that succeeded
	Removed               map[string]int64 // by reason
	Refused               int64            // calls, because too many waited
}

// PoolStats is about the instances of one pack and runtime.
type PoolStats struct {
	Pack, Runtime        string
	Starting, Idle, Busy int
	Waiting              int // calls
}

// Budget is what instances take.
type Budget struct {
	Instances int
	Memory    int64   // bytes
	CPU       float64 // cores
}

// Stats tell what the pools do. It locks each of them for a moment.
func (p *Pools) Stats() Stats {
	byName := map[[2]string]*PoolStats{}
	for _, pool := range *p.pools.Load() {
		name := [2]string{pool.shape.Pack, pool.shape.Runtime.Name}
		if byName[name] == nil {
			byName[name] = &PoolStats{Pack: name[0], Runtime: name[1]}
		}
		pool.addTo(byName[name])
	}
	c := &p.counters
	stats := Stats{
		Limit:   p.budget.limit.public(),
		Started: c.started.Load(), StartsFailed: c.failed.Load(), Refused: c.refused.Load(),
		StartTime: time.Duration(c.startTime.Load()), Removed: make(map[string]int64, removals),
	}
	for _, pool := range byName {
		stats.Pools = append(stats.Pools, *pool)
	}
	for why, name := range removalNames {
		stats.Removed[name] = c.removed[why].Load()
	}
	p.budget.mu.Lock()
	defer p.budget.mu.Unlock()
	stats.Used = p.budget.used.public()
	return stats
}

func (p *pool) addTo(load *PoolStats) {
	p.mu.Lock()
	defer p.mu.Unlock()
	load.Starting += p.starting
	load.Waiting += len(p.waiters)
	for _, i := range p.instances {
		if i.busy > 0 {
			load.Busy++
		} else {
			load.Idle++
		}
	}
}

func (r resources) public() Budget { return Budget{r.instances, r.memory, r.cpu} }

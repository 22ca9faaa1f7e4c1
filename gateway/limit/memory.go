package limit

import (
	"context"
	"sync"
	"time"
)

// Memory is a Limiter of this process alone.
type Memory struct {
	now func() time.Time

	mu    sync.Mutex
	full  map[string]time.Time // when each bucket is full again; full ones need no entry
	sweep int                  // look for full ones at so many entries
}

var _ Limiter = (*Memory)(nil)

// sweepAt is how many buckets are kept before full ones are looked for.
const sweepAt = 1024

// NewMemory returns a limiter whose buckets are all full.
func NewMemory() *Memory { return NewMemoryAt(time.Now) }

// NewMemoryAt is NewMemory with a clock.
func NewMemoryAt(now func() time.Time) *Memory {
	return &Memory{now: now, full: map[string]time.Time{}, sweep: sweepAt}
}

// Take implements Limiter.
func (m *Memory) Take(_ context.Context, name string, rate Rate) (State, error) {
	each := rate.Per / time.Duration(rate.Limit)
	size := time.Duration(rate.Size()) * each
	now := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	full := m.full[name]
	if full.Before(now) {
		full = now
	}
	next := full.Add(each)
	if wait := next.Sub(now) - size; wait > 0 {
		return State{RetryAfter: wait, Reset: full.Sub(now)}, nil
	}
	m.full[name] = next
	if len(m.full) >= m.sweep {
		m.forget(now)
	}
	return State{Allowed: true, Remaining: int((size - next.Sub(now)) / each), Reset: next.Sub(now)}, nil
}

// forget drops buckets that are full.
func (m *Memory) forget(now time.Time) {
	for name, full := range m.full {
		if !full.After(now) {
			delete(m.full, name)
		}
	}
	m.sweep = max(sweepAt, 2*len(m.full))
}

// Len is how many buckets are kept.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.full)
}

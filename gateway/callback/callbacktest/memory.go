package callbacktest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"attune/gateway/callback"
)

// Memory is a callback.Store that forgets everything with the process.
type Memory struct {
	mu    sync.Mutex
	there map[string]*entry
	waits []time.Duration // what Later was asked for
}

type entry struct {
	callback.Delivery
	due time.Time
}

var _ callback.Store = (*Memory)(nil)

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{there: map[string]*entry{}} }

// Waits are the times for which deliveries were put off, in order.
func (m *Memory) Waits() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.waits)
}

// Hurry makes everything due.
func (m *Memory) Hurry() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.there {
		e.due = time.Time{}
	}
}

// Len is how many deliveries there are.
func (m *Memory) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.there)
}

// Put implements callback.Store.
func (m *Memory) Put(ctx context.Context, d callback.Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.there[d.ID] == nil {
		d.Body = bytes.Clone(d.Body)
		m.there[d.ID] = &entry{d, time.Now()}
	}
	return nil
}

// Take implements callback.Store.
func (m *Memory) Take(ctx context.Context, most int, lease time.Duration) ([]callback.Delivery, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := time.Now()
	var due []*entry
	for _, e := range m.there {
		if !e.due.After(now) {
			due = append(due, e)
		}
	}
	slices.SortFunc(due, func(a, b *entry) int { return a.due.Compare(b.due) })
	var taken []callback.Delivery
	for _, e := range due[:min(most, len(due))] {
		e.Attempts++
		e.due = now.Add(lease)
		taken = append(taken, e.Delivery)
	}
	return taken, nil
}

// Later implements callback.Store.
func (m *Memory) Later(ctx context.Context, d callback.Delivery, after time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if e := m.there[d.ID]; e != nil && e.Attempts == d.Attempts {
		e.due = time.Now().Add(after)
		m.waits = append(m.waits, after)
	}
	return nil
}

// Done implements callback.Store.
func (m *Memory) Done(ctx context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	delete(m.there, id)
	return nil
}

package idempotencytest

import (
	"bytes"
	"context"
	"sync"
	"time"

	"attune/gateway/idempotency"
)

// Memory is an idempotency.Store that forgets everything with the process.
type Memory struct {
	mu   sync.Mutex
	keys map[string]*entry
	err  error
}

type entry struct {
	held            idempotency.Held
	lapses, expires time.Time
}

var _ idempotency.Store = (*Memory)(nil)

// NewMemory returns an empty one.
func NewMemory() *Memory { return &Memory{keys: map[string]*entry{}} }

// Fail lets every call fail with err; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// ready is why a call fails; the caller holds the lock.
func (m *Memory) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.err
}

// Claim implements idempotency.Store.
func (m *Memory) Claim(ctx context.Context, claim idempotency.Claim) (*idempotency.Held, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	e := m.keys[claim.ID]
	if e == nil || !now.Before(e.expires) {
		m.keys[claim.ID] = &entry{
			held:   idempotency.Held{Fingerprint: claim.Fingerprint, Execution: claim.Execution},
			lapses: now.Add(claim.Lease), expires: now.Add(claim.Keep),
		}
		return nil, nil
	}
	if e.held.Execution == claim.Execution && e.held.Answer == nil {
		return nil, nil
	}
	held := e.held
	held.Lapsed = !now.Before(e.lapses)
	return &held, nil
}

// Complete implements idempotency.Store.
func (m *Memory) Complete(ctx context.Context, claim idempotency.Claim, answer idempotency.Answer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	e := m.keys[claim.ID]
	if e == nil {
		e = &entry{held: idempotency.Held{Fingerprint: claim.Fingerprint, Execution: claim.Execution}}
		m.keys[claim.ID] = e
	}
	if e.held.Execution != claim.Execution {
		return idempotency.ErrLost
	}
	answer.Body = bytes.Clone(answer.Body)
	e.held.Answer, e.expires = &answer, time.Now().Add(claim.Keep)
	return nil
}

// Release implements idempotency.Store.
func (m *Memory) Release(ctx context.Context, claim idempotency.Claim) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.ready(ctx); err != nil {
		return err
	}
	if e := m.keys[claim.ID]; e != nil && e.held.Execution == claim.Execution && e.held.Answer == nil {
		delete(m.keys, claim.ID)
	}
	return nil
}

package hooktest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"attune/gateway/hook"
)

// Memory is a store that keeps its contract, in maps. Err, if any, is what every
// call answers.
type Memory struct {
	mu        sync.Mutex
	addresses map[string]hook.Address
	marks     map[[2]string]memoryMark
	entries   map[[2]string]hook.Entry
	err       error
}

type memoryMark struct {
	hook.Mark
	expires time.Time
}

var _ hook.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{addresses: map[string]hook.Address{}, marks: map[[2]string]memoryMark{}, entries: map[[2]string]hook.Entry{}}
}

// Fail makes every call answer err; nil = none any more.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// enter locks the store; the caller unlocks it.
func (m *Memory) enter(ctx context.Context) error {
	m.mu.Lock()
	return cmp.Or(m.err, ctx.Err())
}

// Address implements hook.Addresses.
func (m *Memory) Address(ctx context.Context, name, key string, now time.Time) (hook.Address, error) {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if _, there := m.addresses[name]; !there && err == nil {
		m.addresses[name] = hook.Address{Hook: name, Key: key, CreatedAt: now.UTC().Truncate(time.Millisecond)}
	}
	return m.shown(name, now), err
}

// shown is an address without a key whose time is over.
func (m *Memory) shown(name string, now time.Time) hook.Address {
	address := m.addresses[name]
	if !address.PreviousUntil.After(now) {
		address.Previous, address.PreviousUntil = "", time.Time{}
	}
	return address
}

// Rotate implements hook.Addresses.
func (m *Memory) Rotate(ctx context.Context, name, key string, now, until time.Time) (hook.Address, error) {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return hook.Address{}, err
	}
	next := hook.Address{Hook: name, Key: key, CreatedAt: now.UTC().Truncate(time.Millisecond)}
	if before := m.addresses[name].Key; before != "" && until.After(now) {
		next.Previous, next.PreviousUntil = before, until.UTC().Truncate(time.Millisecond)
	}
	m.addresses[name] = next
	return next, nil
}

// Find implements hook.Addresses.
func (m *Memory) Find(ctx context.Context, key string, now time.Time) (string, error) {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return "", err
	}
	for name, a := range m.addresses {
		if a.Key == key || a.Previous == key && key != "" && a.PreviousUntil.After(now) {
			return name, nil
		}
	}
	return "", hook.ErrNone
}

// Claim implements hook.Marks.
func (m *Memory) Claim(ctx context.Context, mark hook.Mark, now time.Time) (hook.Mark, error) {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return hook.Mark{}, err
	}
	at := [2]string{mark.Hook, mark.ID}
	mark.Owner, mark.Pending = mark.Execution, mark.Pending.UTC().Truncate(time.Millisecond)
	there, known := m.marks[at]
	switch {
	case !known || !there.expires.After(now):
		there = memoryMark{mark, now.Add(hook.MarkTTL)}
	case !there.Done && !there.Pending.After(now):
		there.Digest, there.Owner, there.Pending = mark.Digest, mark.Owner, mark.Pending
	}
	m.marks[at] = there
	return there.Mark, nil
}

// Done implements hook.Marks.
func (m *Memory) Done(ctx context.Context, name, id, execution string) error {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	at := [2]string{name, id}
	if there, known := m.marks[at]; known && there.Execution == execution && err == nil {
		there.Done = true
		m.marks[at] = there
	}
	return err
}

// Release implements hook.Marks.
func (m *Memory) Release(ctx context.Context, name, id, execution string) error {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	at := [2]string{name, id}
	if there := m.marks[at]; there.Execution == execution && !there.Done && err == nil {
		delete(m.marks, at)
	}
	return err
}

// Append implements hook.Log.
func (m *Memory) Append(ctx context.Context, entry hook.Entry) error {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if err == nil {
		m.entries[[2]string{entry.Hook, entry.ID}] = entry
	}
	return err
}

// Entries implements hook.Log.
func (m *Memory) Entries(ctx context.Context, name, before string, limit int) ([]hook.Entry, string, error) {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return nil, "", err
	}
	var found []hook.Entry
	for _, entry := range m.newest(name) {
		if before == "" || entry.ID < before {
			entry.Body = nil
			found = append(found, entry)
		}
	}
	if len(found) <= limit {
		return found, "", nil
	}
	return found[:limit], found[limit-1].ID, nil
}

func (m *Memory) newest(name string) []hook.Entry {
	all := slices.DeleteFunc(slices.Collect(maps.Values(m.entries)), func(e hook.Entry) bool { return e.Hook != name })
	slices.SortFunc(all, func(a, b hook.Entry) int { return cmp.Compare(b.ID, a.ID) })
	return all
}

// Entry implements hook.Log.
func (m *Memory) Entry(ctx context.Context, name, id string) (hook.Entry, error) {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	entry, there := m.entries[[2]string{name, id}]
	if !there && err == nil {
		err = hook.ErrNone
	}
	return entry, err
}

// Prune implements hook.Log.
func (m *Memory) Prune(ctx context.Context, now, before time.Time, keep int) error {
	err := m.enter(ctx)
	defer m.mu.Unlock()
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for at := range m.entries {
		names[at[0]] = true
	}
	for name := range names {
		for i, entry := range m.newest(name) {
			if i >= keep || entry.ID < hook.FirstID(before) {
				delete(m.entries, [2]string{name, entry.ID})
			}
		}
	}
	maps.DeleteFunc(m.marks, func(_ [2]string, mark memoryMark) bool { return !mark.expires.After(now) })
	return nil
}

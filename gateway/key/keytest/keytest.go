// Package keytest is what every key.Store has to pass, and one in memory that
// does.
package keytest

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/key"
	"attune/gateway/limit"
)

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) key.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, key.Store){
		"Empty": empty, "RoundTrips": roundTrips, "PutReplaces": replaces, "DeleteForgets": deletes,
		"ManyAtOnce": manyAtOnce, "CancelledContext": cancelled, "TokenIsNotStored": authenticates,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

func order(t *testing.T, o key.Order) (key.Key, string) {
	t.Helper()
	o.Name = cmp.Or(o.Name, "test")
	if o.Scopes == nil {
		o.Scopes = []key.Scope{"invoke:demo.*"}
	}
	k, token, err := key.New(o, time.Now())
	if err != nil {
		t.Fatalf("New() error = %v", err)
	}
	return k, token
}

func put(t *testing.T, s key.Store, keys ...key.Key) {
	t.Helper()
	for _, k := range keys {
		if err := s.Put(t.Context(), k); err != nil {
			t.Fatalf("Put(%s) error = %v", k.ID, err)
		}
	}
}

func want(t *testing.T, s key.Store, keys ...key.Key) {
	t.Helper()
	got, err := s.Keys(t.Context())
	slices.SortFunc(keys, byID)
	if diff := gocmp.Diff(append([]key.Key{}, keys...), append([]key.Key{}, got...)); diff != "" || err != nil {
		t.Errorf("Keys(), %v (-want +got):\n%s", err, diff)
	}
}

func byID(a, b key.Key) int { return cmp.Compare(a.ID, b.ID) }

func empty(t *testing.T, s key.Store) {
	want(t, s)
	if err := s.Delete(t.Context(), "01HZX3V7Q8R9S0T1V2W3X4Y5Z6"); !errors.Is(err, key.ErrNone) {
		t.Errorf("Delete() error = %v, want ErrNone", err)
	}
}

func roundTrips(t *testing.T, s key.Store) {
	full, _ := order(t, key.Order{
		Name: "CI ü \"quoted\" \u2028", Scopes: []key.Scope{"invoke:demo.echo", "read:*", "operate:demo", key.Admin},
		ExpiresAt: time.Now().Add(time.Hour), Rate: limit.Rate{Limit: 100, Per: time.Second, Burst: 20},
		Quota: limit.Rate{Limit: 100_000, Per: 24 * time.Hour}, MaxConcurrent: 7,
	})
	plain, _ := order(t, key.Order{})
	put(t, s, full, plain)
	want(t, s, full, plain)
}

func replaces(t *testing.T, s key.Store) {
	k, _ := order(t, key.Order{})
	put(t, s, k)
	k.Name, k.Scopes = "other", []key.Scope{key.Admin}
	put(t, s, k)
	want(t, s, k)
}

func deletes(t *testing.T, s key.Store) {
	a, _ := order(t, key.Order{})
	b, _ := order(t, key.Order{})
	put(t, s, a, b)
	if err := s.Delete(t.Context(), a.ID); err != nil {
		t.Errorf("Delete() error = %v", err)
	}
	want(t, s, b)
	if err := s.Delete(t.Context(), a.ID); !errors.Is(err, key.ErrNone) {
		t.Errorf("Delete() again error = %v, want ErrNone", err)
	}
}

func manyAtOnce(t *testing.T, s key.Store) {
	var all []key.Key
	var group sync.WaitGroup
	for range 20 {
		k, _ := order(t, key.Order{})
		all = append(all, k)
		group.Go(func() { put(t, s, k) })
	}
	group.Wait()
	want(t, s, all...)
}

// authenticates: what comes back from the store still knows its token, and the
// token is nowhere in it.
func authenticates(t *testing.T, s key.Store) {
	k, token := order(t, key.Order{})
	put(t, s, k)
	keys, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.NewRing(keys...).Authenticate(token, time.Now()); err != nil || got.ID != k.ID {
		t.Errorf("Authenticate() = %v, %v", got, err)
	}
	encoded, err := keys[0].Encode()
	if secret := token[len("attune_"+k.ID+"_"):]; err != nil || strings.Contains(string(encoded), secret) {
		t.Errorf("the secret is in %s, %v", encoded, err)
	}
}

func cancelled(t *testing.T, s key.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k, _ := order(t, key.Order{})
	if err := s.Put(ctx, k); !errors.Is(err, context.Canceled) {
		t.Errorf("Put() of a cancelled context error = %v", err)
	}
	if _, err := s.Keys(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Keys() of a cancelled context error = %v", err)
	}
}

// Memory is a store that keeps its contract, in a map. It can be told to fail.
type Memory struct {
	mu   sync.Mutex
	keys map[string]key.Key
	err  error
}

var _ key.Store = (*Memory)(nil)

// NewMemory returns a store of keys.
func NewMemory(keys ...key.Key) *Memory {
	m := &Memory{keys: map[string]key.Key{}}
	for _, k := range keys {
		m.keys[k.ID] = k
	}
	return m
}

// Fail makes everything fail from now on; nil = nothing.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// Put implements key.Store.
func (m *Memory) Put(ctx context.Context, k key.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.err); err != nil {
		return err
	}
	m.keys[k.ID] = k
	return nil
}

// Keys implements key.Store.
func (m *Memory) Keys(ctx context.Context) ([]key.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.err); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(m.keys), byID), nil
}

// Delete implements key.Store.
func (m *Memory) Delete(ctx context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := cmp.Or(ctx.Err(), m.err); err != nil {
		return err
	}
	if _, there := m.keys[id]; !there {
		return key.ErrNone
	}
	delete(m.keys, id)
	return nil
}

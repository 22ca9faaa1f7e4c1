// Package secrettest is what every secret.Store has to pass, and one in memory
// that does.
package secrettest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/secret"
)

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) secret.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, secret.Store){
		"Empty": empty, "RoundTrips": roundTrips, "PutReplaces": putReplaces, "SwapComparesTheVersion": swaps,
		"DeleteForgets": deletes, "PacksAreApart": apart, "ManyAtOnce": manyAtOnce, "CancelledContext": cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

func sealed(pack, name string, version int64) secret.Sealed {
	return secret.Sealed{Pack: pack, Name: name, Version: version, Key: "k1", Box: []byte{0, 0xff, '\n', byte(version)}}
}

func put(t *testing.T, s secret.Store, secrets ...secret.Sealed) {
	t.Helper()
	for _, one := range secrets {
		if err := s.Put(t.Context(), one); err != nil {
			t.Fatalf("Put(%s, %s) error = %v", one.Pack, one.Name, err)
		}
	}
}

func want(t *testing.T, s secret.Store, pack string, secrets ...secret.Sealed) {
	t.Helper()
	got, err := s.Pack(t.Context(), pack)
	if diff := gocmp.Diff(append([]secret.Sealed{}, secrets...), append([]secret.Sealed{}, got...)); diff != "" || err != nil {
		t.Errorf("Pack(%s), %v (-want +got):\n%s", pack, err, diff)
	}
}

func wantPacks(t *testing.T, s secret.Store, packs ...string) {
	t.Helper()
	got, err := s.Packs(t.Context())
	if !slices.Equal(got, packs) || err != nil {
		t.Errorf("Packs() = %v, %v, want %v", got, err, packs)
	}
}

func empty(t *testing.T, s secret.Store) {
	want(t, s, "demo")
	wantPacks(t, s)
	if err := s.Delete(t.Context(), "demo", "a"); !errors.Is(err, secret.ErrNone) {
		t.Errorf("Delete() error = %v, want ErrNone", err)
	}
}

func roundTrips(t *testing.T, s secret.Store) {
	large := sealed("demo", "large", 1<<62+1) // no float64 holds that
	large.Box = make([]byte, secret.MaxValue+100)
	none := sealed("demo", "none", 0)
	put(t, s, none, sealed("demo", "b.c-d_e", 2), large, sealed("demo", "A", 1))
	want(t, s, "demo", sealed("demo", "A", 1), sealed("demo", "b.c-d_e", 2), large, none)
}

func putReplaces(t *testing.T, s secret.Store) {
	after := sealed("demo", "a", 2)
	after.Key = "k2"
	put(t, s, sealed("demo", "a", 1), after)
	want(t, s, "demo", after)
}

func swaps(t *testing.T, s secret.Store) {
	put(t, s, sealed("demo", "a", 1))
	for _, step := range []struct {
		before int64
		s      secret.Sealed
		want   bool
	}{
		{2, sealed("demo", "a", 3), false}, {1, sealed("demo", "a", 4), true}, {1, sealed("demo", "a", 5), false}, {1, sealed("demo", "b", 1), false},
	} {
		if got, err := s.Swap(t.Context(), step.before, step.s); got != step.want || err != nil {
			t.Errorf("Swap(%d, %s) = %t, %v, want %t", step.before, step.s.Name, got, err, step.want)
		}
	}
	want(t, s, "demo", sealed("demo", "a", 4))
}

func deletes(t *testing.T, s secret.Store) {
	put(t, s, sealed("demo", "a", 1), sealed("demo", "b", 1))
	if err := s.Delete(t.Context(), "demo", "a"); err != nil {
		t.Errorf("Delete() error = %v", err)
	}
	want(t, s, "demo", sealed("demo", "b", 1))
	if err := s.Delete(t.Context(), "demo", "b"); err != nil {
		t.Errorf("Delete() error = %v", err)
	}
	want(t, s, "demo")
	wantPacks(t, s)
}

func apart(t *testing.T, s secret.Store) {
	put(t, s, sealed("demo", "a", 1), sealed("demo-2", "a", 2), sealed("a", "demo", 3))
	want(t, s, "demo", sealed("demo", "a", 1))
	want(t, s, "a", sealed("a", "demo", 3))
	wantPacks(t, s, "a", "demo", "demo-2")
}

func manyAtOnce(t *testing.T, s secret.Store) {
	var group sync.WaitGroup
	var all []secret.Sealed
	for n := range 20 {
		one := sealed("demo", fmt.Sprintf("n%02d", n), int64(n))
		all = append(all, one)
		group.Go(func() { put(t, s, one) })
	}
	group.Wait()
	want(t, s, "demo", all...)
}

func cancelled(t *testing.T, s secret.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, sealed("demo", "a", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put() of a cancelled context error = %v", err)
	}
	if _, err := s.Pack(ctx, "demo"); !errors.Is(err, context.Canceled) {
		t.Errorf("Pack() of a cancelled context error = %v", err)
	}
}

// Memory is a store that keeps its contract, in a map.
type Memory struct {
	mu   sync.Mutex
	rows map[[2]string]secret.Sealed
}

var _ secret.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{rows: map[[2]string]secret.Sealed{}} }

// Put implements secret.Store.
func (m *Memory) Put(ctx context.Context, s secret.Sealed) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() == nil {
		m.rows[[2]string{s.Pack, s.Name}] = s
	}
	return ctx.Err()
}

// Swap implements secret.Store.
func (m *Memory) Swap(ctx context.Context, before int64, s secret.Sealed) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := [2]string{s.Pack, s.Name}
	if old, there := m.rows[at]; !there || old.Version != before || ctx.Err() != nil {
		return false, ctx.Err()
	}
	m.rows[at] = s
	return true, nil
}

// Pack implements secret.Store.
func (m *Memory) Pack(ctx context.Context, pack string) ([]secret.Sealed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []secret.Sealed
	for at, s := range m.rows {
		if at[0] == pack {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b secret.Sealed) int { return cmp.Compare(a.Name, b.Name) })
	return found, ctx.Err()
}

// Packs implements secret.Store.
func (m *Memory) Packs(ctx context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	packs := map[string]bool{}
	for at := range m.rows {
		packs[at[0]] = true
	}
	return slices.Sorted(maps.Keys(packs)), ctx.Err()
}

// Delete implements secret.Store.
func (m *Memory) Delete(ctx context.Context, pack, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := [2]string{pack, name}
	if _, there := m.rows[at]; !there {
		return secret.ErrNone
	}
	delete(m.rows, at)
	return ctx.Err()
}

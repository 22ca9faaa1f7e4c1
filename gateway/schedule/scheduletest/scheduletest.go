// Package scheduletest is what every schedule.Store has to pass, and one in
// memory that does.
package scheduletest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/pack"
	"attune/gateway/schedule"
)

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) schedule.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, schedule.Store){
		"Empty": empty, "CreateKeeps": creates, "CreateRefusesAnother": refuses, "DeleteForgets": deletes,
		"SwapRoundTrips": roundTrips, "SwapComparesTheVersion": swaps, "OneOfManySwaps": race,
		"OneOfManyCreates": createRace, "SchedulesAreApart": apart, "CancelledContext": cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 123456789, time.UTC)

func stored(ref string) schedule.Stored {
	enabled := false
	return schedule.Stored{CreatedAt: noon, Spec: pack.ScheduleSpec{
		Ref: ref, Action: "demo.a", Cron: "30 2 * * 1-5", Timezone: "Europe/Berlin", Jitter: "5m", Misfire: "once",
		Overlap: "skip", Parameters: []byte(`{"n":12345678901234567890,"text":"ü\u0000"}`), Enabled: &enabled,
	}}
}

func state(ref string, version int64) schedule.State {
	return schedule.State{
		Ref: ref, Version: version, Timing: "a\nb", Cursor: noon, Paused: true, Run: "01J1M5XZ5V0000000000000000",
		Claim: &schedule.Claim{Slot: noon, ID: "x", By: "g1", Until: noon, Attempts: 2, Code: "overloaded", Reason: "r"},
		Last:  &schedule.Slot{Slot: noon, At: noon, Outcome: schedule.Started, Execution: "x"},
	}
}

func want(t *testing.T, s schedule.Store, all []schedule.Stored, states ...schedule.State) {
	t.Helper()
	wanted := map[string]schedule.State{}
	for _, one := range states {
		wanted[one.Ref] = one
	}
	got, gotStates, err := s.Load(t.Context())
	if diff := cmp.Diff(all, got) + cmp.Diff(wanted, gotStates); diff != "" || err != nil {
		t.Errorf("Load(), %v (-want +got):\n%s", err, diff)
	}
}

func create(t *testing.T, s schedule.Store, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		if err := s.Create(t.Context(), stored(ref)); err != nil {
			t.Fatalf("Create(%s) error = %v", ref, err)
		}
	}
}

func swap(t *testing.T, s schedule.Store, before int64, next schedule.State, want bool) {
	t.Helper()
	if got, err := s.Swap(t.Context(), before, next); got != want || err != nil {
		t.Errorf("Swap(%d, %s version %d) = %t, %v, want %t", before, next.Ref, next.Version, got, err, want)
	}
}

func empty(t *testing.T, s schedule.Store) {
	want(t, s, nil)
	if err := s.Delete(t.Context(), "demo.a"); !errors.Is(err, schedule.ErrNone) {
		t.Errorf("Delete() error = %v, want ErrNone", err)
	}
}

func creates(t *testing.T, s schedule.Store) {
	create(t, s, "demo.z", "demo.a", "core.b")
	want(t, s, []schedule.Stored{stored("core.b"), stored("demo.a"), stored("demo.z")})
}

func refuses(t *testing.T, s schedule.Store) {
	create(t, s, "demo.a")
	other := stored("demo.a")
	other.Spec.Cron = "@daily"
	if err := s.Create(t.Context(), other); !errors.Is(err, schedule.ErrExists) {
		t.Errorf("Create() error = %v, want ErrExists", err)
	}
	want(t, s, []schedule.Stored{stored("demo.a")})
}

func deletes(t *testing.T, s schedule.Store) {
	create(t, s, "demo.a", "demo.b")
	swap(t, s, 0, state("demo.a", 1), true)
	swap(t, s, 0, state("demo.b", 1), true)
	swap(t, s, 0, state("demo.file", 1), true)
	if err := s.Delete(t.Context(), "demo.a"); err != nil {
		t.Errorf("Delete() error = %v", err)
	}
	if err := s.Delete(t.Context(), "demo.file"); !errors.Is(err, schedule.ErrNone) {
		t.Errorf("Delete() of a state alone error = %v, want ErrNone", err)
	}
	want(t, s, []schedule.Stored{stored("demo.b")}, state("demo.b", 1), state("demo.file", 1))
	swap(t, s, 1, state("demo.a", 2), false) // by who has not heard of it
	create(t, s, "demo.a")
	swap(t, s, 0, state("demo.a", 1), true)
}

func roundTrips(t *testing.T, s schedule.Store) {
	bare := schedule.State{Ref: "demo.b", Version: 1, Cursor: noon}
	swap(t, s, 0, bare, true)
	swap(t, s, 0, state("demo.a", 1), true)
	want(t, s, nil, state("demo.a", 1), bare)
}

func swaps(t *testing.T, s schedule.Store) {
	swap(t, s, 1, state("demo.a", 2), false)
	swap(t, s, 0, state("demo.a", 1), true)
	swap(t, s, 0, state("demo.a", 1), true) // the same again
	other := state("demo.a", 1)
	other.Claim.By = "g2"
	swap(t, s, 0, other, false)
	swap(t, s, 2, state("demo.a", 3), false)
	want(t, s, nil, state("demo.a", 1))
	swap(t, s, 1, state("demo.a", 2), true)
	swap(t, s, 1, state("demo.a", 2), true) // the same again
	swap(t, s, 1, other, false)
	want(t, s, nil, state("demo.a", 2))
}

func race(t *testing.T, s schedule.Store) {
	for version := range int64(20) {
		var won atomic.Int64
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() {
				next := state("demo.a", version+1)
				next.Claim.By = fmt.Sprint("g", n)
				done, err := s.Swap(t.Context(), version, next)
				if err != nil {
					t.Errorf("Swap() error = %v", err)
				}
				if done {
					won.Add(1)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 8 wrote version %d", won.Load(), version+1)
		}
	}
}

func createRace(t *testing.T, s schedule.Store) {
	var won atomic.Int64
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			one := stored("demo.a")
			one.Spec.Jitter = fmt.Sprint(n)
			switch err := s.Create(t.Context(), one); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, schedule.ErrExists):
				t.Errorf("Create() error = %v", err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 8 created one schedule", won.Load())
	}
}

func apart(t *testing.T, s schedule.Store) {
	swap(t, s, 0, state("demo.a", 1), true)
	swap(t, s, 0, state("demo.b", 1), true)
	swap(t, s, 1, state("demo.b", 2), true)
	swap(t, s, 0, state("demo.a-b", 1), true)
	want(t, s, nil, state("demo.a", 1), state("demo.b", 2), state("demo.a-b", 1))
}

func cancelled(t *testing.T, s schedule.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Load() of a cancelled context error = %v", err)
	}
	if done, err := s.Swap(ctx, 0, state("demo.a", 1)); done || !errors.Is(err, context.Canceled) {
		t.Errorf("Swap() of a cancelled context = %t, %v", done, err)
	}
	want(t, s, nil)
}

// Memory is a store that keeps its contract, in maps.
type Memory struct {
	mu     sync.Mutex
	stored map[string]schedule.Stored
	states map[string]schedule.State
}

var _ schedule.Store = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{stored: map[string]schedule.Stored{}, states: map[string]schedule.State{}}
}

// Load implements schedule.Store.
func (m *Memory) Load(ctx context.Context) ([]schedule.Stored, map[string]schedule.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	var all []schedule.Stored
	for _, one := range m.stored {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b schedule.Stored) int { return strings.Compare(a.Spec.Ref, b.Spec.Ref) })
	states := map[string]schedule.State{}
	for ref, one := range m.states {
		states[ref] = clone(one)
	}
	return all, states, nil
}

// clone shares nothing that a caller could change.
func clone(s schedule.State) schedule.State {
	if s.Claim != nil {
		claim := *s.Claim
		s.Claim = &claim
	}
	if s.Last != nil {
		last := *s.Last
		s.Last = &last
	}
	return s
}

// Create implements schedule.Store.
func (m *Memory) Create(ctx context.Context, s schedule.Stored) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.stored[s.Spec.Ref]; there {
		return schedule.ErrExists
	}
	if ctx.Err() == nil {
		m.stored[s.Spec.Ref] = s
	}
	return ctx.Err()
}

// Delete implements schedule.Store.
func (m *Memory) Delete(ctx context.Context, ref string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.stored[ref]; !there {
		return schedule.ErrNone
	}
	delete(m.stored, ref)
	delete(m.states, ref)
	return ctx.Err()
}

// Swap implements schedule.Store.
func (m *Memory) Swap(ctx context.Context, before int64, s schedule.State) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.states[s.Ref]
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case cmp.Equal(old, s):
		return true, nil
	case old.Version != before:
		return false, nil
	}
	m.states[s.Ref] = clone(s)
	return true, nil
}

package execution

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"attune/tests/kit"
)

// recording is a recorder that runs, over a store in memory.
func recording(t *testing.T) (*Recorder, *memory, func()) {
	t.Helper()
	store := newMemory()
	r := NewRecorder(store, Retention{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	t.Cleanup(stop)
	return r, store, stop
}

func numbered(n int) *Execution { return &Execution{ID: fmt.Sprintf("%06d", n)} }

// want checks that the store has the executions from first on, in order.
func (m *memory) want(t *testing.T, first, count int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var want []string
	for n := first; n < first+count; n++ {
		want = append(want, numbered(n).ID)
	}
	if !slices.Equal(m.order, want) {
		t.Errorf("%d executions are saved, want %d from %d on, in order", len(m.order), count, first)
	}
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.order)
}

func TestRecorderWritesInBatches(t *testing.T) {
	t.Parallel()
	r, store, stop := recording(t)
	block := make(chan struct{})
	store.set(nil, block)
	for n := range 350 {
		r.Record(numbered(n))
	}
	close(block)
	kit.Until(t, func() bool { return store.count() == 350 })
	stop()
	store.want(t, 0, 350)
	if most := slices.Max(store.batches); most > recordBatch || len(store.batches) > 350/recordBatch+2 {
		t.Errorf("batches of %v", store.batches)
	}
}

func TestRecorderWritesTheRestAtTheEnd(t *testing.T) {
	t.Parallel()
	r, store, stop := recording(t)
	r.Record(numbered(0))
	stop()
	store.want(t, 0, 1)
}

func TestReadingSeesWhatWasJustRecorded(t *testing.T) {
	t.Parallel()
	store := newMemory()
	r := NewRecorder(store, Retention{}, slog.New(slog.DiscardHandler)) // nobody runs it
	r.Record(numbered(0))
	if x, err := r.Get(t.Context(), numbered(0).ID); err != nil || x.ID != numbered(0).ID {
		t.Errorf("Get() = %v, %v", x, err)
	}
	r.Record(numbered(1))
	if page, err := r.List(t.Context(), Query{}); err != nil || len(page.Executions) != 2 {
		t.Errorf("List() = %v, %v", page, err)
	}
	if x, err := r.Get(t.Context(), "missing"); !errors.Is(err, ErrNoExecution) {
		t.Errorf("Get() of a missing one = %v, %v", x, err)
	}
}

func TestStoreThatWasAwayLosesNothing(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	store := newMemory()
	r := NewRecorder(store, Retention{}, slog.New(slog.NewTextHandler(&logged, nil)))
	away := errors.New("connection refused")
	store.set(away, nil)
	for n := range 250 {
		r.Record(numbered(n))
		if n%50 == 0 {
			if err := r.flush(t.Context()); !errors.Is(err, away) {
				t.Errorf("flush() = %v", err)
			}
		}
	}
	if x, err := r.Get(t.Context(), numbered(0).ID); !errors.Is(err, away) {
		t.Errorf("Get() = %v, %v, want the store's error", x, err)
	}
	store.set(nil, nil)
	if err := r.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.want(t, 0, 250)
	if lines := strings.Count(logged.String(), "\n"); lines != 1 {
		t.Errorf("%d lines are logged, want that it is away, once:\n%s", lines, &logged)
	}
}

// What a store that stays away may cost is bounded, by number and by bytes, and
// what is dropped is the oldest, and told.
func TestStoreThatStaysAwayCostsBoundedMemory(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bytes, recorded, kept int
	}{
		"many":  {0, 2*maxUnsaved + 500, maxUnsaved},
		"large": {unsavedBytes / 8, 20, 7},
		"huge":  {2 * unsavedBytes, 3, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			store := newMemory()
			store.set(errors.New("away"), nil)
			r := NewRecorder(store, Retention{}, slog.New(slog.NewTextHandler(&logged, nil)))
			output := strings.Repeat("x", test.bytes)
			for n := range test.recorded {
				x := numbered(n)
				x.Stdout = output
				r.Record(x)
				if n%(test.recorded/3+1) == 0 { // a batch that comes back must not push the bound
					if err := r.flush(t.Context()); err == nil {
						t.Error("flush() to a store that is away succeeds")
					}
				}
			}
			store.set(nil, nil)
			if err := r.flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			store.want(t, test.recorded-test.kept, test.kept)
			if r.bytes != 0 || !strings.Contains(logged.String(), "executions were not recorded") {
				t.Errorf("%d bytes are counted, logged:\n%s", r.bytes, &logged)
			}
			for _, n := range store.batches {
				if test.bytes > batchBytes && n != 1 {
					t.Errorf("large executions are saved in batches of %v", store.batches)
				}
			}
		})
	}
}

// A reader waits for a slow store no longer than it wants to.
func TestReaderLeavesASlowStore(t *testing.T) {
	t.Parallel()
	r, store, stop := recording(t)
	block := make(chan struct{})
	store.set(nil, block)
	for n := range recordBatch {
		r.Record(numbered(n))
	}
	kit.Until(t, func() bool { return len(r.saving) == 0 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if x, err := r.Get(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Get() = %v, %v, want context.Canceled", x, err)
	}
	close(block)
	stop()
	store.want(t, 0, recordBatch)
}

func TestRecorderIsConcurrent(t *testing.T) {
	t.Parallel()
	r, store, stop := recording(t)
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			for i := range 100 {
				x := numbered(caller*1000 + i)
				r.Record(x)
				if i%10 == 0 {
					if got, err := r.Get(t.Context(), x.ID); err != nil || got != x {
						t.Errorf("Get() = %v, %v", got, err)
					}
				}
			}
		})
	}
	callers.Wait()
	stop()
	if n := store.count(); n != 800 {
		t.Errorf("%d executions are saved", n)
	}
}

// TestEveryEndIsTold: also that of an execution whose call has come to no end.
func TestEveryEndIsTold(t *testing.T) {
	t.Parallel()
	r, store, _ := recording(t)
	var mu sync.Mutex
	told := map[string]Status{}
	r.OnEnd(func(x *Execution) {
		mu.Lock()
		defer mu.Unlock()
		told[x.ID] = x.Status
	})
	ended, abandoned := numbered(1), numbered(2)
	r.Begin(ended, Limits{}, func(error) {})
	lost := r.Begin(abandoned, Limits{}, func(error) {})
	if stats := r.Stats(); stats.Queued != 2 || stats.Running != 0 {
		t.Errorf("stats = %+v, want two that wait", stats)
	}
	lost.Start()
	if stats := r.Stats(); stats.Queued != 1 || stats.Running != 1 {
		t.Errorf("stats = %+v, want one that runs", stats)
	}
	done := *ended
	done.Status = StatusSucceeded
	r.Record(&done)
	r.abandon(lost)
	mu.Lock()
	defer mu.Unlock()
	if told[ended.ID] != StatusSucceeded || told[abandoned.ID] != StatusFailed || len(told) != 2 {
		t.Errorf("told = %v, want both", told)
	}
	kit.Until(t, func() bool { return store.count() == 2 })
	if stats := r.Stats(); stats != (Stats{}) {
		t.Errorf("stats = %+v, want nothing left", stats)
	}
}

// TestLostRecordsAreCounted: those of a store that is away for too long.
func TestLostRecordsAreCounted(t *testing.T) {
	t.Parallel()
	r := NewRecorder(newMemory(), Retention{}, slog.New(slog.DiscardHandler))
	for n := range maxUnsaved + 3 {
		r.Record(numbered(n))
	}
	if stats := r.Stats(); stats.Lost != 3 || stats.Pending != maxUnsaved {
		t.Errorf("stats = %+v, want three lost and %d pending", stats, maxUnsaved)
	}
}

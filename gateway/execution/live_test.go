package execution

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"attune/tests/kit"
)

// What is listed is the store's and what runs, each once, in every page.
func TestListingMergesWhatRuns(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(5, 6))
	at := func(n int) time.Time { return time.Unix(1000, 0).Add(time.Duration(n) * time.Second).UTC() }
	for range 200 {
		var stored, live []*Execution
		var want []string
		for n := range 12 {
			x := &Execution{ID: fmt.Sprintf("%03d", n), Action: "a.b", Status: StatusRunning, CreatedAt: at(n)}
			running := random.IntN(2) == 0
			if running {
				live = append(live, x)
			}
			if !running || random.IntN(2) == 0 { // what runs may be known to the store
				saved := *x
				if !running {
					saved.Status = StatusSucceeded
				}
				stored = append(stored, &saved)
			}
			want = append(want, x.ID)
		}
		slices.Reverse(stored)
		slices.Reverse(want)
		var got []string
		for query := (Query{Limit: 1 + random.IntN(5)}); ; {
			rest := stored
			if query.Cursor != "" {
				after, err := ParseCursor(query.Cursor)
				if err != nil {
					t.Fatal(err)
				}
				rest = slices.DeleteFunc(slices.Clone(stored), func(x *Execution) bool {
					at, err := x.Position()
					return err != nil || at.compare(after) >= 0
				})
			}
			page, err := NewPage(query, rest[:min(len(rest), query.Limit+1)])
			if err != nil {
				t.Fatal(err)
			}
			if page, err = page.withLive(query, live); err != nil {
				t.Fatal(err)
			}
			for _, x := range page.Executions {
				got = append(got, x.ID)
			}
			if page.Next == "" {
				break
			}
			query.Cursor = page.Next
		}
		if !slices.Equal(got, want) {
			t.Fatalf("pages = %v, want %v; %d live, %d stored", got, want, len(live), len(stored))
		}
	}
}

// A long execution is saved as running, and never again after its end.
func TestLongExecutionsAreAnnounced(t *testing.T) {
	t.Parallel()
	store := newMemory()
	r := NewRecorder(store, Retention{}, slog.New(slog.DiscardHandler))
	x := numbered(1)
	x.CreatedAt = time.Now().Add(-2 * announceAfter)
	young := numbered(2)
	young.CreatedAt = time.Now()
	running := r.Begin(x, Limits{}, func(error) {})
	r.Begin(young, Limits{}, func(error) {})
	for _, step := range []struct {
		act   func()
		want  Status
		saves int
	}{
		{func() {}, StatusQueued, 1}, {running.Start, StatusRunning, 2}, {func() {}, StatusRunning, 2},
		{func() { done := *x; done.Status = StatusFailed; r.Record(&done) }, StatusFailed, 3}, {func() {}, StatusFailed, 3},
	} {
		step.act()
		if err := r.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := store.saved[x.ID]; got == nil || got.Status != step.want || len(store.batches) != step.saves || store.saved[young.ID] != nil {
			t.Errorf("saved %v in %v, want %s in %d", got, store.batches, step.want, step.saves)
		}
	}
}

// What the store has as running is ended if its gateway is known not to run it.
func TestLostExecutionsAreEnded(t *testing.T) {
	t.Parallel()
	store := newMemory()
	r := NewRecorder(store, Retention{Gateway: "gw", Longest: time.Minute}, slog.New(slog.DiscardHandler))
	old, now := time.Now().Add(-time.Hour), time.Now()
	for id, x := range map[string]Execution{
		"own": {Gateway: "gw", CreatedAt: now, Status: StatusRunning, StartedAt: &now}, "live": {Gateway: "gw", CreatedAt: now, Status: StatusRunning},
		"late": {Gateway: "other", CreatedAt: old, Status: StatusQueued}, "other": {Gateway: "other", CreatedAt: now, Status: StatusRunning},
		"ended": {Gateway: "gw", CreatedAt: old, Status: StatusSucceeded},
	} {
		x.ID = id
		if err := store.Save(t.Context(), &x); err != nil {
			t.Fatal(err)
		}
	}
	r.Begin(store.saved["live"], Limits{}, func(error) {})
	if err := r.bury(t.Context()); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]Status{"own": StatusFailed, "late": StatusFailed, "live": StatusRunning, "other": StatusRunning, "ended": StatusSucceeded} {
		if x := store.saved[id]; x.Status != want || want == StatusFailed && (x.Error == nil || x.EndedAt == nil || x.Error.Started != (id == "own")) {
			t.Errorf("%s = %+v, want %s", id, x, want)
		}
	}
}

// A cancelled execution is killed, and says that nobody left.
func TestCancelledExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"long": {"", "echo begun; sleep 100"}}, nil)
	id := NewID()
	done := make(chan error, 1)
	go func() {
		_, err := r.Invoke(t.Context(), Request{ID: id, Action: "demo.long", Arrived: time.Now()})
		done <- err
	}()
	kit.Until(t, func() bool {
		running, ok := r.recorder.Running(id)
		return ok && running.Execution().Stdout == "begun\n" && running.Summary().Status == StatusRunning
	})
	running, _ := r.recorder.Running(id)
	running.Cancel()
	running.Cancel()
	failure := asError(t, <-done)
	if failure.Code != CodeCancelled || !failure.Started || failure.Reason != "the execution was cancelled before the action had ended" {
		t.Errorf("error = %+v", failure)
	}
	if x, err := r.recorder.Get(t.Context(), id); err != nil || x.Status != StatusCancelled || x.Stdout != "begun\n" {
		t.Errorf("Get() = %+v, %v", x, err)
	}
	if _, ok := r.recorder.Running(id); ok || !running.HasEnded() {
		t.Error("it is shown as running after its end")
	}
}

// A slow store and slow retention hold up neither calls nor each other.
func BenchmarkRecord(b *testing.B) {
	store := newMemory()
	store.set(errors.New("away"), nil)
	r := NewRecorder(store, Retention{}, slog.New(slog.DiscardHandler))
	x := &Execution{ID: NewID(), Action: "a.b", Stdout: "some output\n", CreatedAt: time.Now()}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Record(x)
		}
	})
}

// BenchmarkBeginAndRecord is what a call pays for being seen while it runs.
func BenchmarkBeginAndRecord(b *testing.B) {
	r := NewRecorder(newMemory(), Retention{}, slog.New(slog.DiscardHandler))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			x := &Execution{ID: NewID(), Action: "a.b", CreatedAt: time.Now()}
			r.Begin(x, Limits{}, func(error) {}).Start()
			r.Record(x)
		}
	})
}

// Package callbacktest is what every callback.Store has to pass, and one in memory
// that does.
package callbacktest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/callback"
)

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) callback.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, callback.Store){
		"RoundTrips": roundTrips, "PutKeepsWhatIsThere": putKeeps, "TakeLeases": leases, "TakeBounds": bounds,
		"LapsedLeaseComesBack": comesBack, "LaterPutsOff": putsOff, "LaterOfALostOneIsNothing": lostLater,
		"DoneForgets": forgets, "EachIsOnes": eachIsOnes, "CancelledContext": cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

func delivery(id string) callback.Delivery {
	return callback.Delivery{
		ID: id, URL: "https://example.org/" + id + "?a=b%20c", Body: []byte{'{', 0, 0xff, '\n'},
		Created: time.Date(2026, 11, 24, 1, 2, 3, 4e6, time.UTC),
	}
}

func put(t *testing.T, s callback.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := s.Put(t.Context(), delivery(id)); err != nil {
			t.Fatalf("Put(%s) error = %v", id, err)
		}
	}
}

func take(t *testing.T, s callback.Store, most int, lease time.Duration) []callback.Delivery {
	t.Helper()
	taken, err := s.Take(t.Context(), most, lease)
	if err != nil {
		t.Fatalf("Take(%d) error = %v", most, err)
	}
	return taken
}

func roundTrips(t *testing.T, s callback.Store) {
	if taken := take(t, s, 9, time.Hour); len(taken) != 0 {
		t.Errorf("Take() of an empty store = %v", taken)
	}
	empty := delivery("b")
	empty.Body = nil
	put(t, s, "a")
	if err := s.Put(t.Context(), empty); err != nil {
		t.Fatal(err)
	}
	got := take(t, s, 9, time.Hour)
	slices.SortFunc(got, func(a, b callback.Delivery) int { return cmp.Compare(a.ID, b.ID) })
	wanted := []callback.Delivery{delivery("a"), empty}
	wanted[0].Attempts, wanted[1].Attempts, wanted[1].Body = 1, 1, []byte{}
	for i := range got {
		got[i].Body = append([]byte{}, got[i].Body...)
	}
	if diff := gocmp.Diff(wanted, got); diff != "" {
		t.Errorf("Take() (-want +got):\n%s", diff)
	}
}

func putKeeps(t *testing.T, s callback.Store) {
	put(t, s, "a")
	take(t, s, 1, time.Hour)
	other := delivery("a")
	other.URL = "https://other"
	if err := s.Put(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if taken := take(t, s, 1, time.Hour); len(taken) != 0 {
		t.Errorf("Take() after another Put = %v, want nothing", taken)
	}
}

func leases(t *testing.T, s callback.Store) {
	put(t, s, "a", "b")
	if first, second := take(t, s, 1, time.Hour), take(t, s, 9, time.Hour); len(first) != 1 || len(second) != 1 || first[0].ID == second[0].ID {
		t.Errorf("Take() = %v, then %v, want one each", first, second)
	}
	if taken := take(t, s, 9, time.Hour); len(taken) != 0 {
		t.Errorf("Take() of what is taken = %v", taken)
	}
}

func bounds(t *testing.T, s callback.Store) {
	put(t, s, "a", "b", "c")
	if taken := take(t, s, 0, time.Hour); len(taken) != 0 {
		t.Errorf("Take(0) = %v", taken)
	}
	if taken := take(t, s, 2, time.Hour); len(taken) != 2 {
		t.Errorf("Take(2) = %v", taken)
	}
}

func comesBack(t *testing.T, s callback.Store) {
	put(t, s, "a")
	take(t, s, 1, time.Millisecond)
	until(t, func() bool {
		taken := take(t, s, 1, time.Hour)
		return len(taken) == 1 && taken[0].Attempts == 2
	})
}

func putsOff(t *testing.T, s callback.Store) {
	put(t, s, "a", "b")
	for _, d := range take(t, s, 2, time.Hour) {
		after := map[string]time.Duration{"a": time.Millisecond, "b": time.Hour}[d.ID]
		if err := s.Later(t.Context(), d, after); err != nil {
			t.Fatalf("Later() error = %v", err)
		}
	}
	until(t, func() bool {
		taken := take(t, s, 2, time.Hour)
		if len(taken) > 0 && taken[0].ID != "a" {
			t.Fatalf("Take() = %v, want a alone", taken)
		}
		return len(taken) == 1
	})
}

// lostLater: whoever was too slow must not take it from who has it now.
func lostLater(t *testing.T, s callback.Store) {
	put(t, s, "a")
	slow := take(t, s, 1, time.Millisecond)[0]
	until(t, func() bool { return len(take(t, s, 1, time.Hour)) == 1 })
	if err := s.Later(t.Context(), slow, 0); err != nil {
		t.Fatalf("Later() error = %v", err)
	}
	if taken := take(t, s, 1, time.Hour); len(taken) != 0 {
		t.Errorf("Take() = %v, want it to be the second's", taken)
	}
	if err := s.Later(t.Context(), delivery("none"), 0); err != nil {
		t.Errorf("Later() of none error = %v", err)
	}
	if taken := take(t, s, 1, time.Hour); len(taken) != 0 {
		t.Errorf("Take() = %v: Later has made one", taken)
	}
}

func forgets(t *testing.T, s callback.Store) {
	put(t, s, "a")
	take(t, s, 1, 0)
	for range 2 {
		if err := s.Done(t.Context(), "a"); err != nil {
			t.Fatalf("Done() error = %v", err)
		}
	}
	if taken := take(t, s, 1, time.Hour); len(taken) != 0 {
		t.Errorf("Take() = %v after Done", taken)
	}
}

func eachIsOnes(t *testing.T, s callback.Store) {
	const n = 60
	for i := range n {
		put(t, s, fmt.Sprint(i))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() {
			for {
				taken, err := s.Take(t.Context(), 7, time.Hour)
				if err != nil {
					t.Errorf("Take() error = %v", err)
				}
				if len(taken) == 0 {
					return
				}
				mu.Lock()
				for _, d := range taken {
					seen[d.ID]++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was taken %d times", id, times)
		}
	}
	if len(seen) != n {
		t.Errorf("%d of %d were taken", len(seen), n)
	}
}

func cancelled(t *testing.T, s callback.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Take(ctx, 1, time.Hour)
	for name, err := range map[string]error{
		"Put": s.Put(ctx, delivery("a")), "Take": err, "Later": s.Later(ctx, delivery("a"), 0), "Done": s.Done(ctx, "a"),
	} {
		if err == nil {
			t.Errorf("%s(cancelled) error = nil", name)
		}
	}
}

// until waits for what time brings.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for limit := time.After(10 * time.Second); !done(); {
		select {
		case <-limit:
			t.Fatal("it has not happened within 10 s")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

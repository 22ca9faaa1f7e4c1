// Package hooktest is what every hook.Store has to pass, and one in memory that
// does.
package hooktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/hook"
)

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) hook.Store) {
	t.Helper()
	tests := map[string]func(*testing.T, hook.Store){
		"FirstKeyStays": firstKeyStays, "RotateKeepsTheKeyBefore": rotates, "OneKeyForManyAtOnce": oneKeyAtOnce,
		"ClaimsOnce": claims, "ClaimOfTheDead": claimOfTheDead, "MarksExpire": marksExpire, "Release": releases, "ClaimedByOneOfMany": claimedByOne,
		"EntriesRoundTrip": entriesRoundTrip, "EntriesPage": entriesPage, "Prune": prunes, "CancelledContext": cancelled,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

// noon is real time, since stores may let things expire by their own clocks.
var noon = time.Now().UTC().Truncate(time.Millisecond)

func check[T any](t *testing.T, what string, got T, err error, want T) {
	t.Helper()
	if diff := gocmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%s, %v (-want +got):\n%s", what, err, diff)
	}
}

func wantFound(t *testing.T, s hook.Store, key string, now time.Time, want string) {
	t.Helper()
	got, err := s.Find(t.Context(), key, now)
	if got != want || (want == "") != errors.Is(err, hook.ErrNone) {
		t.Errorf("Find(%s) = %q, %v, want %q", key, got, err, want)
	}
}

func firstKeyStays(t *testing.T, s hook.Store) {
	wantFound(t, s, "K1", noon, "")
	want := hook.Address{Hook: "demo.push", Key: "K1", CreatedAt: noon}
	got, err := s.Address(t.Context(), "demo.push", "K1", noon)
	check(t, "Address()", got, err, want)
	got, err = s.Address(t.Context(), "demo.push", "K2", noon.Add(time.Hour))
	check(t, "Address() again", got, err, want)
	_, err = s.Address(t.Context(), "demo.pull", "K3", noon)
	check(t, "Address() of another", 0, err, 0)
	for key, name := range map[string]string{"K1": "demo.push", "K2": "", "K3": "demo.pull", "": "", "k1": ""} {
		wantFound(t, s, key, noon.Add(1000*time.Hour), name)
	}
}

func rotates(t *testing.T, s hook.Store) {
	if _, err := s.Address(t.Context(), "demo.push", "K1", noon); err != nil {
		t.Fatal(err)
	}
	until := noon.Add(time.Hour)
	want := hook.Address{Hook: "demo.push", Key: "K2", CreatedAt: noon, Previous: "K1", PreviousUntil: until}
	got, err := s.Rotate(t.Context(), "demo.push", "K2", noon, until)
	check(t, "Rotate()", got, err, want)
	got, err = s.Address(t.Context(), "demo.push", "K9", noon)
	check(t, "Address()", got, err, want)
	wantFound(t, s, "K1", until.Add(-time.Second), "demo.push")
	wantFound(t, s, "K2", noon, "demo.push")
	got, err = s.Address(t.Context(), "demo.push", "K9", until)
	check(t, "Address() after the grace", got, err, hook.Address{Hook: "demo.push", Key: "K2", CreatedAt: noon})
	wantFound(t, s, "K1", until, "")

	// A second one within the grace, without any: only the newest is left.
	got, err = s.Rotate(t.Context(), "demo.push", "K3", noon, time.Time{})
	check(t, "Rotate() without grace", got, err, hook.Address{Hook: "demo.push", Key: "K3", CreatedAt: noon})
	for key, name := range map[string]string{"K1": "", "K2": "", "K3": "demo.push"} {
		wantFound(t, s, key, noon, name)
	}
	_, err = s.Rotate(t.Context(), "demo.new", "K4", noon, until)
	check(t, "Rotate() of one without an address", 0, err, 0)
	wantFound(t, s, "K4", noon, "demo.new")
}

func oneKeyAtOnce(t *testing.T, s hook.Store) {
	var group sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for n := range 20 {
		group.Go(func() {
			a, err := s.Address(t.Context(), "demo.push", fmt.Sprintf("K%d", n), noon)
			if err != nil {
				t.Errorf("Address() error = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[a.Key] = true
		})
	}
	group.Wait()
	if len(seen) != 1 {
		t.Errorf("20 callers were given the keys %v, want one", seen)
	}
}

func mark(id, digest, execution string) hook.Mark {
	return hook.Mark{Hook: "demo.push", ID: id, Digest: digest, Execution: execution, Owner: execution, Pending: noon.Add(time.Minute)}
}

func claim(t *testing.T, s hook.Store, m hook.Mark, now time.Time, want hook.Mark) {
	t.Helper()
	got, err := s.Claim(t.Context(), m, now)
	check(t, fmt.Sprintf("Claim(%s, %s)", m.ID, m.Execution), got, err, want)
}

func claims(t *testing.T, s hook.Store) {
	first := mark("d:1 é", "a", "E1")
	claim(t, s, first, noon, first)
	claim(t, s, mark("d:1 é", "b", "E2"), noon, first)
	claim(t, s, mark("d:1", "b", "E3"), noon, mark("d:1", "b", "E3"))
	other := mark("d:1 é", "b", "E4")
	other.Hook = "demo.pull"
	claim(t, s, other, noon, other)
	if err := errors.Join(s.Done(t.Context(), "demo.push", "d:1 é", "E9"), s.Done(t.Context(), "demo.push", "none", "E1")); err != nil {
		t.Errorf("Done() of others error = %v", err)
	}
	claim(t, s, mark("d:1 é", "b", "E2"), noon, first)
	claim(t, s, mark("none", "b", "E5"), noon, mark("none", "b", "E5"))
	if err := s.Done(t.Context(), "demo.push", "d:1 é", "E1"); err != nil {
		t.Errorf("Done() error = %v", err)
	}
	first.Done = true
	claim(t, s, mark("d:1 é", "b", "E2"), noon.Add(hook.MarkTTL-time.Minute), first)
}

func claimOfTheDead(t *testing.T, s hook.Store) {
	claim(t, s, mark("d", "a", "E1"), noon, mark("d", "a", "E1"))
	later := mark("d", "b", "E2")
	later.Pending = noon.Add(time.Hour)
	want := later
	want.Execution = "E1"
	claim(t, s, later, noon.Add(time.Minute), want)
	claim(t, s, mark("d", "c", "E3"), noon.Add(time.Minute), want)
}

func marksExpire(t *testing.T, s hook.Store) {
	past := noon.Add(-hook.MarkTTL)
	old := mark("d", "a", "E1")
	claim(t, s, old, past, old)
	if err := s.Done(t.Context(), "demo.push", "d", "E1"); err != nil {
		t.Errorf("Done() error = %v", err)
	}
	claim(t, s, mark("d", "b", "E2"), noon, mark("d", "b", "E2"))
}

func releases(t *testing.T, s hook.Store) {
	claim(t, s, mark("d", "a", "E1"), noon, mark("d", "a", "E1"))
	release := func(execution string) {
		if err := s.Release(t.Context(), "demo.push", "d", execution); err != nil {
			t.Errorf("Release() error = %v", err)
		}
	}
	release("E2")
	claim(t, s, mark("d", "b", "E2"), noon, mark("d", "a", "E1"))
	release("E1")
	claim(t, s, mark("d", "b", "E2"), noon, mark("d", "b", "E2"))
	if err := s.Done(t.Context(), "demo.push", "d", "E2"); err != nil {
		t.Errorf("Done() error = %v", err)
	}
	release("E2")
	done := mark("d", "b", "E2")
	done.Done = true
	claim(t, s, mark("d", "c", "E3"), noon, done)
}

func claimedByOne(t *testing.T, s hook.Store) {
	var group sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]bool{}
	for n := range 50 {
		group.Go(func() {
			m, err := s.Claim(t.Context(), mark("d", "a", fmt.Sprintf("E%d", n)), noon)
			if err != nil {
				t.Errorf("Claim() error = %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[m.Execution] = true
		})
	}
	group.Wait()
	if len(seen) != 1 {
		t.Errorf("50 claims of one delivery are of the executions %v, want one", seen)
	}
}

// entry is that of the nth second.
func entry(n int) hook.Entry {
	at := noon.Add(time.Duration(n) * time.Second)
	return hook.Entry{ID: hook.FirstID(at)[:25] + "A", Hook: "demo.push", At: at, Outcome: hook.Accepted, Status: 202}
}

func appendAll(t *testing.T, s hook.Store, entries ...hook.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := s.Append(t.Context(), e); err != nil {
			t.Fatalf("Append(%s) error = %v", e.ID, err)
		}
	}
}

func entriesRoundTrip(t *testing.T, s hook.Store) {
	full := entry(1)
	full.Delivery, full.Code, full.Execution, full.DurationMS, full.Size, full.ReplayOf = "é\n", "id-reuse", "E1", 1.25, 3, "R"
	full.Headers, full.Query, full.Body, full.Replayable = map[string]string{"x-a": "1"}, "a=1", []byte{0, 0xff, '\n'}, true
	large := entry(2)
	large.Body = []byte(strings.Repeat("x", 1<<20))
	appendAll(t, s, full, large, entry(3))
	for _, want := range []hook.Entry{full, large, entry(3)} {
		got, err := s.Entry(t.Context(), "demo.push", want.ID)
		check(t, "Entry()", got, err, want)
	}
	for _, missing := range [][2]string{{"demo.pull", full.ID}, {"demo.push", entry(9).ID}, {"demo", "push:" + full.ID}} {
		if _, err := s.Entry(t.Context(), missing[0], missing[1]); !errors.Is(err, hook.ErrNone) {
			t.Errorf("Entry(%v) error = %v, want ErrNone", missing, err)
		}
	}
}

func ids(entries []hook.Entry) (all []string) {
	for _, e := range entries {
		all = append(all, e.ID)
	}
	return all
}

func entriesPage(t *testing.T, s hook.Store) {
	got, next, err := s.Entries(t.Context(), "demo.push", "", 10)
	if len(got) > 0 || next != "" || err != nil {
		t.Errorf("Entries() of an empty log = %v, %q, %v", got, next, err)
	}
	first, second, third, other := entry(1), entry(2), entry(3), entry(2)
	third.Body, third.Headers, other.Hook = []byte("x"), map[string]string{"a": "b"}, "demo.pull"
	appendAll(t, s, second, first, third, other)
	got, next, err = s.Entries(t.Context(), "demo.push", "", 2)
	check(t, "Entries()", ids(got), err, []string{third.ID, second.ID})
	if next != second.ID || len(got) == 2 && (got[0].Body != nil || !maps.Equal(got[0].Headers, third.Headers)) {
		t.Errorf("Entries() = %v, next %q, want no bodies, next %q", got, next, second.ID)
	}
	got, next, err = s.Entries(t.Context(), "demo.push", next, 2)
	check(t, "Entries() of the second page", ids(got), err, []string{first.ID})
	if next != "" {
		t.Errorf("next of the last page = %q", next)
	}
	got, next, err = s.Entries(t.Context(), "demo.push", "", 3)
	check(t, "Entries() of a page that fits", len(got), err, 3)
	if next != "" {
		t.Errorf("next of a page that fits = %q", next)
	}
}

func prunes(t *testing.T, s hook.Store) {
	for n := range 6 {
		pull := entry(n)
		pull.Hook, pull.Body = "demo.pull", []byte("x")
		appendAll(t, s, entry(n), pull)
	}
	lone := entry(1)
	lone.Hook = "lone.one"
	appendAll(t, s, lone)
	if err := s.Prune(t.Context(), noon, noon.Add(2*time.Second), 3); err != nil {
		t.Fatalf("Prune() error = %v", err)
	}
	for _, name := range []string{"demo.push", "demo.pull"} {
		got, _, err := s.Entries(t.Context(), name, "", 10)
		check(t, "Entries() of "+name, ids(got), err, []string{entry(5).ID, entry(4).ID, entry(3).ID})
	}
	if err := s.Prune(t.Context(), noon, noon.Add(5*time.Second), 3); err != nil {
		t.Fatalf("Prune() error = %v", err)
	}
	got, _, err := s.Entries(t.Context(), "demo.push", "", 10)
	check(t, "Entries() after the second", ids(got), err, []string{entry(5).ID})
	got, _, err = s.Entries(t.Context(), "lone.one", "", 10)
	check(t, "Entries() of one that had an old one", len(got), err, 0)
	if _, err := s.Entry(t.Context(), "demo.pull", entry(1).ID); !errors.Is(err, hook.ErrNone) {
		t.Errorf("Entry() of a pruned one error = %v, want ErrNone", err)
	}
}

func cancelled(t *testing.T, s hook.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, address := s.Address(ctx, "demo.push", "K1", noon)
	_, found := s.Find(ctx, "K1", noon)
	_, claimed := s.Claim(ctx, mark("d", "a", "E"), noon)
	_, _, listed := s.Entries(ctx, "demo.push", "", 1)
	for name, err := range map[string]error{
		"Address": address, "Find": found, "Claim": claimed, "Entries": listed, "Append": s.Append(ctx, entry(1)), "Done": s.Done(ctx, "demo.push", "d", "E"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s() of a cancelled context error = %v", name, err)
		}
	}
}

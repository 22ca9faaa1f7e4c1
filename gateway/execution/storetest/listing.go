package storetest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/gateway/execution"
)

func reversed(executions []*execution.Execution) []*execution.Execution {
	executions = slices.Clone(executions)
	slices.Reverse(executions)
	return executions
}

func listIsNewestFirst(t *testing.T, s execution.Store) {
	// A nanosecond apart, on both sides of 1970, and equal but for the ID.
	var want []*execution.Execution
	for n, at := range []int64{-2, -1, 0, 1, 1 << 53, 1<<53 + 1, 1<<53 + 2, 1<<53 + 2, 1<<53 + 2} {
		e := numbered(n)
		e.CreatedAt = time.Unix(0, at).UTC()
		want = append(want, e)
	}
	shuffled := slices.Clone(want)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, e := range shuffled {
		mustSave(t, s, e)
	}
	wantSame(t, "List", mustList(t, s, execution.Query{}).Executions, reversed(want))
	wantSame(t, "pages of one", walk(t, s, execution.Query{Limit: 1}, nil), idsOf(reversed(want)))
}

func listHasNoOutput(t *testing.T, s execution.Store) {
	mustSave(t, s, full())
	want := full()
	want.Stdout, want.Stderr, want.Result = "", "", nil
	wantSame(t, "List", mustList(t, s, execution.Query{}).Executions, []*execution.Execution{want})
}

func listEmpty(t *testing.T, s execution.Store) {
	empty := execution.Page{Executions: []*execution.Execution{}}
	wantSame(t, "List of an empty store", mustList(t, s, execution.Query{}), empty)
	mustSave(t, s, series(3)...)
	for _, q := range []execution.Query{
		{Action: "pack.other"},
		{Action: "pack.actio%"},
		{Action: "pack"},
		{Status: execution.StatusFailed},
		{Status: "no such"},
		{Since: epoch.Add(time.Hour)},
		{Since: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		wantSame(t, fmt.Sprintf("List(%+v)", q), mustList(t, s, q), empty)
	}
	// Exactly a page: nothing comes after it.
	if page := mustList(t, s, execution.Query{Limit: 3}); len(page.Executions) != 3 || page.Next != "" {
		t.Errorf("List of a full last page = %d executions, next %q", len(page.Executions), page.Next)
	}
}

// population is n executions of all actions and statuses, many of the same
// moment.
func population(n int) []*execution.Execution {
	random := rand.New(rand.NewPCG(1, 2))
	actions := []string{"pack.a", "pack.b", "other.a"}
	statuses := []execution.Status{execution.StatusQueued, execution.StatusRunning, execution.StatusSucceeded, execution.StatusFailed}
	all := series(n)
	for _, e := range all {
		e.Action = actions[random.IntN(len(actions))]
		e.Status = statuses[random.IntN(len(statuses))]
		e.CreatedAt = epoch.Add(time.Duration(random.IntN(n/3)) * time.Nanosecond)
	}
	return all
}

// expected is what a store has to answer: the port in four lines.
func expected(all []*execution.Execution, q execution.Query) []string {
	selected := slices.DeleteFunc(slices.Clone(all), func(e *execution.Execution) bool {
		return q.Action != "" && q.Action != e.Action || q.Status != "" && q.Status != e.Status || e.CreatedAt.Before(q.Since)
	})
	slices.SortFunc(selected, func(a, b *execution.Execution) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return append([]string(nil), idsOf(selected)...)
}

// everyQuery combines all filters with some sizes of page.
func everyQuery(check func(execution.Query)) {
	for _, action := range []string{"", "pack.a", "other.a", "none.a"} {
		for _, status := range []execution.Status{"", execution.StatusQueued, execution.StatusFailed, execution.StatusCancelled} {
			for _, since := range []time.Time{{}, epoch, epoch.Add(30 * time.Nanosecond), epoch.Add(time.Hour)} {
				for _, limit := range []int{7, 0} {
					check(execution.Query{Action: action, Status: status, Since: since, Limit: limit})
				}
			}
		}
	}
}

func everyFilterPages(t *testing.T, s execution.Store) {
	all := population(150)
	mustSave(t, s, all...)
	everyQuery(func(q execution.Query) {
		wantSame(t, fmt.Sprintf("pages of %+v", q), walk(t, s, q, nil), expected(all, q))
	})
}

func filtersFollowAReplacement(t *testing.T, s execution.Store) {
	all := population(60)
	mustSave(t, s, all...)
	for n, e := range population(60) {
		switch replacement := *e; n % 4 {
		case 0: // the usual way of life
			replacement.Status = execution.StatusFailed
			all[n] = &replacement
		case 1:
			replacement.Action = "pack.a"
			replacement.Status = execution.StatusCancelled
			all[n] = &replacement
		case 2:
			replacement.CreatedAt = replacement.CreatedAt.Add(5 * time.Nanosecond)
			all[n] = &replacement
		}
		mustSave(t, s, all[n])
	}
	everyQuery(func(q execution.Query) {
		wantSame(t, fmt.Sprintf("pages of %+v", q), walk(t, s, q, nil), expected(all, q))
	})
}

func pagesWhileOthersArrive(t *testing.T, s execution.Store) {
	const before = 25
	mustSave(t, s, series(before)...)
	next := before
	got := walk(t, s, execution.Query{Action: "pack.action", Limit: 4}, func() {
		mustSave(t, s, numbered(next), numbered(next+1))
		next += 2
	})
	wantSame(t, "pages while others arrive", got, newestFirst(before-1, 0))
	wantSame(t, "pages after that", walk(t, s, execution.Query{Limit: 4}, nil), newestFirst(next-1, 0))
}

func pagesWhileOthersArePruned(t *testing.T, s execution.Store) {
	mustSave(t, s, series(25)...)
	oldest := 0
	got := walk(t, s, execution.Query{Limit: 4}, func() {
		oldest += 2
		mustPrune(t, s, numbered(oldest).CreatedAt, -1, 2)
	})
	// Pages of 4 from above and 2 from below at a time meet at 8.
	wantSame(t, "pages while others are pruned", got, newestFirst(24, 8))
}

func forgedCursors(t *testing.T, s execution.Store) {
	mustSave(t, s, series(10)...)
	next := mustList(t, s, execution.Query{Limit: 3}).Next
	if next == "" {
		t.Fatal("List has no next page")
	}
	damaged := []byte(next)
	damaged[len(damaged)/2] ^= 1
	for _, cursor := range []string{
		"x", " ", "0", "null", "../..", "é", next + "A", next[1:], next[:len(next)-1], string(damaged), next + "=", next + "\n",
		strings.Repeat("A", 10000),
		base64.RawURLEncoding.EncodeToString([]byte(`{"created_at":1,"id":"x"}`)),
	} {
		if page, err := s.List(t.Context(), execution.Query{Cursor: cursor}); !errors.Is(err, execution.ErrBadCursor) {
			t.Errorf("List(cursor %.50q) = %d executions, %v, want ErrBadCursor", cursor, len(page.Executions), err)
		}
	}
	// A cursor outlives the execution that it was made of.
	mustPrune(t, s, time.Time{}, 0, 10)
	mustSave(t, s, numbered(0))
	wantSame(t, "List behind a pruned one", idsOf(mustList(t, s, execution.Query{Cursor: next}).Executions), newestFirst(0, 0))
}

func limitsAreClamped(t *testing.T, s execution.Store) {
	mustSave(t, s, series(execution.MaxLimit+5)...)
	for limit, want := range map[int]int{
		-1: 1, 0: execution.DefaultLimit, 1: 1, 3: 3,
		execution.MaxLimit: execution.MaxLimit, execution.MaxLimit + 1: execution.MaxLimit, 1 << 40: execution.MaxLimit,
	} {
		if page := mustList(t, s, execution.Query{Limit: limit}); len(page.Executions) != want || page.Next == "" {
			t.Errorf("List(limit %d) = %d executions, next %q, want %d and a next", limit, len(page.Executions), page.Next, want)
		}
	}
}

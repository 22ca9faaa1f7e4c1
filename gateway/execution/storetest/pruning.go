package storetest

import (
	"errors"
	"testing"
	"time"

	"attune/gateway/execution"
)

func pruneByAge(t *testing.T, s execution.Store) {
	mustSave(t, s, series(10)...)
	mustPrune(t, s, time.Time{}, -1, 0)
	mustPrune(t, s, epoch, -1, 0) // older than, not as old as
	mustPrune(t, s, numbered(4).CreatedAt, 100, 4)
	mustPrune(t, s, numbered(4).CreatedAt, 100, 0)
	mustPrune(t, s, numbered(4).CreatedAt.Add(time.Nanosecond), 100, 1)
	wantSame(t, "List after Prune", walk(t, s, execution.Query{}, nil), newestFirst(9, 5))
	if e, err := s.Get(t.Context(), numbered(4).ID); !errors.Is(err, execution.ErrNoExecution) {
		t.Errorf("Get of a pruned one = %v, %v", e, err)
	}
}

func pruneByCount(t *testing.T, s execution.Store) {
	all := series(10)
	for _, e := range all {
		e.CreatedAt = epoch // only the ID tells which is older
	}
	mustSave(t, s, all...)
	mustPrune(t, s, time.Time{}, 10, 0)
	mustPrune(t, s, time.Time{}, 7, 3)
	wantSame(t, "List after Prune", walk(t, s, execution.Query{}, nil), newestFirst(9, 3))
	mustPrune(t, s, time.Time{}, 0, 7)
	wantSame(t, "List after Prune of all", len(walk(t, s, execution.Query{}, nil)), 0)
}

func pruneByBoth(t *testing.T, s execution.Store) {
	mustSave(t, s, series(10)...)
	mustPrune(t, s, numbered(3).CreatedAt, 9, 3) // age goes further
	mustPrune(t, s, numbered(4).CreatedAt, 2, 5) // the count does
	wantSame(t, "List after Prune", walk(t, s, execution.Query{}, nil), newestFirst(9, 8))
}

func pruneManyLeavesNothingBehind(t *testing.T, s execution.Store) {
	const n = 1300 // more than any batch
	all := population(n)
	mustSave(t, s, all...)
	mustPrune(t, s, time.Time{}, 10, n-10)
	kept := expected(all, execution.Query{})[:10]
	wantSame(t, "List after Prune", walk(t, s, execution.Query{}, nil), kept)
	mustPrune(t, s, epoch.Add(time.Hour), -1, 10)
	everyQuery(func(q execution.Query) {
		if got := walk(t, s, q, nil); len(got) > 0 {
			t.Errorf("List(%+v) after Prune of all = %v", q, got)
		}
	})
	mustSave(t, s, numbered(1))
	wantSame(t, "List of a new one", walk(t, s, execution.Query{}, nil), newestFirst(1, 1))
}

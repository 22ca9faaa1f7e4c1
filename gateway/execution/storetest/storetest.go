// Package storetest is what every execution.Store has to pass: the port's
// comments as tests.
package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"attune/gateway/execution"

	"github.com/google/go-cmp/cmp"
)

// Options says what a store can be asked besides.
type Options struct {
	// Reopen closes a store and opens the same again. Nil: its data are not its
	// own, and outlive it by no doing of its.
	Reopen func(*testing.T, execution.Store) execution.Store
}

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) execution.Store, options Options) {
	t.Helper()
	tests := map[string]func(*testing.T, execution.Store){
		"EveryFieldRoundTrips":         everyFieldRoundTrips,
		"OddOutputRoundTrips":          oddOutputRoundTrips,
		"ResultRoundTrips":             resultRoundTrips,
		"TimesAreExactAndUTC":          timesAreExactAndUTC,
		"SaveReplaces":                 saveReplaces,
		"SaveTwiceChangesNothing":      saveTwiceChangesNothing,
		"SaveRefusesWhatHasNoPlace":    saveRefusesWhatHasNoPlace,
		"SaveLeavesItsArgumentAlone":   saveLeavesItsArgumentAlone,
		"SaveKeepsALargeBatch":         saveKeepsALargeBatch,
		"GetMissing":                   getMissing,
		"CancelledContext":             cancelledContext,
		"Ping":                         ping,
		"ListIsNewestFirst":            listIsNewestFirst,
		"ListHasNoOutput":              listHasNoOutput,
		"ListEmpty":                    listEmpty,
		"EveryFilterPages":             everyFilterPages,
		"FiltersFollowAReplacement":    filtersFollowAReplacement,
		"PagesWhileOthersArrive":       pagesWhileOthersArrive,
		"PagesWhileOthersArePruned":    pagesWhileOthersArePruned,
		"ForgedCursors":                forgedCursors,
		"LimitsAreClamped":             limitsAreClamped,
		"PruneByAge":                   pruneByAge,
		"PruneByCount":                 pruneByCount,
		"PruneByBoth":                  pruneByBoth,
		"PruneManyLeavesNothingBehind": pruneManyLeavesNothingBehind,
		"HundredAtOnce":                hundredAtOnce,
		"SameIDAtOnce":                 sameIDAtOnce,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
	t.Run("ReopenKeepsEverything", func(t *testing.T) {
		t.Parallel()
		if options.Reopen == nil {
			t.Skip("the store can't be reopened")
		}
		reopenKeepsEverything(t, newStore(t), options.Reopen)
	})
}

// epoch is when the executions of the tests begin.
var epoch = time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)

// numbered is the n-th of a series, a second apart; IDs sort like times.
func numbered(n int) *execution.Execution {
	return &execution.Execution{
		ID:        fmt.Sprintf("01HQ%022d", n),
		Action:    "pack.action",
		Pack:      "pack",
		Status:    execution.StatusSucceeded,
		CreatedAt: epoch.Add(time.Duration(n) * time.Second),
	}
}

// series is numbered 0 to n-1.
func series(n int) []*execution.Execution {
	all := make([]*execution.Execution, n)
	for i := range all {
		all[i] = numbered(i)
	}
	return all
}

// full has a value in every field.
func full() *execution.Execution {
	exit, started, ended := 3, epoch.Add(time.Millisecond), epoch.Add(time.Second+time.Nanosecond)
	return &execution.Execution{
		ID: "01HQVXKQZB0000000000000000", Action: "pack.action", Pack: "pack", Gateway: "gw-1",
		Status: execution.StatusFailed, ExitCode: &exit,
		CreatedAt: epoch, StartedAt: &started, EndedAt: &ended, DurationMS: 1000.000001,
		Result: json.RawMessage(`{"n":1}`), Stdout: "out\n", Stderr: "err\n",
		StdoutTruncated: true, StderrTruncated: true, BytesTruncated: 1<<53 + 1,
		Error: &execution.Failure{
			Code: "action-failed", Component: "action", Phase: "run",
			Reason: "exit status 3 <&>\u2028", Retryable: true, Started: true,
		},
		Timing: execution.Timing{Validate: 0.5, Queue: 0.1, Environment: 2, Start: 3.25, Run: 4},
		Source: "http", Caller: "01J", Attempt: 2,
	}
}

func mustSave(t *testing.T, s execution.Store, executions ...*execution.Execution) {
	t.Helper()
	if err := s.Save(t.Context(), executions...); err != nil {
		t.Fatalf("Save(%d executions) error = %v", len(executions), err)
	}
}

func mustGet(t *testing.T, s execution.Store, id string) *execution.Execution {
	t.Helper()
	e, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get(%s) error = %v", id, err)
	}
	return e
}

func wantSame(t *testing.T, call string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", call, diff)
	}
}

func mustList(t *testing.T, s execution.Store, q execution.Query) execution.Page {
	t.Helper()
	page, err := s.List(t.Context(), q)
	if err != nil {
		t.Fatalf("List(%+v) error = %v", q, err)
	}
	return page
}

// walk lists page by page, and calls between after each but the last.
func walk(t *testing.T, s execution.Store, q execution.Query, between func()) (ids []string) {
	t.Helper()
	for range 1000 {
		page := mustList(t, s, q)
		if len(page.Executions) > q.PageSize() {
			t.Fatalf("List(%+v) has %d executions", q, len(page.Executions))
		}
		ids = append(ids, idsOf(page.Executions)...)
		if page.Next == "" {
			return ids
		}
		if len(page.Executions) != q.PageSize() {
			t.Fatalf("List(%+v) has %d executions and isn't the last", q, len(page.Executions))
		}
		q.Cursor = page.Next
		if between != nil {
			between()
		}
	}
	t.Fatalf("List(%+v) doesn't end", q)
	return nil
}

func idsOf(executions []*execution.Execution) []string {
	ids := make([]string, len(executions))
	for i, e := range executions {
		ids[i] = e.ID
	}
	return ids
}

// newestFirst are the IDs of numbered(from) down to numbered(to).
func newestFirst(from, to int) (ids []string) {
	for n := from; n >= to; n-- {
		ids = append(ids, numbered(n).ID)
	}
	return ids
}

func mustPrune(t *testing.T, s execution.Store, before time.Time, keep, want int) {
	t.Helper()
	got, err := s.Prune(t.Context(), before, keep)
	if err != nil || got != want {
		t.Errorf("Prune(%v, %d) = %d, %v, want %d", before, keep, got, err, want)
	}
}

func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

package storetest

import (
	"fmt"
	"testing"
	"time"

	"attune/gateway/execution"

	"golang.org/x/sync/errgroup"
)

// hundredAtOnce: each saves twice and reads, while others list and prune.
func hundredAtOnce(t *testing.T, s execution.Store) {
	var group errgroup.Group
	for n := range 100 {
		group.Go(func() error {
			e := numbered(n)
			e.Status = execution.StatusRunning
			if err := s.Save(t.Context(), e); err != nil {
				return fmt.Errorf("first save: %w", err)
			}
			if err := s.Save(t.Context(), numbered(n)); err != nil {
				return fmt.Errorf("second save: %w", err)
			}
			got, err := s.Get(t.Context(), e.ID)
			if err == nil && got.Status != execution.StatusSucceeded {
				err = fmt.Errorf("status %s after the second save", got.Status)
			}
			return err
		})
	}
	for range 10 {
		group.Go(func() error {
			_, err := s.List(t.Context(), execution.Query{Status: execution.StatusRunning})
			return err
		})
		group.Go(func() error {
			_, err := s.Prune(t.Context(), time.Time{}, 1000)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "List after a hundred at once", walk(t, s, execution.Query{}, nil), newestFirst(99, 0))
	wantSame(t, "List of the running", len(mustList(t, s, execution.Query{Status: execution.StatusRunning}).Executions), 0)
}

// sameIDAtOnce: whichever comes last, no filter finds what it replaced.
func sameIDAtOnce(t *testing.T, s execution.Store) {
	var group errgroup.Group
	for n := range 40 {
		group.Go(func() error {
			e := numbered(n)
			e.ID = numbered(0).ID
			e.Action = fmt.Sprintf("pack.a%d", n)
			return s.Save(t.Context(), e)
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	last := mustGet(t, s, numbered(0).ID)
	wantSame(t, "List", mustList(t, s, execution.Query{}).Executions, []*execution.Execution{last})
	for n := range 40 {
		action := fmt.Sprintf("pack.a%d", n)
		want := 0
		if action == last.Action {
			want = 1
		}
		if got := len(mustList(t, s, execution.Query{Action: action}).Executions); got != want {
			t.Errorf("List(%s) has %d executions, want %d", action, got, want)
		}
	}
}

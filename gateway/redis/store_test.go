package redis

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/execution/storetest"
	"attune/gateway/redis/redistest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	newStore := func(t *testing.T) execution.Store { return mustOpen(t).Store() }
	storetest.Exercise(t, newStore, storetest.Options{
		Reopen: func(t *testing.T, s execution.Store) execution.Store {
			if err := s.Close(); err != nil {
				t.Fatalf("Close() error = %v", err)
			}
			again := mustOpenURL(t, redistest.URL(t))
			again.prefix = s.(*Store).client.prefix
			return again.Store()
		},
	})
}

func sample(n int) *execution.Execution {
	return &execution.Execution{
		ID:        fmt.Sprintf("01HQ%022d", n),
		Action:    "pack.action",
		Status:    execution.StatusSucceeded,
		CreatedAt: time.Unix(1700000000, int64(n)).UTC(),
		Result:    []byte(`{"greeting":"Hello, Ada"}`),
		Stderr:    strings.Repeat("a line of log\n", 20),
	}
}

func mustSave(t testing.TB, s *Store, executions ...*execution.Execution) {
	t.Helper()
	if err := s.Save(t.Context(), executions...); err != nil {
		t.Fatalf("Save() error = %v", err)
	}
}

func TestPruneLeavesNoKey(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	s := c.Store()
	for n := range 20 {
		e := sample(n)
		e.Status = execution.StatusRunning
		mustSave(t, s, e)
		e.Status, e.Action = execution.StatusFailed, fmt.Sprintf("pack.a%d", n%3)
		mustSave(t, s, e)
	}
	if n, err := s.Prune(t.Context(), time.Time{}, 0); err != nil || n != 20 {
		t.Errorf("Prune() = %d, %v, want 20", n, err)
	}
	if left := keys(t, c); len(left) > 0 {
		t.Errorf("Prune of all left %q", left)
	}
}

// A Redis with an eviction policy forgets records, but not the indexes, which it
// sees in use.
func TestEvictedExecutionsDisappear(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	s := c.Store()
	for n := range 10 {
		mustSave(t, s, sample(n))
	}
	for n := range 9 {
		if err := c.redis.Del(t.Context(), c.prefix+recordName+sample(n).ID).Err(); err != nil {
			t.Fatal(err)
		}
	}
	// One comes back with another status: the index of the old one lies.
	back := sample(0)
	back.Status = execution.StatusFailed
	mustSave(t, s, back)
	for _, status := range []execution.Status{execution.StatusSucceeded, execution.StatusFailed} {
		page, err := s.List(t.Context(), execution.Query{Status: status, Limit: 2})
		if err != nil || len(page.Executions) != 1 || page.Next != "" || page.Executions[0].Status != status {
			t.Errorf("List(%s) = %v, %v, want the one that is left", status, page, err)
		}
	}
	if n, err := c.redis.ZCard(t.Context(), c.prefix+"executions:status:succeeded").Result(); err != nil || n != 1 {
		t.Errorf("the index holds %d, %v, want what is left", n, err)
	}
	if n, err := s.Prune(t.Context(), time.Time{}, 0); err != nil || n != 10 {
		t.Errorf("Prune() = %d, %v", n, err)
	}
}

// Names with colons must not make two indexes one.
func TestIndexesAreNotConfused(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	s := c.Store()
	e := sample(0)
	e.Status, e.Action = "a", "b:c"
	mustSave(t, s, e)
	for _, q := range []execution.Query{{Status: "a:b", Action: "c"}, {Status: "a:b:c"}, {Action: "a:b:c"}, {Status: "both:1:a:b:c"}} {
		if page, err := s.List(t.Context(), q); err != nil || len(page.Executions) > 0 {
			t.Errorf("List(%+v) = %v, %v, want nothing", q, page, err)
		}
	}
	if page, err := s.List(t.Context(), execution.Query{Status: "a", Action: "b:c"}); err != nil || len(page.Executions) != 1 {
		t.Errorf("List() = %v, %v, want the one", page, err)
	}
}

func BenchmarkSave(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := mustOpen(b).Store()
			batch := make([]*execution.Execution, size)
			n := 0
			for b.Loop() {
				for i := range batch {
					batch[i] = sample(n)
					n++
				}
				mustSave(b, s, batch...)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/execution")
		})
	}
}

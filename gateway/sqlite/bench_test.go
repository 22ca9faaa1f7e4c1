package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/gateway/execution"
)

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

func BenchmarkSave(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			s := mustOpen(b, filepath.Join(b.TempDir(), "executions.db"))
			batch := make([]*execution.Execution, size)
			n := 0
			for b.Loop() {
				for i := range batch {
					batch[i] = sample(n)
					n++
				}
				if err := s.Save(b.Context(), batch...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/execution")
		})
	}
}

func BenchmarkListRareAmongMany(b *testing.B) {
	s := mustOpen(b, filepath.Join(b.TempDir(), "executions.db"))
	for from := 0; from < 20000; from += 1000 {
		batch := make([]*execution.Execution, 1000)
		for i := range batch {
			batch[i] = sample(from + i)
			if i == 0 {
				batch[i].Status = execution.StatusFailed
			}
		}
		if err := s.Save(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		page, err := s.List(b.Context(), execution.Query{Status: execution.StatusFailed, Action: "pack.action"})
		if err != nil || len(page.Executions) != 20 {
			b.Fatalf("List() = %d executions, %v", len(page.Executions), err)
		}
	}
}

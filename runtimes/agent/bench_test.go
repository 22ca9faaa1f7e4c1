package agent_test

import (
	"slices"
	"testing"
	"time"

	"attune/runtimes/agent"
)

// benchmarkExecute runs one request after the other and reports the median of
// what a caller waits, and of that the program's own share.
func benchmarkExecute(b *testing.B, c executor, r agent.Request) {
	var whole, inside []time.Duration
	for b.Loop() {
		begin := time.Now()
		exit, err := c.Execute(b.Context(), r, agent.Output{})
		if err != nil || !exit.Reusable || exit.Code != 0 || exit.Via != r.Via {
			b.Fatalf("Execute() = %+v, %v", exit, err)
		}
		whole, inside = append(whole, time.Since(begin)), append(inside, exit.Duration)
	}
	b.ReportMetric(median(whole), "median-µs")
	b.ReportMetric(median(inside), "program-µs")
}

// median returns it in microseconds.
func median(all []time.Duration) float64 {
	slices.Sort(all)
	return float64(all[len(all)/2].Nanoseconds()) / 1e3
}

func BenchmarkContainer(b *testing.B) {
	c := newBench(b).start(b)
	r := inside("true")
	b.Run("sh", func(b *testing.B) { benchmarkExecute(b, c, r) })
	r.Argv = []string{"/bin/true"}
	b.Run("true", func(b *testing.B) { benchmarkExecute(b, c, r) })
}

func BenchmarkChild(b *testing.B) {
	c := startAgent(b)
	b.Run("sh", func(b *testing.B) { benchmarkExecute(b, c, request("true")) })
}

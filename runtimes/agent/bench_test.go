package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"attune/runtimes/agent"
)

// BenchmarkContainer measures a small program in every way there is, one container
// each. The first is the agent's own share: the program does nothing.
func BenchmarkContainer(b *testing.B) {
	bench := newBench(b)
	b.Run("exec", func(b *testing.B) {
		r := inside("")
		r.Argv = []string{"/bin/true"}
		bench.executions(b, setting{}, r)
	})
	b.Run("shell", func(b *testing.B) { bench.executions(b, setting{}, inside("true")) })
	b.Run("python by exec", func(b *testing.B) {
		bench.executions(b, setting{image: "attune/python"}, script(agent.ViaExec, "nothing.py"))
	})
	b.Run("python by parent", func(b *testing.B) {
		bench.executions(b, setting{image: "attune/python", setup: agent.Setup{Parent: pythonParent()}}, script(agent.ViaParent, "nothing.py"))
	})
	b.Run("python by parent, 4 slots", func(b *testing.B) {
		bench.executions(b, setting{image: "attune/python", setup: agent.Setup{Slots: 4, Parent: pythonParent()}}, script(agent.ViaParent, "nothing.py"))
	})
	node := script(agent.ViaStock, "nothing.js")
	node.Argv = append([]string{"node"}, node.Script...)
	b.Run("node by exec", func(b *testing.B) {
		executed := node
		executed.Via = agent.ViaExec
		bench.executions(b, setting{image: "attune/node", memory: 400 << 20}, executed)
	})
	b.Run("node by stock", func(b *testing.B) { // which may be exhausted: those count for nothing
		bench.executions(b, setting{image: "attune/node", memory: 400 << 20, setup: agent.Setup{Stock: nodeStock(), StockCount: 2}}, node)
	})
	b.Run("python worker", bench.workerCalls)
}

// executions runs a request over and over, and reports the median of those that
// went its way.
func (b *bench) executions(t *testing.B, s setting, r agent.Request) {
	c := b.startWith(t, s)
	took := make([]time.Duration, 0, 1<<10)
	program := make([]time.Duration, 0, 1<<10)
	before, runs := c.processorTime(t), 0
	for t.Loop() {
		runs++
		begin := time.Now()
		exit, err := c.Execute(t.Context(), r, agent.Output{})
		if err != nil || !exit.Reusable || exit.Code != 0 {
			t.Fatalf("Execute() = %+v, %v", exit, err)
		}
		if exit.Via == r.Via {
			took, program = append(took, time.Since(begin)), append(program, exit.Duration)
		}
		if r.Via == agent.ViaStock {
			t.StopTimer()
			time.Sleep(100 * time.Millisecond) // the next is started meanwhile
			t.StartTimer()
		}
	}
	t.ReportMetric(median(took), "p50-µs")
	t.ReportMetric(median(program), "program-p50-µs")
	t.ReportMetric(float64(c.processorTime(t)-before)/1e3/float64(runs), "agent-cpu-µs")
}

func (b *bench) workerCalls(t *testing.B) {
	c := b.startWith(t, setting{image: "attune/python"})
	w := c.worker(t, pythonWorker())
	asked := call("echo.py", `{"a":1}`)
	asked.Deadline = time.Now().Add(time.Minute)
	var took []time.Duration
	for t.Loop() {
		begin := time.Now()
		if _, err := w.Call(t.Context(), asked, agent.Output{}); err != nil {
			t.Fatalf("Call() = %v", err)
		}
		took = append(took, time.Since(begin))
	}
	t.ReportMetric(median(took), "p50-µs")
	c.closed(t, w)
}

// processorTime is what the agent's threads have used, in nanoseconds. It says more
// than the clock on a busy machine.
func (c *contained) processorTime(t testing.TB) (sum int64) {
	pid, err := c.PeerPID()
	if err != nil {
		t.Fatal(err)
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, name := range threads {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var used int64
		if _, err := fmt.Sscan(string(text), &used); err != nil {
			t.Fatal(err)
		}
		sum += used
	}
	return sum
}

func median(all []time.Duration) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return float64(all[len(all)/2].Nanoseconds()) / 1e3
}

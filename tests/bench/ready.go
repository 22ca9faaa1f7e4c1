package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"attune/envcache"
	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/process"
)

// readyCache is a cache in this process, over an environment that is ready.
type readyCache struct {
	*envcache.Cache
	recipe *envcache.Recipe
	marker string // its file on the volume
	engine *process.Engine
}

// openReady opens the cache below dir, and builds its one environment if that
// isn't there yet.
func openReady(ctx context.Context, dir, agentDir string) (_ *readyCache, err error) {
	r := &readyCache{engine: process.New(process.Options{Logger: slog.New(slog.DiscardHandler)})}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	root, pack := filepath.Join(dir, "envs"), filepath.Join(dir, "pack")
	if err := os.MkdirAll(pack, 0o755); err != nil {
		return nil, err
	}
	image, err := r.engine.Image(ctx, "any")
	if err != nil {
		return nil, err
	}
	r.recipe = &envcache.Recipe{
		Pack: "demo", PackDir: pack, Revision: "0123456789abcdef0123456789abcdef", Image: image,
		Runtime: &runtimes.Runtime{
			Name:        "python",
			Environment: runtimes.Environment{EnvType: "scripted", CreateCommand: []string{"/bin/true"}},
		},
	}
	r.Cache, err = envcache.New(envcache.Options{
		Root: root, Engine: r.engine, GatewayID: "bench", AgentDir: agentDir, Network: container.NetworkNone,
		Local: envcache.NewFileLeaser(filepath.Join(root, ".locks")),
		Limits: envcache.Limits{
			Concurrency: 1, Queue: 1, Timeout: time.Minute, Waiter: time.Minute, Lease: 30 * time.Second,
			PollMin: 10 * time.Millisecond, PollMax: time.Second, Keep: 2, PruneAfter: time.Hour,
			MaxBytes: 1 << 20, MaxFiles: 100, Memory: 1 << 30, CPU: 1,
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	env, err := r.Ensure(ctx, r.recipe)
	if err != nil {
		return nil, err
	}
	r.marker = filepath.Join(env.Dir, ".attune-env.json")
	env.Release()
	return r, nil
}

func (r *readyCache) close() error {
	var err error
	if r.Cache != nil {
		err = r.Close()
	}
	return errors.Join(err, r.engine.Close())
}

// times asks for the environment and gives it back, n times.
func (r *readyCache) times(ctx context.Context, n int) error {
	for range n {
		env, err := r.Ensure(ctx, r.recipe)
		if err != nil {
			return err
		}
		env.Release()
	}
	return nil
}

// measureReady compares the ready path with the least that a look at the disk
// would cost, and counts its allocations and system calls.
func measureReady(ctx context.Context, b *bench) (rows []row, err error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.remove()) }()
	r, err := openReady(ctx, h.dir, b.bin)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.close()) }()

	one, all, look := series{unit: "ns"}, series{unit: "ns"}, series{unit: "ns"}
	var allocations series
	for range b.n {
		alone := testing.Benchmark(func(tb *testing.B) {
			tb.ReportAllocs()
			if err := r.times(ctx, tb.N); err != nil {
				tb.Error(err)
			}
		})
		shared := testing.Benchmark(func(tb *testing.B) {
			tb.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := r.times(ctx, 1); err != nil {
						tb.Error(err)
					}
				}
			})
		})
		stat := testing.Benchmark(func(tb *testing.B) {
			for range tb.N {
				if _, err := os.Stat(r.marker); err != nil {
					tb.Error(err)
				}
			}
		})
		if alone.N == 0 || shared.N == 0 || stat.N == 0 {
			return nil, errors.New("the ready environment was not found")
		}
		one.add(perCall(alone))
		all.add(perCall(shared))
		look.add(perCall(stat))
		allocations.add(float64(alone.MemAllocs) / float64(alone.N))
	}
	const against = "one stat of the marker"
	rows = []row{
		{what: "`Ensure` + `Release` of a ready environment", got: one, against: against, base: look, valueGoal: 200},
		{what: "the same on all cores at once", got: all, against: against, base: look},
		{what: "allocations per call", got: allocations, exact: true},
	}
	calls, err := countSystemCalls(h.dir, ensures)
	return append(rows, row{what: "system calls in 1,000,000 calls, counted by ptrace", got: calls, exact: true}), err
}

// perCall is the exact time; NsPerOp is rounded.
func perCall(r testing.BenchmarkResult) float64 { return float64(r.T) / float64(r.N) }

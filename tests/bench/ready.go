package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

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
		before := mallocs()
		err := one.perCall(million, func() error { return r.times(ctx, million) })
		allocations.add(math.Round(float64(mallocs()-before)/million*1000) / 1000) // others of this process make a few
		err = errors.Join(err,
			all.perCall(million*runtime.GOMAXPROCS(0), func() error { return r.everywhere(ctx, million) }),
			look.perCall(million/10, func() error { return r.look(million / 10) }))
		if err != nil {
			return nil, err
		}
	}
	const against = "one stat of the marker"
	rows = []row{
		{what: "`Ensure` + `Release` of a ready environment", got: one, against: against, base: look, valueGoal: 200},
		{what: "the same on all cores at once, time per call of all", got: all, against: against, base: look},
		{what: "allocations per call", got: allocations, exact: true},
	}
	calls, err := countSystemCalls(h.dir, ensures)
	return append(rows, row{what: fmt.Sprintf("system calls in %d calls, %d times", perSlice, slicesInAll), got: calls, exact: true}), err
}

// million calls are one measurement.
const million = 1_000_000

// everywhere is times on every core at once.
func (r *readyCache) everywhere(ctx context.Context, n int) error {
	var group errgroup.Group
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() error { return r.times(ctx, n) })
	}
	return group.Wait()
}

// look asks the disk for the marker, n times.
func (r *readyCache) look(n int) error {
	for range n {
		if _, err := os.Stat(r.marker); err != nil {
			return err
		}
	}
	return nil
}

// perCall adds what one of n calls takes.
func (s *series) perCall(n int, calls func() error) error {
	start := time.Now()
	err := calls()
	s.add(float64(time.Since(start)) / float64(n))
	return err
}

// mallocs counts the allocations of this process so far.
func mallocs() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

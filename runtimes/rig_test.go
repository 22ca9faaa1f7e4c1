package runtimes

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/container"
	"attune/runtimes/container/process"
	"attune/tests/kit"
)

// TestAgentDir holds the agent that TestMain has built.
var TestAgentDir string

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// rig is pools over real processes.
type rig struct {
	engine *spyEngine
	box    *Box
	pools  *Pools
	image  string
}

func newRig(t *testing.T, limits PoolLimits) *rig {
	t.Helper()
	engine := process.New(process.Options{Logger: slog.New(slog.DiscardHandler)})
	r := newRigOn(t, engine, Layout{}, limits)
	t.Cleanup(func() {
		found, err := engine.Find(context.Background(), nil)
		if err != nil || len(found) > 0 {
			t.Errorf("containers left: %v, %v", found, err)
		}
		if err := engine.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	t.Cleanup(func() { r.close(t) })
	return r
}

func newRigOn(t *testing.T, engine container.Engine, layout Layout, limits PoolLimits) *rig {
	t.Helper()
	if limits.IdleTimeout == 0 {
		limits.IdleTimeout = time.Hour
	}
	r := &rig{
		engine: &spyEngine{Engine: engine},
		image:  "any",
		box:    &Box{Layout: layout, GatewayID: "gw", AgentDir: TestAgentDir, RunDir: filepath.Join(t.TempDir(), ".run"), NoFile: 256},
	}
	r.pools = NewPools(r.engine, r.box, limits, slog.New(slog.NewTextHandler(t.Output(), nil)))
	return r
}

// close closes the pools and checks that nothing is left of them.
func (r *rig) close(t *testing.T) {
	t.Helper()
	if err := r.pools.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	if total, idle := r.pools.Counts(); total != 0 || idle != 0 {
		t.Errorf("after Close Counts() = %d, %d", total, idle)
	}
	if left, err := os.ReadDir(r.box.RunDir); len(left) > 0 {
		t.Errorf("run directories left: %v, %v", left, err)
	}
}

// shape is one of a pack without an environment.
func (r *rig) shape(t *testing.T, pack string) *Shape {
	t.Helper()
	image, err := r.engine.Image(t.Context(), r.image)
	if err != nil {
		t.Fatal(err)
	}
	return &Shape{
		Pack: pack, Revision: "r1", PackDir: t.TempDir(), Image: image,
		Runtime: &Runtime{Name: "sh", Interpreter: Interpreter{Binary: "/bin/sh"}},
		Network: NetworkNone, Limits: Limits{Memory: 1 << 28, CPU: 1, Pids: 64, Tmp: 1 << 24},
	}
}

func (r *rig) mustAcquire(t *testing.T, s *Shape) *Slot {
	t.Helper()
	i, _, err := r.pools.Acquire(t.Context(), s)
	if err != nil {
		t.Fatalf("Acquire() error = %v", err)
	}
	return i
}

func (r *rig) release(i *Slot) { r.pools.Release(i, true, time.Millisecond) }

// acquired is what a waiting call got.
type acquired struct {
	slot  *Slot
	start time.Duration
	err   error
}

// queue starts a call and returns when it stands in line as the nth.
func (r *rig) queue(t *testing.T, ctx context.Context, s *Shape, nth int) <-chan acquired {
	t.Helper()
	got := make(chan acquired, 1)
	go func() {
		i, start, err := r.pools.Acquire(ctx, s)
		got <- acquired{i, start, err}
	}()
	p, err := r.pools.pool(s)
	if err != nil {
		t.Fatal(err)
	}
	kit.Until(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.waiters) >= nth
	})
	return got
}

func receive(t *testing.T, from <-chan acquired) acquired {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(patience):
		t.Fatalf("nobody was served for %v", patience)
		return acquired{}
	}
}

// run executes a script and returns its exit.
func run(t *testing.T, i *Slot, script string) agent.Exit {
	t.Helper()
	exit, err := i.Execute(t.Context(), agent.Request{
		ID: "x", Argv: []string{"/bin/sh", "-c", script}, Dir: "/", Timeout: patience, StdoutLimit: 1 << 10, StderrLimit: 1 << 10,
	}, agent.Output{})
	if err != nil {
		t.Fatalf("Execute(%s) error = %v", script, err)
	}
	return exit
}

// spyEngine counts what is created and can be told to misbehave.
type spyEngine struct {
	container.Engine

	mu      sync.Mutex
	created int
	create  func(context.Context, container.Spec) error // before a create
}

func (e *spyEngine) Create(ctx context.Context, spec container.Spec) (container.Container, error) {
	e.mu.Lock()
	create := e.create
	e.created++
	e.mu.Unlock()
	if create != nil {
		if err := create(ctx, spec); err != nil {
			return nil, err
		}
	}
	return e.Engine.Create(ctx, spec)
}

// onCreate says what happens before the next creates.
func (e *spyEngine) onCreate(f func(context.Context, container.Spec) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.create = f
}

func (e *spyEngine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.created
}

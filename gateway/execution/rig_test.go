package execution

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/process"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// rig is a runner over real processes, with the shipped runtimes and one pack.
type rig struct {
	*Runner
	engine   container.Engine
	pools    *runtimes.Pools
	store    *memory
	recorder *Recorder
	packDir  string
}

// action is an action's yaml beside its ref, and its script.
type action struct{ yaml, script string }

// newRig makes a pack "demo" of shell actions (of "name.py": Python ones).
func newRig(t testing.TB, actions map[string]action, change func(*Options)) *rig {
	t.Helper()
	engine := process.New(process.Options{Logger: slog.New(slog.DiscardHandler)})
	closed(t, "the engine", engine.Close)
	return newRigOn(t, engine, runtimes.Layout{}, actions, change)
}

func newRigOn(t testing.TB, engine container.Engine, layout runtimes.Layout, actions map[string]action, change func(*Options)) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	root := t.TempDir()
	dir, catalog := writePack(t, actions)
	cache, err := envcache.New(envcache.Options{
		Root: root, Layout: layout, Engine: engine, GatewayID: "gw", AgentDir: agentDir, Network: container.NetworkNone,
		Local: envcache.NewFileLeaser(filepath.Join(root, ".locks")), Log: log,
		Limits: envcache.Limits{
			Concurrency: 2, Queue: 8, Timeout: time.Minute, Waiter: patience, Lease: time.Second,
			PollMin: 5 * time.Millisecond, PollMax: 20 * time.Millisecond, FreeSpace: 1,
			MaxBytes: 1 << 30, MaxFiles: 100_000, Memory: 1 << 30, CPU: 2,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	closed(t, "the environments", cache.Close)
	box := &runtimes.Box{Layout: layout, GatewayID: "gw", AgentDir: agentDir, RunDir: filepath.Join(root, ".run"), NoFile: 256}
	pools := runtimes.NewPools(engine, box, runtimes.PoolLimits{Total: 4, PerPool: 2, Queue: 4, IdleTimeout: time.Hour}, log)
	closed(t, "the instances", pools.Close)
	r := &rig{engine: engine, pools: pools, store: newMemory(), packDir: dir}
	r.recorder = NewRecorder(r.store, Retention{}, log)
	options := Options{
		Catalog: func() *pack.Catalog { return catalog }, Environments: cache, Instances: pools,
		Images: NewImages(engine, anyImage), Box: box, Recorder: r.recorder, GatewayID: "gw",
		Outbound: func(pack.Ref) bool { return false }, Log: log,
		Limits: Limits{
			MaxTimeout: time.Minute, Result: 1 << 16, Log: 1 << 10, Grace: 100 * time.Millisecond,
			Defaults: runtimes.Limits{Memory: 1 << 28, CPU: 1, Pids: 64, Tmp: 1 << 24},
		},
	}
	if change != nil {
		change(&options)
	}
	r.Runner = NewRunner(options)
	return r
}

func closed(t testing.TB, what string, closer func() error) {
	t.Cleanup(func() {
		if err := closer(); err != nil {
			t.Errorf("close %s: %v", what, err)
		}
	})
}

func writePack(t testing.TB, actions map[string]action) (dir string, catalog *pack.Catalog) {
	t.Helper()
	packs := t.TempDir()
	dir = filepath.Join(packs, "demo")
	if err := os.MkdirAll(filepath.Join(dir, "actions"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pack.yaml"), "ref: demo\nversion: 1.0.0\nlabel: Demo\n")
	for file, a := range actions {
		name := file[:len(file)-len(filepath.Ext(file))]
		if filepath.Ext(file) == "" {
			file += ".sh"
		}
		write(t, filepath.Join(dir, "actions", name+".yaml"), "ref: demo."+name+"\nentry_point: "+file+"\n"+a.yaml)
		write(t, filepath.Join(dir, "actions", file), a.script)
	}
	registry, err := runtimes.Builtin().With("testdata/runtimes")
	if err != nil {
		t.Fatal(err)
	}
	catalog, err = pack.LoadCatalog(packs, registry, pack.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range catalog.Broken() {
		t.Fatalf("pack %s: %v", broken.Name, broken.Err)
	}
	return dir, catalog
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// call invokes an action with a body.
func (r *rig) call(ctx context.Context, name, body string, timeout time.Duration) (*Outcome, error) {
	return r.Invoke(ctx, Request{ID: NewID(), Action: "demo." + name, Body: []byte(body), Timeout: timeout, Arrived: time.Now()})
}

func (r *rig) mustCall(t *testing.T, name, body string) *Outcome {
	t.Helper()
	outcome, err := r.call(t.Context(), name, body, 0)
	if err != nil {
		t.Fatalf("Invoke(%s) error = %v", name, err)
	}
	return outcome
}

// mustFail invokes an action that becomes an execution, and fails.
func (r *rig) mustFail(t *testing.T, ctx context.Context, name string, timeout time.Duration) (*Execution, *Error) {
	t.Helper()
	outcome, err := r.call(ctx, name, "", timeout)
	failure := asError(t, err)
	if outcome == nil || outcome.Execution == nil || outcome.Output != nil {
		t.Fatalf("Invoke(%s) = %+v, want an execution and no output", name, outcome)
	}
	x := outcome.Execution
	if x.Error == nil || *x.Error != failure.Failure || x.EndedAt == nil || !x.Status.Ended() {
		t.Errorf("execution = %+v, want %+v", x, failure.Failure)
	}
	return x, failure
}

func asError(t *testing.T, err error) *Error {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("error = %v, want an *Error", err)
	}
	return failure
}

// memory is a Store that keeps its contract, in a map, and can be away.
type memory struct {
	mu      sync.Mutex
	saved   map[string]*Execution
	order   []string // as first saved
	batches []int
	away    error
	block   chan struct{} // a Save waits for it
}

func newMemory() *memory { return &memory{saved: make(map[string]*Execution)} }

// set changes how the store behaves.
func (m *memory) set(away error, block chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away, m.block = away, block
}

func (m *memory) Save(ctx context.Context, executions ...*Execution) error {
	m.mu.Lock()
	block := m.block
	m.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return m.away
	}
	m.batches = append(m.batches, len(executions))
	for _, x := range executions {
		if m.saved[x.ID] == nil {
			m.order = append(m.order, x.ID)
		}
		m.saved[x.ID] = x
	}
	return nil
}

func (m *memory) Get(_ context.Context, id string) (*Execution, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := m.saved[id]; x != nil {
		return x, nil
	}
	return nil, ErrNoExecution
}

func (m *memory) List(_ context.Context, query Query) (Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page Page
	for _, id := range m.order {
		if query.Status != "" && query.Status != m.saved[id].Status {
			continue
		}
		page.Executions = append(page.Executions, m.saved[id])
	}
	return page, nil
}

func (m *memory) Prune(context.Context, time.Time, int) (int, error) { return 0, nil }
func (m *memory) Ping(context.Context) error                         { return nil }
func (m *memory) Close() error                                       { return nil }

// world makes a directory and its parents in the temporary directory passable
// for user code.
func world(t *testing.T, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// anyImage is admitted.
func anyImage(context.Context, container.Image) error { return nil }

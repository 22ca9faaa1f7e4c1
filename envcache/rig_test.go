package envcache

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/process"
)

// TestAgentDir holds the agent that TestMain has built.
var TestAgentDir string

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// rig is a volume and an engine, for any number of gateways.
type rig struct {
	root   string
	engine *spyEngine
	image  string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	engine := process.New(process.Options{Logger: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	return &rig{root: t.TempDir(), engine: &spyEngine{Engine: engine}, image: "any"}
}

// gateway is a cache on the rig with small limits, closed with the test.
func (r *rig) gateway(t *testing.T, change func(*Options)) *Cache {
	t.Helper()
	o := Options{
		Root: r.root, Engine: r.engine, GatewayID: "gw", AgentDir: TestAgentDir, Network: container.NetworkNone,
		SecretsDir: filepath.Join(r.root, ".memory"), Local: NewFileLeaser(filepath.Join(r.root, ".locks")),
		Limits: Limits{
			Concurrency: 2, Queue: 32, Timeout: time.Minute, Waiter: patience,
			Lease: 300 * time.Millisecond, PollMin: 5 * time.Millisecond, PollMax: 20 * time.Millisecond,
			Keep: 2, PruneAfter: time.Hour, FreeSpace: 1, MaxBytes: 1 << 20, MaxFiles: 100, Memory: 1 << 30, CPU: 1,
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if change != nil {
		change(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return c
}

// recipe is a pack whose environment a shell script makes, in its directory.
func (r *rig) recipe(t *testing.T, script string) *Recipe {
	t.Helper()
	image, err := r.engine.Image(t.Context(), r.image)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "deps.txt"), "a==1\n")
	return &Recipe{
		Pack: "demo", PackDir: dir, Revision: "r1", Image: image,
		Runtime: &runtimes.Runtime{
			Name:         "sh",
			Interpreter:  runtimes.Interpreter{Binary: "/bin/sh"},
			Environment:  runtimes.Environment{EnvType: "scripted", CreateCommand: []string{"/bin/sh", "-c", script}},
			Dependencies: runtimes.Dependencies{ManifestFile: "deps.txt", InstallCommand: []string{"/bin/cp", "{manifest_path}", "{env_dir}/deps"}},
		},
	}
}

// nothingLeft checks that at rest there is no attempt and no container.
func (r *rig) nothingLeft(t *testing.T) {
	t.Helper()
	for _, dir := range []string{".tmp", ".trash"} {
		entries, err := os.ReadDir(filepath.Join(r.root, dir))
		if err != nil || len(entries) > 0 {
			t.Errorf("ReadDir(%s) = %v, %v, want nothing", dir, entries, err)
		}
	}
	for _, c := range r.containers(t) {
		t.Errorf("container %s is left", c.Name())
	}
}

func (r *rig) containers(t *testing.T) []container.Container {
	t.Helper()
	found, err := r.engine.Find(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// builderEnds returns when the only builder has stopped.
func (r *rig) builderEnds(t *testing.T) {
	t.Helper()
	found := r.containers(t)
	if len(found) != 1 {
		t.Fatalf("there are %d containers, want the builder", len(found))
	}
	if _, err := found[0].Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// gate holds a script up: "read _ <gate" in it returns when the test opens it.
type gate struct{ path string }

func newGate(t *testing.T) gate {
	t.Helper()
	g := gate{filepath.Join(t.TempDir(), "gate")}
	if err := syscall.Mkfifo(g.path, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// wait is a line of a script.
func (g gate) wait() string { return "echo waiting; read _ <" + g.path + ";" }

// open lets one script pass, and waits for it to be there.
func (g gate) open(t *testing.T) {
	t.Helper()
	write(t, g.path, "go\n")
}

// events is told of everything, and lets a test wait for a step.
type events struct {
	mu      sync.Mutex
	list    []Event
	changed chan struct{}
}

func newEvents() *events { return &events{changed: make(chan struct{}, 1)} }

func (e *events) take(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// await returns when an event matched.
func (e *events) await(t *testing.T, match func(Event) bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		e.mu.Lock()
		found := slices.ContainsFunc(e.list, match)
		e.mu.Unlock()
		if found {
			return
		}
		select {
		case <-e.changed:
		case <-timeout:
			t.Fatalf("nothing happened for %v", patience)
		}
	}
}

// waiting matches a script at its gate.
func waiting(e Event) bool { return e.Line == "waiting" }

// phases are the steps of a build without its output, in order.
func (e *events) phases() []Phase {
	e.mu.Lock()
	defer e.mu.Unlock()
	var phases []Phase
	for _, event := range e.list {
		if event.Line == "" {
			phases = append(phases, event.Phase)
		}
	}
	return slices.Compact(phases)
}

func mustEnsure(t *testing.T, c *Cache, r *Recipe) *Environment {
	t.Helper()
	env, err := c.Ensure(t.Context(), r)
	if err != nil {
		t.Fatalf("Ensure() error = %v", err)
	}
	return env
}

// mustLand waits for the build that a recipe asks for, whatever serves
// meanwhile, and returns what it led to.
func mustLand(t *testing.T, c *Cache, r *Recipe) error {
	t.Helper()
	f, err := c.join(r)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-f.done:
	case <-time.After(patience):
		t.Fatalf("the build has not ended after %v", patience)
	}
	return f.failure()
}

// waitServed returns when calls get a generation.
func waitServed(t *testing.T, c *Cache, r *Recipe, digest string) {
	t.Helper()
	waitFor(t, func() bool {
		env := mustEnsure(t, c, r)
		defer env.Release()
		return env.Digest == digest
	})
}

func waitState(t *testing.T, c *Cache, r *Recipe, state State) {
	t.Helper()
	waitFor(t, func() bool {
		s, err := c.Status(r)
		return err == nil && s.State == state
	})
}

func waitFor(t *testing.T, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come true within %v", patience)
		}
	}
}

// mustBuild is mustEnsure for a recipe that has changed: the generation before
// would serve while its own is being built.
func mustBuild(t *testing.T, c *Cache, r *Recipe) *Environment {
	t.Helper()
	if err := mustLand(t, c, r); err != nil {
		t.Fatalf("build: %v", err)
	}
	return mustEnsure(t, c, r)
}

func mustFail(t *testing.T, c *Cache, r *Recipe) *FailedError {
	t.Helper()
	env, err := c.Ensure(t.Context(), r)
	var failed *FailedError
	if !errors.As(err, &failed) {
		t.Fatalf("Ensure() = %+v, %v, want a *FailedError", env, err)
	}
	return failed
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

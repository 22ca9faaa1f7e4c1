package envcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"attune/runtimes/container"
)

// Ends of a builder in a schedule.
const (
	endWhole   = iota // all that was to be installed
	endHostile        // done, with something that verification refuses
	endFailed
	endKilled
)

// memEngine is an engine whose containers are a few words of memory. A builder
// writes to the directory that it was started on, wherever that is moved.
type memEngine struct {
	container.Engine                 // nil: what nobody calls
	build            time.Duration   // builders end by themselves after it; 0 = when the test says so
	how              func(n int) int // the n-th builder ends by itself; nil = well
	started          func(*memContainer)

	mu         sync.Mutex
	containers []*memContainer
	made       int // builders that ever ran
	// failures counts the bad ends of builders by digest; many where one had
	// to be stopped, which is told as often as it is noticed.
	failures map[string]int
}

type memContainer struct {
	engine *memEngine
	id     string
	spec   container.Spec
	phase  container.Phase
	exit   container.Exit
	over   chan struct{} // closed when it has stopped or is gone
	dir    *os.Root
}

func (e *memEngine) create(spec container.Spec) (*memContainer, error) {
	if err := errors.Join(spec.Validate(), container.CheckSources(spec.Mounts)); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.ContainsFunc(e.containers, func(c *memContainer) bool { return c.spec.Name == spec.Name }) {
		return nil, fmt.Errorf("create %s: %w", spec.Name, container.ErrNameTaken)
	}
	c := &memContainer{engine: e, id: randomName(), spec: spec, phase: container.PhaseCreated, over: make(chan struct{})}
	e.containers = append(e.containers, c)
	return c, nil
}

func (e *memEngine) find(labels map[string]string) []*memContainer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(e.containers), func(c *memContainer) bool {
		for name, value := range labels {
			if c.spec.Labels[name] != value {
				return true
			}
		}
		return false
	})
}

// ran is how many builders were ever started.
func (e *memEngine) ran() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.made
}

// endAfter lets builders that start from now on end by themselves.
func (e *memEngine) endAfter(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.build = d
}

// failed is how often builds of a digest may be said to have failed: one that
// should have ended is about to be stopped.
func (e *memEngine) failed(digest string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.failures[digest]
	for _, c := range e.containers {
		if c.phase == container.PhaseRunning && c.late() {
			n += 1000
		}
	}
	return n
}

// late tells whether a gateway may have taken it for one that doesn't end.
func (c *memContainer) late() bool { return !time.Now().Before(deadlineOf(gatedContainer{c, nil})) }

// running lists the builders that run, the oldest first.
func (e *memEngine) running() []*memContainer {
	builders := e.find(map[string]string{container.LabelRole: container.RoleBuilder})
	return slices.DeleteFunc(builders, func(c *memContainer) bool { return c.state().Phase != container.PhaseRunning })
}

func (c *memContainer) state() container.State {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	return container.State{Phase: c.phase, Exit: c.exit}
}

func (c *memContainer) start() error {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.phase == container.PhaseGone {
		return container.ErrNoContainer
	}
	if c.phase != container.PhaseCreated {
		return fmt.Errorf("start %s: it is %s", c.spec.Name, c.phase)
	}
	c.phase = container.PhaseRunning
	if c.spec.Labels[container.LabelRole] != container.RoleBuilder {
		c.stop(container.PhaseExited, container.Exit{})
		return nil
	}
	dir, err := os.OpenRoot(c.spec.Mounts[0].Source)
	if err != nil {
		c.phase = container.PhaseCreated
		return err
	}
	c.dir = dir
	c.engine.made++
	c.engine.started(c)
	if c.engine.build > 0 {
		how := endWhole
		if c.engine.how != nil {
			how = c.engine.how(c.engine.made)
		}
		time.AfterFunc(c.engine.build, func() { c.end(how) })
	}
	return c.put("partial", 0o644)
}

// end stops a builder; nothing happens to one that doesn't run.
func (c *memContainer) end(how int) {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.phase != container.PhaseRunning {
		return
	}
	switch {
	case c.late():
		c.engine.failures[c.spec.Labels[container.LabelDigest]] += 1000
	case how != endWhole:
		c.engine.failures[c.spec.Labels[container.LabelDigest]]++
	}
	code := map[int]int{endFailed: 3, endKilled: 137}[how]
	if how == endHostile {
		c.put("whole", 0o755|os.ModeSetuid)
	}
	if how == endWhole {
		c.dir.Remove("partial")
		c.put("whole", 0o644)
	}
	c.stop(container.PhaseExited, container.Exit{Code: code})
}

// put writes a file. The directory may be in the trash by now.
func (c *memContainer) put(name string, mode os.FileMode) error {
	file, err := c.dir.Create(name)
	if err != nil {
		return nil //nolint:nilerr // nobody will see it
	}
	return errors.Join(file.Chmod(mode), file.Close())
}

// stop is called with the lock held.
func (c *memContainer) stop(phase container.Phase, exit container.Exit) {
	if c.phase == container.PhaseRunning || c.phase == container.PhaseCreated {
		close(c.over)
	}
	c.phase, c.exit = phase, exit
	if c.dir != nil {
		c.dir.Close()
		c.dir = nil
	}
}

func (c *memContainer) remove() {
	c.engine.mu.Lock()
	defer c.engine.mu.Unlock()
	if c.phase == container.PhaseRunning {
		c.engine.failures[c.spec.Labels[container.LabelDigest]] += 1000
	}
	c.stop(container.PhaseGone, container.Exit{})
	c.engine.containers = slices.DeleteFunc(c.engine.containers, func(other *memContainer) bool { return other == c })
}

// gatedEngine is the engine as one gateway has it: every call stops at a gate,
// and does not come back to a gateway that is dead.
type gatedEngine struct {
	*memEngine
	gate *turnstile
}

type gatedContainer struct {
	*memContainer
	gate *turnstile
}

var (
	_ container.Engine    = gatedEngine{}
	_ container.Container = gatedContainer{}
)

func (e gatedEngine) Create(_ context.Context, spec container.Spec) (container.Container, error) {
	e.gate.pass("create")
	c, err := e.create(spec)
	if err != nil {
		return nil, err
	}
	return gatedContainer{c, e.gate}, nil
}

func (e gatedEngine) Find(_ context.Context, labels map[string]string) ([]container.Container, error) {
	e.gate.pass("find")
	var found []container.Container
	for _, c := range e.find(labels) {
		found = append(found, gatedContainer{c, e.gate})
	}
	return found, nil
}

func (e gatedEngine) Image(_ context.Context, ref string) (container.Image, error) {
	e.gate.pass("image")
	return container.Image{ID: ref}, nil
}

func (c gatedContainer) ID() string                { return c.id }
func (c gatedContainer) Name() string              { return c.spec.Name }
func (c gatedContainer) Labels() map[string]string { return maps.Clone(c.spec.Labels) }

func (c gatedContainer) Start(context.Context) error {
	c.gate.pass("start")
	return c.start()
}

func (c gatedContainer) State(context.Context) (container.State, error) {
	c.gate.pass("state")
	state := c.state()
	if state.Phase == container.PhaseGone {
		return state, container.ErrNoContainer
	}
	return state, nil
}

func (c gatedContainer) Wait(ctx context.Context) (container.Exit, error) {
	c.gate.pass("wait")
	select {
	case <-c.over:
	case <-ctx.Done():
	case <-c.gate.dead:
		runtime.Goexit()
	}
	state := c.state()
	if state.Phase == container.PhaseCreated || state.Phase == container.PhaseRunning {
		return container.Exit{}, container.Ended(ctx)
	}
	if state.Phase == container.PhaseGone {
		return state.Exit, container.ErrNoContainer
	}
	return state.Exit, nil
}

// Logs has no gate: it runs beside Wait, and whoever died in it would keep the
// one who waits for both.
func (c gatedContainer) Logs(ctx context.Context, w io.Writer) error {
	if _, err := io.WriteString(w, "installing "+filepath.Base(c.spec.Name)+"\n"); err != nil {
		return err
	}
	select {
	case <-c.over:
	case <-ctx.Done():
	case <-c.gate.dead:
	}
	return container.Ended(ctx)
}

func (c gatedContainer) Remove(context.Context) error {
	c.gate.pass("remove")
	c.remove()
	return nil
}

// turnstile stops the goroutines of a gateway wherever they pass, until the
// schedule lets one of them go on.
type turnstile struct {
	dead   chan struct{} // closed when the gateway dies
	asleep bool          // renews no lease; guarded by the leases' lock

	mu      sync.Mutex
	open    bool
	waiting []*stopped
}

type stopped struct {
	at string
	on chan struct{}
}

// pass returns when the schedule lets it, and never in a dead gateway.
func (g *turnstile) pass(at string) {
	g.mu.Lock()
	open := g.open
	s := &stopped{at, make(chan struct{})}
	if !open {
		g.waiting = append(g.waiting, s)
		slices.SortStableFunc(g.waiting, func(a, b *stopped) int { return strings.Compare(a.at, b.at) })
	}
	g.mu.Unlock()
	if !open {
		select {
		case <-s.on:
		case <-g.dead:
		}
	}
	select {
	case <-g.dead:
		runtime.Goexit()
	default:
	}
}

// step lets one goroutine go on; empty if none stands there.
func (g *turnstile) step(choose chooser) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		return ""
	}
	i := choose(len(g.waiting), "goroutine")
	s := g.waiting[i]
	g.waiting = slices.Delete(g.waiting, i, i+1)
	close(s.on)
	return s.at
}

// holds tells whether a goroutine stands at a gate.
func (g *turnstile) holds(at string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.waiting, func(s *stopped) bool { return s.at == at })
}

// unlock lets all go on, for good.
func (g *turnstile) unlock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
	for _, s := range g.waiting {
		close(s.on)
	}
	g.waiting = nil
}

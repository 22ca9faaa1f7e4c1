package envcache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
)

// Times of the product in schedules: all virtual.
const (
	scheduleLease  = 30 * time.Second
	scheduleWaiter = 25 * time.Second
)

// scheduleWorld is real gateways on a real volume in a bubble of virtual time,
// which stop wherever a schedule can tell them to.
type scheduleWorld struct {
	root     string
	recipes  []*Recipe // one per revision of the pack
	donors   []*Recipe // of another pack with the same
	latest   int
	engine   *memEngine
	leases   *memLeases // with a TTL; nil = none
	file     bool       // leases that the kernel frees, too
	gateways []*scheduleGateway

	settling atomic.Bool // a gateway may work on two recipes, whose points can't be told apart

	mu     sync.Mutex // callers and builders tell from their own goroutines
	broken string
	calls  sync.WaitGroup
	trace  []string

	donated map[string]bool // digests of the other pack
	inodes  map[string]uint64
	pruning atomic.Int64 // prunes under way
	pruned  bool         // there were some since the last look
	shown   int64
	pointer string
	digests map[string]bool // that were ever wanted
}

// scheduleGateway is a gateway, replaced when it dies.
type scheduleGateway struct {
	world  *scheduleWorld
	id     string
	cache  *Cache
	gate   *turnstile
	recipe int
	paused bool
	last   string // point
}

// newScheduleWorld is called in the bubble; its directories may be older.
func newScheduleWorld(tb testing.TB, root string, revisions, gateways int, shared, file bool) *scheduleWorld {
	w := &scheduleWorld{
		root: filepath.Join(root, "envs"), file: file, engine: &memEngine{failures: map[string]int{}},
		donated: map[string]bool{}, inodes: map[string]uint64{}, digests: map[string]bool{},
	}
	w.engine.started = w.builderStarted
	if shared {
		w.leases = &memLeases{held: map[string]memLease{}}
	}
	agent := filepath.Join(root, "agent")
	if err := os.Mkdir(agent, 0o755); err != nil {
		tb.Fatal(err)
	}
	for i := range revisions {
		dir := filepath.Join(root, fmt.Sprint("r", i))
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "deps.txt"), []byte(fmt.Sprintf("a==%d\n", i)), 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
		w.recipes = append(w.recipes, scheduleRecipe(dir, i))
		donor := *w.recipes[i]
		donor.Pack = "donor"
		w.donors = append(w.donors, &donor)
	}
	for i := range gateways {
		g := &scheduleGateway{world: w, id: fmt.Sprint("g", i)}
		w.gateways = append(w.gateways, g)
		g.start(tb)
	}
	return w
}

func scheduleRecipe(dir string, revision int) *Recipe {
	return &Recipe{
		Pack: "demo", PackDir: dir, Revision: fmt.Sprint("r", revision), Image: container.Image{ID: "sha256:1"},
		Runtime: &runtimes.Runtime{
			Name:         "sh",
			Interpreter:  runtimes.Interpreter{Binary: "/bin/sh"},
			Environment:  runtimes.Environment{EnvType: "scripted", CreateCommand: []string{"/bin/true"}, VerifyCommand: []string{"/bin/true"}, Share: true},
			Dependencies: runtimes.Dependencies{ManifestFile: "deps.txt", InstallCommand: []string{"/bin/true"}},
		},
	}
}

// start makes a gateway, in the place of one that died.
func (g *scheduleGateway) start(tb testing.TB) {
	w := g.world
	g.gate = &turnstile{dead: make(chan struct{})}
	o := Options{
		Root: w.root, Engine: gatedEngine{w.engine, g.gate}, GatewayID: g.id, AgentDir: filepath.Join(filepath.Dir(w.root), "agent"),
		Network: container.NetworkNone, Local: generous{}, Log: slog.New(slog.DiscardHandler),
		Limits: Limits{
			Concurrency: 2, Queue: 32, Timeout: 15 * time.Minute, Waiter: scheduleWaiter,
			Lease: scheduleLease, PollMin: 250 * time.Millisecond, PollMax: 2 * time.Second,
			FreeSpace: 1, MaxBytes: 1 << 20, MaxFiles: 100, Memory: 1 << 30, CPU: 1, Keep: 1, Share: 24 * time.Hour,
		},
	}
	gate := g.gate
	o.Fault = func(at Point) {
		g.passed(gate, at)
		gate.pass(string(at))
	}
	if w.leases != nil {
		o.Shared = gatedLeaser{w.leases, gate}
	}
	if w.file {
		o.Local = NewFileLeaser(filepath.Join(w.root, ".locks"))
	}
	c, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	// The probes of its former life, as the gateway's program does it.
	open := gatedEngine{w.engine, &turnstile{open: true, dead: make(chan struct{})}}
	if _, err := runtimes.RemoveLeftovers(tb.Context(), open, func(id string) bool { return id == g.id }); err != nil {
		tb.Fatal(err)
	}
	g.cache, g.last, g.paused, g.recipe = c, "begin", false, w.latest
}

// passed holds the product to the table that the model is held to.
func (g *scheduleGateway) passed(gate *turnstile, at Point) {
	if g.world.settling.Load() {
		return
	}
	select {
	case <-gate.dead:
		return // what is deferred passes a point once more
	default:
	}
	from := g.last
	if at == PointDigest && (from == "begin" || mayFollow(from, "end")) {
		from = "begin"
	}
	if !mayFollow(from, string(at)) {
		g.world.violate("%s follows %s", at, g.last)
	}
	g.last = string(at)
}

// crash ends a gateway where it stands. Its goroutines end; the kernel frees its
// locks, and nothing tells the others.
func (g *scheduleGateway) crash(tb testing.TB) {
	g.world.leases.renewal(g.gate, false)
	close(g.gate.dead)
	synctest.Wait() // who stood at a gate or at the engine is gone without a trace
	if err := g.cache.Close(); err != nil {
		tb.Fatal(err)
	}
	g.start(tb)
}

// pause stops a gateway with everything it does in the background, or wakes it.
func (g *scheduleGateway) pause(on bool) {
	g.paused = on
	g.world.leases.renewal(g.gate, !on)
}

// idle tells whether a gateway works on no recipe, or on its present one.
func (g *scheduleGateway) idle() bool {
	recipe := g.world.recipes[g.recipe]
	g.cache.mu.Lock()
	defer g.cache.mu.Unlock()
	return len(g.cache.flights) == 0 || g.cache.flights[recipe.key()] != nil
}

// ask is a caller with a patience of its own. False if the gateway is busy with
// another recipe: then its points could not be told apart.
func (g *scheduleGateway) ask(patience time.Duration) bool {
	recipe := g.world.recipes[g.recipe]
	if !g.idle() {
		return false
	}
	cache := g.cache
	g.world.calls.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		asked := time.Now()
		env, err := cache.Ensure(ctx, recipe)
		if waited, most := time.Since(asked), min(patience, scheduleWaiter); waited > most {
			g.world.violate("I13: a caller waited %v instead of %v", waited, most)
		}
		var building *BuildingError
		var failure *FailedError
		switch {
		case err == nil:
			if fault := g.world.whole(env.Digest); fault != "" {
				g.world.violate("I1, I7: a caller got %s", fault)
			}
			env.Release()
		case !errors.As(err, &building) && !errors.As(err, &failure) && !errors.Is(err, ErrClosed):
			g.world.violate("a caller got %v", err)
		}
	})
	return true
}

func (w *scheduleWorld) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

// builderStarted is told with the engine's lock held.
func (w *scheduleWorld) builderStarted(c *memContainer) {
	digest := c.spec.Labels[container.LabelDigest]
	for _, other := range c.engine.containers {
		if other != c && other.phase == container.PhaseRunning && other.spec.Labels[container.LabelDigest] == digest {
			w.violate("I2: two builders of %s run", digest)
		}
	}
	if err := (volume{root: w.root}).recentFailure(digest); w.file && err != nil {
		w.violate("I8: a builder is started within the back-off")
	}
}

// whole says what is wrong with a generation.
func (w *scheduleWorld) whole(digest string) string {
	v := volume{root: w.root}
	if marker, err := v.published(digest); err != nil || marker == nil {
		return fmt.Sprintf("%s with marker %+v, %v", digest, marker, err)
	}
	if content, err := os.ReadFile(filepath.Join(v.generation(digest), "whole")); err == nil && len(content) > 0 {
		return digest + " with what was done to another's"
	}
	_, whole := os.Stat(filepath.Join(v.generation(digest), "whole"))
	_, partial := os.Stat(filepath.Join(v.generation(digest), "partial"))
	if whole != nil || partial == nil {
		return digest + " that is not whole"
	}
	return ""
}

// check looks at the volume.
func (w *scheduleWorld) check() string {
	v := volume{root: w.root}
	entries, err := os.ReadDir(v.store())
	if err != nil {
		w.violate("%v", err)
	}
	for _, entry := range entries {
		digest := entry.Name()
		if w.donated[digest] {
			continue // may be tampered with
		}
		if fault := w.whole(digest); fault != "" {
			w.violate("I1: published: %s", fault)
		}
		var status syscall.Stat_t
		if err := syscall.Stat(v.generation(digest), &status); err != nil {
			w.violate("%v", err)
		}
		// What was pruned may be asked for and built again.
		if first, known := w.inodes[digest]; known && first != status.Ino && !w.pruned {
			w.violate("I3: %s was published twice", digest)
		}
		w.inodes[digest] = status.Ino
	}
	w.checkPruned(v, entries)
	w.pruned = w.pruning.Load() > 0
	w.checkPointer(v)
	for digest := range w.digests {
		record := v.failureRecord(digest)
		// A verification that a pause has interrupted is the machine's fault, not a builder's.
		if n := w.engine.failed(digest); w.file && record != nil && !record.Infrastructure && record.Attempt > n {
			w.violate("I8: %d failures of %d failed builds are recorded", record.Attempt, n)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// checkPruned: what is gone is what nobody held, and was not pointed at.
func (w *scheduleWorld) checkPruned(v volume, entries []os.DirEntry) {
	there := make(map[string]bool)
	for _, entry := range entries {
		there[entry.Name()] = true
	}
	// What is in use may be younger than the list.
	gone := func(digest string) bool {
		_, err := os.Lstat(v.generation(digest))
		return err != nil
	}
	if pointer := v.pointsAt("demo", "sh"); pointer != "" && gone(pointer) {
		w.violate("I7: the pointer leads to %s, which is gone", pointer)
	}
	for _, g := range w.gateways {
		for _, env := range g.cache.ready.all() {
			if gone(env.Digest) {
				w.violate("I7: %s serves %s, which is gone", g.id, env.Digest)
			}
		}
	}
	for digest := range w.inodes {
		if !there[digest] {
			delete(w.inodes, digest) // and may be published again
		}
	}
}

func (w *scheduleWorld) checkPointer(v volume) {
	// The pointer first: what is shown is written before it flips, and gateways
	// that nothing stops go on meanwhile.
	pointer := v.pointsAt("demo", "sh")
	wish, err := v.wish("demo", "sh")
	if err != nil {
		w.violate("%v", err)
	}
	if wish.Shown < w.shown {
		w.violate("I6: the revision shown fell from %d to %d", w.shown, wish.Shown)
	}
	w.shown = wish.Shown
	if wish.Digest != "" {
		w.digests[wish.Digest] = true
	}
	if pointer == "" || pointer == w.pointer || pointer != v.pointsAt("demo", "sh") {
		return
	}
	if len(wish.History) == 0 || wish.History[0] != pointer {
		w.violate("I6: the pointer leads to %s, and %+v is to be shown", pointer, wish)
	}
	if fault := w.whole(pointer); fault != "" {
		w.violate("I1: the pointer leads to %s", fault)
	}
	w.pointer = pointer
}

// donate publishes what another pack has of the latest revision.
func (w *scheduleWorld) donate() error {
	v, r, cache := volume{root: w.root}, w.donors[w.latest], w.gateways[0].cache
	identity, err := v.packIdentity(r.Pack)
	if err != nil {
		return err
	}
	in, err := cache.inputs(r, identity)
	if err != nil {
		return err
	}
	attempt := v.attempt(in.digest() + ".donated")
	err = errors.Join(os.Mkdir(attempt, 0o755), os.WriteFile(filepath.Join(attempt, "whole"), nil, 0o444))
	if err != nil {
		return err
	}
	size, err := sealTree(attempt, "", cache.Limits)
	if err != nil {
		return err
	}
	listing, err := writeListing(attempt)
	if err != nil {
		return err
	}
	err = cache.mark(attempt, Marker{
		Digest: in.digest(), Inputs: in, Image: in.Image, Pure: true, Listing: listing,
		Bytes: size.bytes, Files: size.files, BuiltAt: time.Now().UTC().Format(time.RFC3339Nano),
	})
	if err != nil {
		return err
	}
	w.donated[in.digest()] = true
	_, err = v.publish(attempt, in.digest())
	return errors.Join(err, v.discard(attempt))
}

// tamper lays hands on all that was donated.
func (w *scheduleWorld) tamper() error {
	for digest := range w.donated {
		file := filepath.Join(volume{root: w.root}.generation(digest), "whole")
		err := os.Chmod(file, 0o644)
		if err == nil {
			err = os.WriteFile(file, []byte("evil"), 0o444)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Package envcache builds each environment of dependencies exactly once and
// keeps it outside the packs.
//
// Safety depends on no lock, clock or TTL: an attempt is built where nobody
// looks, verified, and published by one atomic rename onto a name that is the
// digest of everything it was made from. Leases and the engine's container
// names only save work: they see to it that one builder runs at a time. Where
// another pack has what was made from the very same, an attempt is a copy of that,
// compared file by file with what was published.
package envcache

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
)

// Options of a Cache. All are required but Shared, References, CADir,
// Events and Fault.
type Options struct {
	Root   string // {runtime_envs_dir} as the gateway sees it
	Layout runtimes.Layout
	Engine container.Engine
	Local  Leaser // excludes the gateways of this machine: file locks in the volume
	Shared Leaser // excludes all gateways: Redis; nil without
	// References tells gateways on other machines what is in use; nil without.
	References References
	GatewayID  string
	AgentDir   string            // holds the agent
	CADir      string            // holds the certificate bundle; empty = none
	SecretsDir string            // of this volume's gateways, in memory; empty where no index has credentials
	Vars       map[string]string // process variables of builders: index settings
	Indexes    map[string]Index  // that packs may choose, by NAME or NAME.RUNTIME
	Network    container.Network // of builders
	Limits     Limits
	Log        *slog.Logger
	// Events is told of every step of every build; it must not block.
	Events func(Event)
	// Fault is told of every Point that a build passes. Tests stop a gateway
	// there, or end it.
	Fault func(Point)
}

// Limits bound builds. The values in brackets are the defaults of the
// configuration.
type Limits struct {
	Concurrency int           // builds at once per gateway [2]
	Queue       int           // builds that wait for a slot [32]
	Timeout     time.Duration // of one build [15 min]
	Waiter      time.Duration // how long a caller waits for a build [25 s]
	Lease       time.Duration // TTL of a lease [30 s]
	PollMin     time.Duration // how often another gateway's build is looked at, at first [250 ms]
	PollMax     time.Duration // … and at last [2 s]
	FreeSpace   int64         // bytes that must be free before a build [512 MiB]
	MaxBytes    int64         // of an environment [2 GiB]
	MaxFiles    int64         // of an environment [200,000]
	Memory      int64         // of a builder, its /tmp included [2 GiB]
	CPU         float64       // cores of a builder [2]
	Keep        int           // generations of an environment that pruning leaves, the serving one among them [2]
	PruneAfter  time.Duration // how long a generation that nobody needs stays [1 h]
	CacheBytes  int64         // of all packs' downloads; 0 = none are kept [1 GiB]
	// Share is how old versions may be that an installer chose for another pack of
	// equal inputs, for that pack's environment to be copied; 0 = never [24 h].
	Share time.Duration
}

// Cache makes and finds environments. Its methods may be called concurrently.
type Cache struct {
	Options
	volume volume
	slots  chan struct{} // a token per running build
	// pointers are locked in the volume whatever the Leasers grant: they are
	// read, judged and written, which no rename does in one step.
	pointers *FileLeaser
	ctx      context.Context
	cancel   context.CancelFunc
	wait     sync.WaitGroup // flights

	ready readyMap
	known sync.Map // key → *known
	hub   *hub

	mu      sync.Mutex
	flights map[key]*flight
	planned map[key]*Recipe // builds that nobody waits for, not yet begun
	order   []key           // of planned
	workers int             // that carry out the plan
	queued  int
	times   []time.Duration // of the last builds, for Retry-After
	sources map[string]int  // generations that are being copied
}

// New prepares the volume.
func New(o Options) (*Cache, error) {
	if o.Events == nil {
		o.Events = func(Event) {}
	}
	if o.References == nil {
		o.References = noReferences{}
	}
	if o.Fault == nil {
		o.Fault = func(Point) {}
	}
	c := &Cache{
		Options: o,
		volume:  volume{root: o.Root, memory: o.SecretsDir},
		slots:   make(chan struct{}, o.Limits.Concurrency),
		flights: make(map[key]*flight),
		planned: make(map[key]*Recipe),
		sources: make(map[string]int),
		hub:     newHub(),
	}
	if err := c.volume.init(); err != nil {
		return nil, err
	}
	c.pointers = NewFileLeaser(filepath.Join(c.volume.locks(), "pointers"))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Ensure returns the environment of a recipe, built if need be; the caller
// releases it. A ready one costs no system call. While a changed pack's
// environment is being built, or can't be, the one before serves.
//
// It waits no longer than ctx and Limits.Waiter allow, and then gives a
// *BuildingError while the build goes on.
//
// Errors: *FailedError, *BuildingError, ErrStorageFull, ErrBusy, ErrClosed, the
// cause of ctx when the caller left.
func (c *Cache) Ensure(ctx context.Context, r *Recipe) (*Environment, error) {
	if env := c.ready.get(r.key()); env != nil {
		return env, nil
	}
	return c.await(ctx, r, time.After(c.Limits.Waiter))
}

// Follow is Ensure for a caller who is shown what happens and who therefore
// waits for as long as ctx allows. told must not block.
func (c *Cache) Follow(ctx context.Context, r *Recipe, told func(Event)) (*Environment, error) {
	if env := c.ready.get(r.key()); env != nil {
		return env, nil
	}
	events := c.Subscribe(r.Pack, r.Runtime.Name)
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		for e := range events.Events {
			told(e)
		}
	}()
	env, err := c.await(ctx, r, nil)
	events.Close()
	<-shown
	return env, err
}

// await returns when calls can have an environment, or can't, or when patience
// ends.
func (c *Cache) await(ctx context.Context, r *Recipe, patience <-chan time.Time) (*Environment, error) {
	for {
		f, err := c.join(r)
		if err != nil {
			return nil, err
		}
		select {
		case <-f.served:
		case <-f.done:
		case <-patience:
			return nil, &BuildingError{RetryAfter: c.remaining(f)}
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil, context.Cause(ctx)
			}
			return nil, &BuildingError{RetryAfter: c.remaining(f)}
		}
		if env := c.ready.get(r.key()); env != nil {
			return env, nil
		}
		if err := f.failure(); err != nil {
			return nil, err
		}
		// It was there and was let go again in this moment: ask once more.
	}
}

// Retain forgets every ready environment that no recipe of the list asks for:
// its reference is given back, so that it may be pruned one day.
func (c *Cache) Retain(recipes []*Recipe) {
	keep := make(map[key]bool, len(recipes))
	for _, r := range recipes {
		keep[r.key()] = true
	}
	c.known.Range(func(k, _ any) bool {
		if !keep[k.(key)] {
			c.known.Delete(k)
		}
		return true
	})
	c.ready.drop(func(k key) bool { return !keep[k] })
}

// Close stops waiting for builds and returns when nothing of the cache runs.
// Builder containers run on: the next caller anywhere adopts them.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.cancel() // under the lock: no flight starts that Wait doesn't see
	c.mu.Unlock()
	c.wait.Wait()
	c.hub.close()
	c.ready.drop(func(key) bool { return true })
	return nil
}

// observe keeps the durations of the last builds.
func (c *Cache) observe(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = append(c.times, d)
	if len(c.times) > 32 {
		c.times = slices.Delete(c.times, 0, 1)
	}
}

// firstGuess is assumed of a build before there was any: installing a handful
// of packages takes between one second and some tens.
const firstGuess = 20 * time.Second

// remaining estimates when a flight lands: the median of past builds less what
// has passed, and never less than a second.
func (c *Cache) remaining(f *flight) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	median := firstGuess
	if len(c.times) > 0 {
		sorted := slices.Sorted(slices.Values(c.times))
		median = sorted[len(sorted)/2]
	}
	return max(time.Second, median-time.Since(f.since))
}

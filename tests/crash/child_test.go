package crash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"attune/envcache"
	"attune/gateway/redis"
	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/docker"
)

// childVariable makes this test binary a gateway: it holds a config.
const childVariable = "ATTUNE_CRASH_GATEWAY"

// config is all that a gateway is told before it starts.
type config struct {
	ID, Root, AgentDir string
	Engine             string // socket of a host; empty = Docker
	Image              string
	Locks              string // directory of the local leases
	Redis              string // URL; empty = no shared lease
	Everybody          bool   // both leases are granted to everybody
	Lease, Waiter      time.Duration
	Timeout            time.Duration // of a build
	Script             string        // makes the environment
	Share              bool          // … or a copy of another pack's does
}

// order is what a gateway is told on its standard input.
type order struct {
	ID       int
	Do       string         // ensure, reap, arm, close
	Pack     string         // ensure: ref
	Dir      string         // ensure: of the pack
	Revision string         // ensure: of the pack
	Patience time.Duration  // ensure: deadline of the caller; 0 = none
	Point    envcache.Point // arm
	Nth      int            // arm: how often the point is passed before; 0 = the first time stops
}

// word is what a gateway says on its standard output.
type word struct {
	ID     int            `json:",omitempty"` // of the order
	At     envcache.Point `json:",omitempty"` // it stops itself here, now
	Begun  bool           `json:",omitempty"` // the digest is known, and Ensure comes next
	Digest string         `json:",omitempty"` // that the pack asks for
	Got    string         `json:",omitempty"` // digest of the environment that Ensure gave
	Dir    string         `json:",omitempty"`
	Answer answer         `json:",omitempty"`
	Reason string         `json:",omitempty"` // of any error
	Retry  time.Time      `json:",omitzero"`  // of a failure
	Took   time.Duration  `json:",omitempty"`
}

// answer is the kind of an outcome.
type answer string

const (
	ready    answer = "ready"
	building answer = "building"
	failed   answer = "failed"
	other    answer = "error"
	done     answer = "done"
)

// child is the gateway: one cache, which does as it is told.
type child struct {
	config
	cache *envcache.Cache
	image container.Image

	mu    sync.Mutex // of the output, and of what is armed
	out   io.Writer
	point envcache.Point
	nth   int
}

// runChild is main of a gateway.
func runChild(configured string) int {
	c := &child{out: os.Stdout}
	if err := json.Unmarshal([]byte(configured), &c.config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := c.serve(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "gateway %s: %v\n", c.ID, err)
		return 1
	}
	return 0
}

func (c *child) serve(ctx context.Context) (err error) {
	engine, err := c.engine(ctx)
	if err != nil {
		return err
	}
	if c.image, err = engine.Image(ctx, c.Image); err != nil {
		return err
	}
	shared, disconnect, err := c.shared()
	if err != nil {
		return err
	}
	share := time.Duration(0)
	if c.Share {
		share = time.Hour
	}
	c.cache, err = envcache.New(envcache.Options{
		Root: c.Root, Layout: runtimes.Layout{Isolated: c.config.Engine == ""}, Engine: engine, GatewayID: c.ID,
		AgentDir: c.AgentDir, Network: container.NetworkNone, Local: c.local(), Shared: shared,
		Limits: envcache.Limits{
			Concurrency: 2, Queue: 32, Timeout: c.Timeout, Waiter: c.Waiter, Lease: c.config.Lease,
			PollMin: 5 * time.Millisecond, PollMax: 40 * time.Millisecond,
			FreeSpace: 1, MaxBytes: 1 << 20, MaxFiles: 100, Memory: 256 << 20, CPU: 1, Share: share,
		},
		Log:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("gateway", c.ID),
		Fault: c.fault,
	})
	if err != nil {
		return err
	}
	last := c.obey(ctx)
	err = errors.Join(c.cache.Close(), disconnect(), engine.Close())
	if err == nil {
		err = goleak.Find()
	}
	if last.Do == "close" {
		c.say(c.outcome(word{ID: last.ID, Answer: done}, err))
	}
	return err
}

func (c *child) engine(ctx context.Context) (container.Engine, error) {
	if c.config.Engine != "" {
		return newRemote(c.config.Engine), nil
	}
	return docker.New(ctx, docker.Options{})
}

func (c *child) local() envcache.Leaser {
	if c.Everybody {
		return everybody{}
	}
	return envcache.NewFileLeaser(c.Locks)
}

func (c *child) shared() (envcache.Leaser, func() error, error) {
	if c.Redis == "" {
		return nil, func() error { return nil }, nil
	}
	client, err := redis.New(c.Redis)
	if err != nil {
		return nil, nil, err
	}
	return client.Leaser(), client.Close, nil
}

// everybody grants every lease.
type everybody struct{}

func (everybody) Acquire(context.Context, string, time.Duration) (envcache.Lease, error) {
	return everybody{}, nil
}
func (everybody) Lost() <-chan struct{}         { return nil }
func (everybody) Release(context.Context) error { return nil }

// obey carries out orders until it is told to close, or its parent is gone.
func (c *child) obey(ctx context.Context) (last order) {
	var working sync.WaitGroup
	defer working.Wait()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			panic(err)
		}
		switch o.Do {
		case "close":
			// What waits is answered: the cache is closed.
			working.Go(func() { c.cache.Close() })
			return o
		case "arm":
			c.mu.Lock()
			c.point, c.nth = o.Point, o.Nth
			c.mu.Unlock()
			c.say(word{ID: o.ID, Answer: done})
		case "reap":
			working.Go(func() { c.say(c.outcome(word{ID: o.ID, Answer: done}, c.cache.Reap(ctx))) })
		case "ensure":
			working.Go(func() { c.ensure(ctx, o) })
		}
	}
	return order{}
}

func (c *child) ensure(ctx context.Context, o order) {
	r := &envcache.Recipe{
		Pack: o.Pack, PackDir: o.Dir, Revision: o.Revision, Image: c.image,
		Runtime: &runtimes.Runtime{
			Name:         "sh",
			Interpreter:  runtimes.Interpreter{Binary: "/bin/sh"},
			Environment:  runtimes.Environment{EnvType: "scripted", CreateCommand: []string{"/bin/sh", "-c", c.Script}, Share: c.Share},
			Dependencies: runtimes.Dependencies{ManifestFile: "deps.txt", InstallCommand: []string{"/bin/cp", "{manifest_path}", "{env_dir}/deps"}},
		},
	}
	// To go back to what isn't there changes nothing; but it reads the pack and
	// notes what that asks for, as Ensure does first. Status asks only.
	if err := c.cache.Rollback(r, strings.Repeat("0", 32)); !errors.Is(err, envcache.ErrNoGeneration) {
		c.say(c.outcome(word{ID: o.ID, Begun: true}, err))
		return
	}
	status, err := c.cache.Status(r)
	c.say(word{ID: o.ID, Begun: true, Digest: status.Digest})
	if err != nil {
		c.say(c.outcome(word{ID: o.ID}, err))
		return
	}
	if o.Patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Patience)
		defer cancel()
	}
	began := time.Now()
	// While an earlier generation serves no call builds: Run's part is done here.
	c.cache.Plan([]*envcache.Recipe{r})
	env, err := c.cache.Ensure(ctx, r)
	w := word{ID: o.ID, Digest: status.Digest, Answer: ready, Took: time.Since(began)}
	if env != nil {
		w.Got, w.Dir = env.Digest, env.Dir
		env.Release()
	}
	if status, err := c.cache.Status(r); err == nil && w.Got != w.Digest && status.NextRetry != nil {
		w.Retry = *status.NextRetry
	}
	c.say(c.outcome(w, err))
}

// outcome adds an error to a word.
func (c *child) outcome(w word, err error) word {
	if err == nil {
		return w
	}
	w.Answer, w.Reason = other, err.Error()
	var failure *envcache.FailedError
	var patience *envcache.BuildingError
	switch {
	case errors.As(err, &failure):
		w.Answer, w.Retry = failed, failure.NextRetry
	case errors.As(err, &patience):
		w.Answer = building
	}
	return w
}

func (c *child) say(w word) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(w)
}

func (c *child) write(w word) {
	c.out.Write([]byte(encode(w) + "\n")) //nolint:errcheck // a parent that is gone needs no word
}

// fault stops the whole process at an armed point. The signal goes to this very
// thread, so that it doesn't do one step more; the lock is kept, so that nothing
// can be armed between the word and the stop.
func (c *child) fault(p envcache.Point) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.point != p {
		return
	}
	if c.nth > 0 {
		c.nth--
		return
	}
	c.point = ""
	c.write(word{At: p})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP) //nolint:errcheck // to oneself
}

package crash

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"attune/envcache"
	"attune/gateway/redis/redistest"
	"attune/runtimes/container"
)

// leases is how the gateways of a rig keep apart.
type leases string

const (
	byFile      leases = "file"      // one machine
	byRedis     leases = "redis"     // one machine, and a Redis
	byMachine   leases = "machines"  // a Redis, and file locks that reach nobody else
	byEverybody leases = "everybody" // whoever asks gets every lease
)

// exclusive are those that hold whatever happens to a gateway: only while it
// lives may another not build.
func (l leases) exclusive() bool { return l == byFile || l == byRedis }

const (
	ttl    = 300 * time.Millisecond
	waiter = 25 * time.Second
	// bound is I4: two TTL, five seconds, and a build, which takes a while on a
	// machine that does eight of these at a time. To the second it is tested in
	// virtual time, by envcache's schedules.
	bound = 2*ttl + 5*time.Second + 40*time.Second
	// unleased is for gateways that nothing keeps apart. They get in each
	// other's way, so I4 isn't promised (I12), but they get on.
	unleased = 3 * bound
)

// soon is when a gateway that asks now must have the environment.
func (r *rig) soon() time.Time {
	if r.leases == byEverybody {
		return time.Now().Add(unleased)
	}
	return time.Now().Add(bound)
}

// rig is a volume, a pack and what gateways share.
type rig struct {
	t      *testing.T
	leases leases
	root   string
	packs  string
	hosts  []*host // gateways use the first unless they are told another
	watch  *watcher
	redis  *goredis.Client
	config config

	// owns tells which containers of the engine are this rig's.
	owns func(container.Container) bool
	// givenUp tells which digests nobody will ask for again.
	givenUp func(digest string) bool

	tried atomic.Int32 // builders that were to be made, be their names taken or not

	mu        sync.Mutex
	gateways  []*gateway
	revisions map[string]int // of digests
}

// pack is one at a revision.
type pack struct {
	ref, dir, revision string
}

func newRig(t *testing.T, l leases) *rig {
	t.Helper()
	r := &rig{t: t, leases: l, root: t.TempDir(), packs: t.TempDir(), revisions: make(map[string]int)}
	r.givenUp = func(string) bool { return false }
	r.owns = func(container.Container) bool { return true }
	r.config = config{
		Root: r.root, AgentDir: agentDir, Image: "any", Locks: filepath.Join(r.root, ".locks"), Everybody: l == byEverybody,
		Lease: ttl, Waiter: waiter, Timeout: 20 * time.Second, Script: script,
	}
	if l == byRedis || l == byMachine {
		r.config.Redis = redistest.URL(t)
		r.connect()
	}
	r.machine()
	r.watch = newWatcher(t, r.root)
	return r
}

func (r *rig) connect() {
	r.t.Helper()
	if _, err := url.Parse(r.config.Redis); err != nil {
		r.t.Fatal(err)
	}
	options, err := goredis.ParseURL(r.config.Redis)
	if err != nil {
		r.t.Fatal(err)
	}
	r.redis = goredis.NewClient(options)
	r.t.Cleanup(func() { r.redis.Close() })
}

// machine adds one with an engine of its own.
func (r *rig) machine() *host {
	r.t.Helper()
	h := newHost(r.t)
	h.created = func(digest string) {
		r.tried.Add(1)
		r.backoff(digest)
	}
	r.hosts = append(r.hosts, h)
	return h
}

// gateway starts one. change may be nil.
func (r *rig) gateway(change func(*config)) *gateway {
	r.t.Helper()
	r.mu.Lock()
	c := r.config
	c.ID = fmt.Sprintf("g%d", len(r.gateways))
	r.mu.Unlock()
	c.Engine = r.hosts[0].socket
	if r.leases == byMachine {
		c.Locks = r.t.TempDir()
	}
	if change != nil {
		change(&c)
	}
	g := launch(r.t, r, c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gateways = append(r.gateways, g)
	return g
}

// pack is the pack at its nth revision.
func (r *rig) pack(n int) pack { return r.packOf("demo", n) }

func (r *rig) packOf(ref string, n int) pack {
	r.t.Helper()
	p := pack{ref: ref, dir: filepath.Join(r.packs, fmt.Sprintf("%s-%d", ref, n)), revision: fmt.Sprintf("r%d", n)}
	manifest := filepath.Join(p.dir, "deps.txt")
	if _, err := os.Lstat(manifest); err == nil {
		return p // builders read it
	}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(manifest, []byte(fmt.Sprintf("a==%d\n", n)), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return p
}

// fails makes all builds of a pack fail, or no longer.
func (p pack) fails(t *testing.T, yes bool) {
	t.Helper()
	file := filepath.Join(p.dir, "fail")
	err := os.RemoveAll(file)
	if yes {
		err = os.WriteFile(file, nil, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// script makes an environment of which any part that is missing shows. It takes
// a while, and between its beginning and its end it is not complete.
const script = `set -e
if test -e {pack_dir}/fail; then echo broken; exit 3; fi
mkdir lib
for n in 1 2 3; do echo "part $n" >lib/$n; done
sleep 0.05
for n in 4 5 6; do echo "part $n" >lib/$n; done
sha256sum lib/* >sums`

// gated is script when open has been called.
const gated = "until test -e {pack_dir}/go; do sleep 0.02; done\n" + script

// open lets gated builders pass.
func (r *rig) open(p pack) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "go"), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

// parts is how many files of an environment the sums are of.
const parts = 6

// know notes the revision of a digest.
func (r *rig) know(digest string, o order) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.revisions[digest]; !known {
		var n int
		fmt.Sscanf(o.Revision, "r%d", &n) //nolint:errcheck // our own
		r.revisions[digest] = n
	}
}

func (r *rig) digests() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	digests := make(map[string]int)
	for digest, n := range r.revisions {
		digests[digest] = n
	}
	return digests
}

// leaseKeys are those of the rig's environments.
func (r *rig) leaseKeys() (keys []string) {
	for digest := range r.digests() {
		keys = append(keys, "attune:lease:build."+digest)
	}
	return keys
}

// punctual is I13: whoever waits is answered by the end of its patience.
func (r *rig) punctual(g *gateway, o order, w word) {
	limit := r.config.Waiter
	if o.Patience > 0 {
		limit = min(limit, o.Patience)
	}
	if w.Took > limit+3*time.Second {
		r.t.Errorf("I13: gateway %s answered after %v, want at most %v: %+v", g.id, w.Took, limit, w)
	}
}

// readyBy asks a gateway until it has the environment, also through back-offs,
// and fails the test at the deadline.
func (r *rig) readyBy(g *gateway, p pack, deadline time.Time) word {
	r.t.Helper()
	for {
		w, ok := g.get(g.ensure(p))
		late := time.Until(deadline) < 0
		switch {
		case !ok:
			r.t.Fatalf("gateway %s died", g.id)
		case w.Answer == ready && w.Got == w.Digest:
			if late {
				r.t.Errorf("I4: gateway %s has the environment %v too late", g.id, -time.Until(deadline))
			}
			r.watch.whole(w.Got)
			return w
		case late:
			r.t.Fatalf("I4: gateway %s has no environment in time: %+v", g.id, w)
		}
		wait := 20 * time.Millisecond // an earlier generation serves, or a build goes on
		if !w.Retry.IsZero() {
			wait = time.Until(w.Retry)
			deadline = w.Retry.Add(bound)
		}
		passed(r.t, wait)
	}
}

// passed lets time pass, where time is what is tested.
func passed(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// rest ends everything but a survivor, lets it reap, and checks that nothing is
// left: I10, and what was seen meanwhile: I1, I3 and I6.
func (r *rig) rest(survivor *gateway) {
	r.t.Helper()
	for _, g := range r.gateways {
		if g != survivor && !g.isDead() {
			g.close()
		}
	}
	r.reaped(survivor, r.soon())
	survivor.close()
	r.watch.end(r.digests())
	if left := r.leftovers(); left != "" {
		r.t.Errorf("I10: at rest there is left: %s", left)
	}
}

// reaped lets a gateway reap until nothing is left: leases of the dead end with
// their TTL, abandoned builders with their deadline.
func (r *rig) reaped(by *gateway, deadline time.Time) {
	r.t.Helper()
	for r.leftovers() != "" && time.Now().Before(deadline) {
		r.age()
		by.reap()
		passed(r.t, 20*time.Millisecond)
	}
}

// started tells how many builders of a digest there were.
func (r *rig) started(digest string) (n int) {
	for _, h := range r.hosts {
		n += h.started(digest)
	}
	return n
}

// age makes files of dead gateways as old as the reaper wants them: a minute.
func (r *rig) age() {
	strays, err := filepath.Glob(filepath.Join(r.root, ".tmp", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	old := unix.NsecToTimespec(time.Now().Add(-time.Hour).UnixNano())
	for _, stray := range strays {
		if base := filepath.Base(stray); strings.HasPrefix(base, "file.") || strings.HasPrefix(base, "pointer.") {
			unix.UtimesNanoAt(unix.AT_FDCWD, stray, []unix.Timespec{old, old}, unix.AT_SYMLINK_NOFOLLOW) //nolint:errcheck // it may be gone
		}
	}
}

// leftovers lists what must not be there at rest.
func (r *rig) leftovers() string {
	var left []string
	for _, dir := range []string{".tmp", ".trash"} {
		entries, err := os.ReadDir(filepath.Join(r.root, dir))
		if err != nil {
			left = append(left, err.Error())
		}
		for _, entry := range entries {
			if digest, _, _ := strings.Cut(entry.Name(), "."); r.givenUp(digest) {
				continue
			}
			left = append(left, dir+"/"+entry.Name())
		}
	}
	for _, h := range r.hosts {
		containers, err := h.engine.Find(context.Background(), nil)
		if err != nil {
			left = append(left, err.Error())
		}
		for _, c := range containers {
			if !r.owns(c) || r.givenUp(c.Labels()[container.LabelDigest]) {
				continue
			}
			left = append(left, "container "+c.Name())
		}
	}
	return strings.Join(append(left, r.heldLeases()...), ", ")
}

func (r *rig) heldLeases() (held []string) {
	if r.redis != nil {
		if keys := r.leaseKeys(); len(keys) > 0 {
			if n, err := r.redis.Exists(context.Background(), keys...).Result(); err != nil || n > 0 {
				held = append(held, fmt.Sprintf("%d leases in Redis (%v)", n, err))
			}
		}
	}
	locks := envcache.NewFileLeaser(filepath.Join(r.root, ".locks"))
	for digest := range r.digests() {
		lease, err := locks.Acquire(context.Background(), "build."+digest, 0)
		if err != nil {
			held = append(held, fmt.Sprintf("file lease of %s (%v)", digest, err))
			continue
		}
		if err := lease.Release(context.Background()); err != nil {
			held = append(held, err.Error())
		}
	}
	return held
}

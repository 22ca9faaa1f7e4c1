package envcache

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The model is the protocol of a build without a file, a container or a clock:
// small enough that thousands of schedules with every kind of death are tried
// in a second. A gateway takes one step of input or output at a time, and
// passes the points of the product in the order in which the product does;
// TestSchedules holds the product against the same table of what may follow.

// modelDigest is a generation that a pack may want.
type modelDigest int

// modelTTL and modelBuild are times of the model.
const (
	modelTTL     = 30 * time.Second
	modelTimeout = 15 * time.Minute
)

// modelAttempt is a directory that a builder fills, wherever it is.
type modelAttempt struct {
	digest    modelDigest
	there     bool       // below .tmp
	claim     *modelProc // who renamed it last
	claimedAt time.Duration
	whole     bool // all that was to be installed
	marked    bool // verified, and said so
	published bool
}

// modelBuilder is a container. Its name is its digest.
type modelBuilder struct {
	digest          modelDigest
	attempt         *modelAttempt
	running, exited bool
	removed         bool
	code            int
	deadline        time.Duration
}

// modelSource is what another pack has of the same inputs.
type modelSource struct {
	there, whole bool
	holds        map[*modelGateway]int
}

type modelFailure struct {
	attempt int
	until   time.Duration
	builder *modelBuilder
}

type modelLease struct {
	owner *modelProc
	until time.Duration
}

// modelWorld is what gateways share, and what outlives them.
type modelWorld struct {
	now      time.Duration
	without  string // the guard that is taken out
	shared   bool   // there is a lease with a TTL,
	file     bool   // … and one that the kernel frees
	away     bool   // the service of the shared lease doesn't answer
	gateways []*modelGateway

	// the volume
	attempts                []*modelAttempt
	store                   map[modelDigest]*modelAttempt
	revision, shown         int64
	wanted, pointer         modelDigest
	sources                 map[modelDigest]*modelSource
	failures                map[modelDigest]modelFailure
	trash                   int
	fileLocks               map[string]*modelProc
	references              map[modelDigest]map[*modelGateway]int
	pruning                 map[modelDigest]*modelProc
	builders                []*modelBuilder // the engine
	leases                  map[modelDigest]modelLease
	manifest                modelDigest
	pointed                 int64 // highest revision that the pointer has shown
	publications, deletions map[modelDigest]int
	failed, recorded        int

	edges map[[2]string]bool // points that followed one another

	broken string // the first invariant that did not hold
	trace  []modelStep
}

// modelStep is a line of a schedule, put into words only when one is shown.
type modelStep struct {
	at        time.Duration
	who, what string
	does      string
}

func (s modelStep) String() string { return fmt.Sprint(s.at, " ", s.who, " ", s.what, " ", s.does) }

// told is the schedule so far.
func (w *modelWorld) told() string {
	var b strings.Builder
	for _, s := range w.trace {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

func newModelWorld(gateways int, shared, file bool, without string) *modelWorld {
	w := &modelWorld{
		shared: shared, file: file, without: without, manifest: 1,
		edges: map[[2]string]bool{}, store: map[modelDigest]*modelAttempt{}, failures: map[modelDigest]modelFailure{},
		sources:   map[modelDigest]*modelSource{},
		fileLocks: map[string]*modelProc{}, references: map[modelDigest]map[*modelGateway]int{},
		pruning: map[modelDigest]*modelProc{}, leases: map[modelDigest]modelLease{},
		publications: map[modelDigest]int{}, deletions: map[modelDigest]int{},
	}
	for i := range gateways {
		w.gateways = append(w.gateways, &modelGateway{world: w, name: fmt.Sprintf("g%d", i), wants: 1})
	}
	return w
}

// has tells whether a guard is in place.
func (w *modelWorld) has(guard string) bool { return w.without != guard }

func (w *modelWorld) violate(format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
	}
}

// excludes says that a lease is held by one at a time, whoever is paused.
func (w *modelWorld) excludes() bool { return w.file }

// named finds a container by its name.
func (w *modelWorld) named(d modelDigest) *modelBuilder {
	for _, b := range w.builders {
		if b.digest == d {
			return b
		}
	}
	return nil
}

func (w *modelWorld) remove(b *modelBuilder) {
	b.running, b.removed = false, true
	w.builders = slices.DeleteFunc(w.builders, func(other *modelBuilder) bool { return other == b })
}

// discard moves an attempt to the trash.
func (w *modelWorld) discard(a *modelAttempt) {
	if !a.there {
		return
	}
	if w.excludes() && slices.ContainsFunc(w.builders, func(b *modelBuilder) bool { return b.running && b.attempt == a }) {
		w.violate("I9: the attempt of a running builder was deleted under a lease")
	}
	a.there = false
	w.attempts = slices.DeleteFunc(w.attempts, func(other *modelAttempt) bool { return other == a })
	w.trash++
}

// write is a write into an attempt during its verification.
func (w *modelWorld) write(a *modelAttempt) {
	if a.published {
		w.violate("I1: generation %d was written after it was published", a.digest)
	}
}

// publish renames an attempt onto its digest.
func (w *modelWorld) publish(a *modelAttempt) {
	if w.store[a.digest] != nil && w.has("noreplace") {
		return // EEXIST: mine is not needed
	}
	a.there, a.published = false, true
	w.attempts = slices.DeleteFunc(w.attempts, func(other *modelAttempt) bool { return other == a })
	w.store[a.digest] = a
	w.publications[a.digest]++
}

// point flips the pointer.
func (w *modelWorld) point(d modelDigest, revision int64) {
	if revision < w.pointed {
		w.violate("I6: the pointer fell from revision %d to %d", w.pointed, revision)
	}
	w.pointer, w.pointed = d, max(w.pointed, revision)
}

// started is told when a builder begins to run.
func (w *modelWorld) started(b *modelBuilder) {
	for _, other := range w.builders {
		if other != b && other.running && other.digest == b.digest {
			w.violate("I2: two builders of %d run", b.digest)
		}
	}
	if f := w.failures[b.digest]; w.excludes() && w.now < f.until {
		w.violate("I8: a builder of %d was started %v before its back-off ends", b.digest, f.until-w.now)
	}
}

// check looks at what must be true after every step.
func (w *modelWorld) check() string {
	for d, a := range w.store {
		if !a.whole || !a.marked {
			w.violate("I1: generation %d is published, whole: %v, marked: %v", d, a.whole, a.marked)
		}
		if n := w.publications[d] - w.deletions[d]; n != 1 {
			w.violate("I3: generation %d was published %d times", d, n)
		}
	}
	for _, b := range w.builders {
		if b.running && b.attempt.published {
			w.violate("I9: a builder writes to what is published")
		}
	}
	for _, g := range w.gateways {
		for d := range g.ready {
			if w.store[d] == nil {
				w.violate("I7: %s has a reference on generation %d, which is gone", g.name, d)
			}
		}
	}
	if w.pointer != 0 && w.store[w.pointer] == nil {
		w.violate("I7: the pointer leads to generation %d, which is gone", w.pointer)
	}
	if w.excludes() && w.recorded > w.failed {
		w.violate("I8: %d failures of %d failed builds are recorded", w.recorded, w.failed)
	}
	return w.broken
}

// atRest looks for leftovers.
func (w *modelWorld) atRest() string {
	// Without a lease that excludes, a reaper may delete the attempt of a builder
	// that is just being started. If nobody asks for its digest again, the
	// stopped container stays: it can't be told from one of another volume.
	left := slices.DeleteFunc(slices.Clone(w.builders), func(b *modelBuilder) bool { return !w.excludes() && !b.attempt.there })
	if n := len(w.attempts) + len(left) + len(w.fileLocks) + len(w.pruning) + w.trash; n > 0 {
		w.violate("I10: left over: %d attempts, %d builders, %d locks, %d prunings, %d in the trash",
			len(w.attempts), len(left), len(w.fileLocks), len(w.pruning), w.trash)
	}
	for d, lease := range w.leases {
		if w.now < lease.until {
			w.violate("I10: the lease of %d is still held", d)
		}
	}
	for _, g := range w.gateways {
		if !g.ready[g.wants] {
			w.violate("I4: %s has no environment", g.name)
		}
	}
	return w.check()
}

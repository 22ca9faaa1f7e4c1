package metrics

import (
	"sync"
	"time"

	"attune/envcache"
)

// How an environment came to be, as a label.
const (
	byBuild  = "build"  // a builder of this gateway's
	byCopy   = "copy"   // of another pack's
	byOthers = "others" // another gateway has built it
)

// Environments counts builds.
type Environments struct {
	builds *Counter
	took   *Histogram

	mu  sync.Mutex
	how map[[2]string]string // of builds that run, by pack and runtime
}

var buildBounds = []float64{.25, .5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640, 900}

// NewEnvironments makes the metrics of environments. list tells where they stand;
// it reads the disk, and so is asked at most every listedFor.
func NewEnvironments(r *Registry, list func() []envcache.Status) *Environments {
	list = memo(listedFor, list)
	r.Gauges("environments", "Environments of the packs served, by state.", []string{"state"}, func(emit Emit) {
		counts := map[envcache.State]int{
			envcache.StateAbsent: 0, envcache.StateQueued: 0, envcache.StateBuilding: 0,
			envcache.StateReady: 0, envcache.StateDegraded: 0, envcache.StateFailed: 0,
		}
		for _, status := range list() {
			counts[status.State]++
		}
		for state, n := range counts {
			emit(float64(n), string(state))
		}
	})
	return &Environments{
		builds: r.Counter("environment_builds_total", "Builds that this gateway has waited for, by pack, runtime, how, and outcome.", "pack", "runtime", "how", "outcome"),
		took:   r.Histogram("environment_build_duration_seconds", "Time from a build's beginning to its end.", buildBounds, "runtime", "how"),
		how:    make(map[[2]string]string),
	}
}

// Event follows the builds. It doesn't block.
func (e *Environments) Event(event envcache.Event) {
	if event.Line != "" {
		return
	}
	name := [2]string{event.Pack, event.Runtime}
	e.mu.Lock()
	how := e.how[name]
	switch event.Phase {
	case envcache.PhaseCreate, envcache.PhaseInstall, envcache.PhaseAdopt:
		how = byBuild
	case envcache.PhaseCopy:
		how = byCopy
	}
	e.how[name] = how
	if event.Phase.Ended() {
		delete(e.how, name)
	}
	e.mu.Unlock()
	if !event.Phase.Ended() {
		return
	}
	if how == "" {
		how = byOthers
	}
	e.builds.With(event.Pack, event.Runtime, how, string(event.Phase)).Inc()
	e.took.With(event.Runtime, how).Observe(event.Elapsed.Seconds())
}

// Forget drops a pack that is gone.
func (e *Environments) Forget(pack string) { e.builds.Forget("pack", pack) }

// listedFor is how long a list of the environments counts as new.
const listedFor = 5 * time.Second

// memo keeps an answer for a while.
func memo[T any](age time.Duration, ask func() T) func() T {
	var mu sync.Mutex
	var last T
	var asked time.Time
	return func() T {
		mu.Lock()
		defer mu.Unlock()
		if asked.IsZero() || time.Since(asked) > age {
			last, asked = ask(), time.Now()
		}
		return last
	}
}

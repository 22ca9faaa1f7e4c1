package envcache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"attune/runtimes/container"
)

// scheduleBuild is how long a builder works when nobody tells it to end.
const scheduleBuild = 10 * time.Second

// scheduleActions are what the model has, too, for real gateways.
var scheduleActions = map[string]func(tb testing.TB, w *scheduleWorld, choose chooser) bool{
	"ask": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		patience := []time.Duration{time.Second, 7 * time.Second, time.Hour}
		return w.any(choose).ask(patience[choose(len(patience), "patience")])
	},
	"crash": func(tb testing.TB, w *scheduleWorld, choose chooser) bool { w.any(choose).crash(tb); return true },
	"pause": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		g := w.any(choose)
		g.pause(!g.paused)
		return true
	},
	"builder": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		running := w.engine.running()
		if len(running) == 0 {
			return false
		}
		running[choose(len(running), "builder")].end(max(0, choose(7, "outcome")-3))
		return true
	},
	"flush": func(_ testing.TB, w *scheduleWorld, _ chooser) bool {
		if w.leases != nil {
			w.leases.flush()
		}
		return w.leases != nil
	},
	"away": func(_ testing.TB, w *scheduleWorld, _ chooser) bool {
		if w.leases != nil {
			w.leases.setAway(!w.leases.away)
		}
		return w.leases != nil
	},
	"time": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		times := []time.Duration{time.Second, 6 * time.Second, 2 * scheduleLease, 15*time.Minute + 2*grace}
		time.Sleep(times[choose(len(times), "time")])
		return true
	},
	"upgrade": func(_ testing.TB, w *scheduleWorld, _ chooser) bool {
		w.latest = min(w.latest+1, len(w.recipes)-1)
		return true
	},
	"reload": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		g := w.any(choose)
		g.recipe = w.latest
		g.cache.Retain([]*Recipe{w.recipes[g.recipe]})
		return true
	},
	// What people ask for may come too early, or too late: then nothing happens.
	"rebuild": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		g := w.any(choose)
		return g.idle() && g.cache.Rebuild(w.recipes[g.recipe]) == nil
	},
	"rollback": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		g := w.any(choose)
		return g.idle() && g.cache.Rollback(w.recipes[g.recipe], "") == nil
	},
	"tend": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		g := w.any(choose)
		if !g.idle() {
			return false
		}
		g.cache.Retain([]*Recipe{w.recipes[g.recipe]}) // two recipes' points can't be told apart
		g.cache.tend(context.Background())
		return true
	},
	"prune": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		cache := w.any(choose).cache
		w.pruned = true
		w.pruning.Add(1)
		w.calls.Go(func() {
			defer w.pruning.Add(-1)
			if _, err := cache.Prune(context.Background(), true); err != nil && !errors.Is(err, context.Canceled) {
				w.violate("Prune() = %v", err)
			}
		})
		return true
	},
	"donate": func(_ testing.TB, w *scheduleWorld, _ chooser) bool {
		if err := w.donate(); err != nil {
			w.violate("%v", err)
		}
		return true
	},
	"tamper": func(_ testing.TB, w *scheduleWorld, _ chooser) bool {
		if err := w.tamper(); err != nil {
			w.violate("%v", err)
		}
		return true
	},
	"reap": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		cache := w.any(choose).cache
		w.calls.Go(func() {
			// Others may delete the same things; at rest nothing may be left.
			_ = cache.Reap(context.Background())
		})
		return true
	},
	"step": func(_ testing.TB, w *scheduleWorld, choose chooser) bool { return w.steps(1, choose) },
	"steps": func(_ testing.TB, w *scheduleWorld, choose chooser) bool {
		return w.steps(1+choose(10, "steps"), choose)
	},
}

// scheduleActionNames has the frequent actions more than once. It begins with
// none, which is what actions that don't matter shrink to.
var scheduleActionNames = func() []string {
	frequent := map[string]int{"steps": 8, "step": 2, "ask": 3, "builder": 3, "time": 2, "donate": 2}
	names := []string{nothing}
	for _, name := range slices.Sorted(maps.Keys(scheduleActions)) {
		names = append(names, slices.Repeat([]string{name}, max(1, frequent[name]))...)
	}
	return names
}()

func (w *scheduleWorld) any(choose chooser) *scheduleGateway {
	return w.gateways[choose(len(w.gateways), "gateway")]
}

// steps lets a gateway pass some gates, one after another.
func (w *scheduleWorld) steps(n int, choose chooser) bool {
	i := choose(len(w.gateways), "gateway")
	g := w.gateways[i]
	if g.paused {
		return false
	}
	for range n {
		synctest.Wait()
		at := g.gate.step(choose)
		if at == "" {
			return true
		}
		w.trace = append(w.trace, fmt.Sprintf("g%d passes %s", i, at))
	}
	return true
}

// settle ends all trouble and asks every gateway until it has an environment.
func (w *scheduleWorld) settle(tb testing.TB) {
	w.settling.Store(true)
	w.engine.endAfter(scheduleBuild)
	if w.leases != nil {
		w.leases.setAway(false)
	}
	for _, c := range w.engine.running() {
		time.AfterFunc(scheduleBuild, func() { c.end(endWhole) })
	}
	for _, g := range w.gateways {
		g.recipe = w.latest
		g.pause(false)
		g.gate.unlock()
	}
	for _, g := range w.gateways {
		w.settled(g.cache, w.recipes[g.recipe])
	}
	time.Sleep(2*scheduleLease + 15*time.Minute + 2*grace)
	for range 2 { // the second takes what a lease kept from the first
		if err := w.gateways[0].cache.Reap(tb.Context()); err != nil {
			w.violate("Reap() = %v", err)
		}
		time.Sleep(2 * scheduleLease)
	}
}

// settled asks one gateway for its environment, as a client does: again when it
// is told to.
func (w *scheduleWorld) settled(cache *Cache, recipe *Recipe) {
	for end := time.Now().Add(2 * maxBuildBackoff); ; {
		env, err := cache.Ensure(context.Background(), recipe)
		var failure *FailedError
		var building *BuildingError
		switch {
		case err == nil && cache.upToDate(recipe.key()):
			env.Release()
			return
		case time.Now().After(end):
			w.violate("I4: not the environment that is asked for after all trouble has ended: %v", err)
			return
		case err == nil: // the generation before serves
			env.Release()
			cache.tend(context.Background())
			time.Sleep(time.Second)
		case errors.As(err, &failure):
			time.Sleep(max(time.Until(failure.NextRetry), time.Second))
		case !errors.As(err, &building):
			w.violate("Ensure() = %v", err)
			return
		}
	}
}

// end stops everything, and looks for leftovers.
func (w *scheduleWorld) end(tb testing.TB) {
	for _, g := range w.gateways {
		g.gate.unlock()
	}
	time.Sleep(scheduleWaiter) // of callers whose gateway died
	for _, g := range w.gateways {
		if err := g.cache.Close(); err != nil {
			tb.Errorf("Close() = %v", err)
		}
	}
	w.calls.Wait()
	for _, c := range w.engine.find(nil) {
		c.remove()
	}
}

func (w *scheduleWorld) atRest() {
	for _, name := range []string{".tmp", ".trash"} {
		if entries, err := os.ReadDir(filepath.Join(w.root, name)); err != nil || len(entries) > 0 {
			w.violate("I10: %s holds %v, %v", name, entries, err)
		}
	}
	left := w.engine.find(nil)
	if !w.file { // as in the model: what lost its attempt can't be told from a builder of another volume
		left = slices.DeleteFunc(left, func(c *memContainer) bool {
			attempt := c.spec.Labels[labelAttempt]
			return attempt != "" && !(volume{root: w.root}).hasAttempt(attempt)
		})
	}
	if len(left) > 0 {
		w.violate("I10: %d containers are left, the first is %s %s", len(left), left[0].spec.Labels[container.LabelRole], left[0].phase)
	}
	for _, name := range w.leases.valid() {
		w.violate("I10: the lease %s is held", name)
	}
}

// inMemory gives f a directory in memory where the machine has one: every
// publication syncs the whole file system.
func inMemory(tb testing.TB, f func(dir string)) {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "attune-")
	if err != nil {
		dir, err = os.MkdirTemp("", "attune-")
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := removeTree(dir); err != nil {
			tb.Error(err)
		}
	}()
	f(dir)
}

// bubble runs f in virtual time. It ends with its last goroutine: one that is
// left fails the test.
func bubble(t *testing.T, f func(t *testing.T, root string)) {
	t.Helper()
	inMemory(t, func(root string) {
		synctest.Test(t, func(t *testing.T) { f(t, root) })
	})
}

// scheduled is an action with the decisions it may need, drawn before the
// bubble: nothing may panic in there, as rapid does to end a run.
type scheduled struct {
	Name    string
	Choices []uint8
}

var anySchedule = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) scheduled {
	return scheduled{
		Name:    rapid.SampledFrom(scheduleActionNames).Draw(t, "action"),
		Choices: rapid.SliceOfN(rapid.Uint8(), 3, 3).Draw(t, "choices"),
	}
}), 60, 100)

// chooser takes the decisions in turn, and the last again and again.
func (s scheduled) chooser() chooser {
	next := 0
	return func(n int, _ string) int {
		decision := int(s.Choices[min(next, len(s.Choices)-1)]) % n
		next++
		return decision
	}
}

// play runs one schedule in its own bubble, and gives what it broke.
func play(t *testing.T, world scheduled, schedule []scheduled) (broken string, trace []string) {
	t.Helper()
	bubble(t, func(t *testing.T, root string) {
		choose := world.chooser()
		leases := choose(4, "leases")
		w := newScheduleWorld(t, root, 3, 2+choose(2, "gateways"), leases&1 != 0, leases&2 != 0)
		for _, action := range schedule {
			if action.Name == nothing {
				continue
			}
			w.trace = append(w.trace, time.Now().Format("15:04:05 ")+action.Name)
			scheduleActions[action.Name](t, w, action.chooser())
			synctest.Wait()
			if broken = w.check(); broken != "" {
				break
			}
		}
		if broken == "" {
			w.settle(t)
			w.atRest()
			broken = w.check()
		}
		w.end(t)
		trace = w.trace
	})
	return broken, trace
}

// TestSchedules drives real gateways on a real volume through the schedules of
// the model, in virtual time.
func TestSchedules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		world := scheduled{Choices: rapid.SliceOfN(rapid.Uint8(), 2, 2).Draw(rt, "world")}
		if broken, trace := play(t, world, anySchedule.Draw(rt, "schedule")); broken != "" {
			rt.Fatalf("%s\n%s", broken, strings.Join(trace, "\n"))
		}
	})
}

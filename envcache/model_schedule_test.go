package envcache

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// follows is what a flight may pass after each point: "begin" and "end" are the
// flight itself. Model and product are both held against it. Of an engine that
// doesn't answer it knows nothing.
var follows = map[string][]Point{
	"begin":                {PointDigest},
	string(PointDigest):    {PointLeased, PointSealed},
	string(PointLeased):    {PointSealed, PointSource, PointAttempt, PointExited, PointReleased},
	string(PointSource):    {PointAttempt, PointExited, PointReleased},
	string(PointCopied):    {PointPublished},
	string(PointAttempt):   {PointAttempt, PointCreated, PointCopied, PointExited, PointReleased},
	string(PointCreated):   {PointStarted, PointAttempt, PointExited, PointReleased},
	string(PointStarted):   {PointExited, PointReleased},
	string(PointExited):    {PointClaimed, PointRecorded},
	string(PointClaimed):   {PointVerified, PointReleased},
	string(PointVerified):  {PointPublished},
	string(PointPublished): {PointCleaned, PointRecorded, PointReleased, PointSealed, PointAttempt, PointExited},
	string(PointCleaned):   {PointSealed, PointReleased},
	string(PointSealed):    {PointPointed},
	string(PointPointed):   {PointReleased},
	string(PointRecorded):  {PointReleased},
	string(PointReleased):  {PointLeased, PointSealed},
}

// mayEnd are the points after which a flight may give its answer.
var mayEnd = []Point{PointDigest, PointPointed, PointReleased}

func mayFollow(from, to string) bool {
	if to == "end" {
		return slices.Contains(mayEnd, Point(from))
	}
	return slices.Contains(follows[from], Point(to))
}

// chooser makes the decisions of a schedule, each between 0 and n-1.
type chooser func(n int, what string) int

// modelActions are what may happen to the world; false: not possible now.
var modelActions = map[string]func(w *modelWorld, choose chooser) bool{
	"ask": func(w *modelWorld, choose chooser) bool {
		return w.gateways[choose(len(w.gateways), "gateway")].ask(w.passed)
	},
	"crash": func(w *modelWorld, choose chooser) bool {
		g := w.gateways[choose(len(w.gateways), "gateway")]
		g.crash()
		return true
	},
	"pause": func(w *modelWorld, choose chooser) bool {
		g := w.gateways[choose(len(w.gateways), "gateway")]
		g.paused = !g.paused
		return true
	},
	"builder": func(w *modelWorld, choose chooser) bool {
		running := slices.DeleteFunc(slices.Clone(w.builders), func(b *modelBuilder) bool { return !b.running })
		if len(running) == 0 {
			return false
		}
		w.ends(running[choose(len(running), "builder")], max(0, choose(7, "outcome")-3))
		return true
	},
	"flush": func(w *modelWorld, choose chooser) bool { clear(w.leases); return w.shared },
	"away":  func(w *modelWorld, choose chooser) bool { w.away = !w.away; return w.shared },
	"time": func(w *modelWorld, choose chooser) bool {
		w.passes([]time.Duration{time.Second, 6 * time.Second, 2 * modelTTL, modelTimeout + 2*grace}[choose(4, "time")])
		return true
	},
	"upgrade": func(w *modelWorld, choose chooser) bool {
		if w.manifest == 3 {
			return false
		}
		w.manifest++
		return true
	},
	"reload": func(w *modelWorld, choose chooser) bool {
		g := w.gateways[choose(len(w.gateways), "gateway")]
		g.wants = w.manifest
		for d := range g.ready {
			if d != g.wants {
				delete(g.ready, d)
				delete(w.references[d], g)
			}
		}
		return true
	},
	"donate": func(w *modelWorld, choose chooser) bool {
		if s := w.sources[w.manifest]; s != nil && s.there {
			return false
		}
		w.sources[w.manifest] = &modelSource{there: true, whole: true, holds: map[*modelGateway]int{}}
		return true
	},
	"tamper": func(w *modelWorld, choose chooser) bool {
		s := w.sources[w.manifest]
		if s == nil || !s.there || !s.whole {
			return false
		}
		s.whole = false
		return true
	},
	"deprive": func(w *modelWorld, choose chooser) bool {
		s := w.sources[w.manifest]
		if s == nil || !s.there || len(s.holds) > 0 && w.has("source's reference") {
			return false
		}
		s.there = false
		return true
	},
	"reap":     func(w *modelWorld, choose chooser) bool { return w.alone("reap", (*modelProc).reap, choose) },
	"prune":    func(w *modelWorld, choose chooser) bool { return w.alone("prune", (*modelProc).prune, choose) },
	"rollback": func(w *modelWorld, choose chooser) bool { return w.alone("rollback", (*modelProc).rollback, choose) },
	"step":     (*modelWorld).step,
	"steps":    (*modelWorld).steps,
}

// nothing is what an action that doesn't matter shrinks to.
const nothing = "nothing"

// modelActionNames has the frequent actions more than once.
var modelActionNames = func() []string {
	frequent := map[string]int{"steps": 8, "step": 3, "ask": 3, "builder": 3, "reload": 2}
	names := []string{nothing}
	for _, name := range slices.Sorted(maps.Keys(modelActions)) {
		names = append(names, slices.Repeat([]string{name}, max(1, frequent[name]))...)
	}
	return names
}()

// passed holds the model to the table.
func (w *modelWorld) passed(from, to string) {
	w.edges[[2]string{from, to}] = true
	if !mayFollow(from, to) {
		w.violate("%s follows %s", to, from)
	}
}

// alone starts a goroutine of a gateway that has none of its kind.
func (w *modelWorld) alone(what string, body func(*modelProc), choose chooser) bool {
	g := w.gateways[choose(len(w.gateways), "gateway")]
	if slices.ContainsFunc(g.procs, func(p *modelProc) bool { return p.what == what }) {
		return false
	}
	g.spawn(what, 0, func(string, string) {}, body)
	return true
}

func (w *modelWorld) enabled() []*modelProc {
	var enabled []*modelProc
	for _, g := range w.gateways {
		for _, p := range g.procs {
			if p.enabled() {
				enabled = append(enabled, p)
			}
		}
	}
	return enabled
}

func (w *modelWorld) step(choose chooser) bool {
	enabled := w.enabled()
	if len(enabled) == 0 {
		return false
	}
	w.run(enabled[choose(len(enabled), "goroutine")])
	return true
}

// steps lets one goroutine go on for a while: most bugs need few changes
// between goroutines, in the right places.
func (w *modelWorld) steps(choose chooser) bool {
	enabled := w.enabled()
	if len(enabled) == 0 {
		return false
	}
	p := enabled[choose(len(enabled), "goroutine")]
	for range 1 + choose(12, "steps") {
		if p.enabled() && w.broken == "" {
			if w.run(p) == "ends" {
				break
			}
			w.check()
		}
	}
	return true
}

func (w *modelWorld) run(p *modelProc) string {
	at := p.run()
	w.trace = append(w.trace, modelStep{w.now, p.gateway.name, p.what, at})
	return at
}

// ends stops a builder: done, with rubbish, failed, or killed.
func (w *modelWorld) ends(b *modelBuilder, outcome int) {
	b.running, b.exited = false, true
	b.attempt.whole = outcome == 0
	b.code = []int{0, 0, 3, 137}[outcome]
	if outcome > 0 {
		w.failed++
	}
	w.trace = append(w.trace, modelStep{w.now, "builder", fmt.Sprint(b.digest), fmt.Sprint("ends with outcome ", outcome)})
}

// passes lets time pass. Leases are renewed by who isn't paused.
func (w *modelWorld) passes(d time.Duration) {
	w.now += d
	for digest, lease := range w.leases {
		alive := lease.owner != nil && slices.Contains(lease.owner.gateway.procs, lease.owner)
		if alive && !lease.owner.gateway.paused && !w.away {
			w.leases[digest] = modelLease{lease.owner, w.now + modelTTL}
		}
	}
}

// settle ends all trouble and lets the gateways work until nothing happens. It
// gives them as much time as the longest back-off and a build may take.
func (w *modelWorld) settle() {
	w.away = false
	for _, g := range w.gateways {
		g.paused, g.wants = false, w.manifest
	}
	for end := w.now + 2*maxBuildBackoff + 2*modelTimeout; w.now < end && w.broken == ""; w.passes(time.Second) {
		busy := false
		for _, g := range w.gateways {
			busy = g.ask(w.passed) || busy || len(g.procs) > 0
		}
		for n := 0; w.broken == ""; n++ {
			enabled := w.enabled()
			if len(enabled) == 0 {
				break
			}
			w.run(enabled[n%len(enabled)])
			w.check()
		}
		for _, b := range slices.Clone(w.builders) {
			if b.running {
				w.ends(b, 0)
				busy = true
			}
		}
		if !busy {
			break
		}
	}
	for range 2 { // the second takes what an abandoned lease kept from the first
		w.passes(modelTTL + modelTimeout + 2*grace)
		w.gateways[0].spawn("reap", 0, func(string, string) {}, (*modelProc).reap)
		for enabled := w.enabled(); len(enabled) > 0 && w.broken == ""; enabled = w.enabled() {
			w.run(enabled[0])
		}
	}
}

// end stops what still runs, so that no coroutine is left.
func (w *modelWorld) end() {
	for _, g := range w.gateways {
		for _, p := range g.procs {
			p.stop()
		}
	}
}

func (w *modelWorld) act(name string, choose chooser) bool {
	if name == nothing {
		return true
	}
	at := len(w.trace)
	done := modelActions[name](w, choose)
	if done && len(w.trace) == at {
		w.trace = append(w.trace, modelStep{w.now, name, "", ""})
	}
	return done
}

func modelFrom(choose chooser, without string) *modelWorld {
	leases := choose(4, "leases")
	return newModelWorld(2+choose(3, "gateways"), leases&1 != 0, leases&2 != 0, without)
}

// TestModel looks for a schedule after which an invariant doesn't hold, and
// shows the shortest.
func TestModel(t *testing.T) {
	t.Parallel()
	for range 20 { // of rapid's hundred
		rapid.Check(t, checkModel)
	}
}

func checkModel(t *rapid.T) {
	choose := func(n int, what string) int { return rapid.IntRange(0, n-1).Draw(t, what) }
	w := modelFrom(choose, "")
	defer w.end()
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(modelActionNames), 80, 160).Draw(t, "actions") {
		w.act(name, choose)
		if broken := w.check(); broken != "" {
			t.Fatalf("%s\n%s", broken, w.told())
		}
	}
	w.settle()
	if broken := w.atRest(); broken != "" {
		t.Fatalf("%s\n%s", broken, w.told())
	}
}

// search plays schedules that chance has made, always the same ones, until one
// says that it is the last.
func search(from, to uint64, guard string, last func(seed uint64, w *modelWorld) bool) bool {
	for seed := from; seed < to; seed++ {
		random := rand.New(rand.NewPCG(seed, 1))
		choose := func(n int, _ string) int { return random.IntN(n) }
		w := modelFrom(choose, guard)
		for range 200 {
			w.act(modelActionNames[random.IntN(len(modelActionNames))], choose)
			if w.check() != "" {
				break
			}
		}
		w.end()
		if last(seed, w) {
			return true
		}
	}
	return false
}

// TestModelDoesAllThatFollows says that the table allows nothing that the model
// can't do.
func TestModelDoesAllThatFollows(t *testing.T) {
	t.Parallel()
	missing := map[[2]string]bool{}
	for from, points := range follows {
		for _, to := range points {
			missing[[2]string{from, string(to)}] = true
		}
	}
	all := func(_ uint64, w *modelWorld) bool {
		if w.broken != "" {
			t.Error(w.broken)
		}
		maps.DeleteFunc(missing, func(pair [2]string, _ bool) bool { return w.edges[pair] })
		return len(missing) == 0
	}
	// One pair is rare: a builder that is taken away twice.
	if !search(0, 500, "", all) && !search(10000, 40000, "", all) {
		t.Errorf("no schedule has %v", slices.Collect(maps.Keys(missing)))
	}
}

// TestModelNeedsEveryGuard takes the guards out one by one: a model that finds
// nothing then would find nothing ever.
func TestModelNeedsEveryGuard(t *testing.T) {
	t.Parallel()
	for guard, test := range map[string]struct {
		breaks string
		from   uint64 // where the search begins; from 0 it takes seconds
	}{
		"noreplace": {"I3", 0}, "verify": {"I1", 0}, "claim": {"I1", 0}, "name": {"I2", 0}, "reference": {"I7", 0},
		"reference first": {"I7", 0}, "revision": {"I6", 0}, "number first": {"I6", 3500}, "judged": {"I8", 0},
		"second look": {"I8", 0}, "listing": {"I1", 0}, "source's reference": {"I7", 0}, "reaper's lease": {"I9", 3000}, "reaper's look": {"I9", 0},
	} {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			if !search(test.from, 30000, guard, func(seed uint64, w *modelWorld) bool {
				found := strings.HasPrefix(w.broken, test.breaks)
				if found {
					t.Logf("schedule %d: %s", seed, w.broken)
				}
				return found
			}) {
				t.Errorf("no schedule without %q breaks %s", guard, test.breaks)
			}
		})
	}
}

package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"attune/envcache"
)

// schedule is a history of crashes, made from a seed alone.
type schedule struct {
	seed     uint64
	leases   leases
	gateways int
	copies   bool // another pack has the first revisions
	steps    []step
}

// step is one thing that happens to a gateway, or to what all share.
type step struct {
	do      deed
	gateway int
	point   envcache.Point // arm
	nth     int            // arm
	time    time.Duration  // settle, expire
}

// deed is the kind of a step.
type deed string

const (
	ask     deed = "ask"     // for the environment of the present revision
	arm     deed = "arm"     // stop yourself at a point
	settle  deed = "settle"  // wait for an answer or a stop, some time
	murder  deed = "kill"    // kill -9, stopped or not
	freeze  deed = "stop"    // SIGSTOP, wherever it is
	thaw    deed = "go on"   // SIGCONT
	restart deed = "restart" // kill -9, and another in its place
	sweep   deed = "reap"    // let it remove leftovers
	upgrade deed = "upgrade" // the pack has its next revision
	spoil   deed = "spoil"   // builds fail from now on
	mend    deed = "mend"    // and no longer
	choke   deed = "choke"   // builders are ended from outside
	lose    deed = "forget"  // Redis loses the leases
	expire  deed = "expire"  // leases in Redis end early
)

// String implements fmt.Stringer.
func (s step) String() string {
	text := fmt.Sprintf("%s g%d", s.do, s.gateway)
	switch s.do {
	case arm:
		text += fmt.Sprintf(" at %s, time %d", s.point, s.nth+1)
	case settle, expire:
		text += " " + s.time.String()
	}
	return text
}

// String implements fmt.Stringer.
func (s schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d gateways, leases by %s, copies: %v\n", s.seed, s.gateways, s.leases, s.copies)
	for i, step := range s.steps {
		fmt.Fprintf(&b, "%4d  %s\n", i+1, step)
	}
	fmt.Fprintf(&b, "again: go test -race ./tests/crash -run TestRandomCrashes -crash.schedules=1 -crash.seed=%d\n", s.seed)
	return b.String()
}

// randomSchedule makes the schedule of a seed.
func randomSchedule(seed uint64) schedule {
	r := rand.New(rand.NewPCG(seed, 0))
	s := schedule{seed: seed, leases: allLeases[r.IntN(len(allLeases))], gateways: 2 + r.IntN(3), copies: r.IntN(3) == 0}
	// How often each comes is how much it can break.
	deeds := []deed{ask, ask, ask, arm, arm, settle, settle, murder, freeze, thaw, thaw, restart, sweep, choke, upgrade, spoil, mend}
	if s.leases == byRedis || s.leases == byMachine {
		deeds = append(deeds, lose, expire)
	}
	milliseconds := func(n int) time.Duration { return time.Duration(1+r.IntN(n)) * time.Millisecond }
	points := envcache.Points
	if s.copies {
		points = append(slices.Clone(points), envcache.CopyPoints...)
	}
	somePoint := func() envcache.Point { return points[r.IntN(len(points))] }
	// Each begins at work, with somewhere to stop.
	for g := range s.gateways {
		s.steps = append(s.steps, step{do: arm, gateway: g, point: somePoint(), nth: r.IntN(2)}, step{do: ask, gateway: g})
	}
	for range 8 + r.IntN(16) {
		next := step{do: deeds[r.IntN(len(deeds))], gateway: r.IntN(s.gateways)}
		switch next.do {
		case arm:
			next.point, next.nth = somePoint(), r.IntN(2)
		case settle:
			next.time = milliseconds(300)
		case expire:
			next.time = milliseconds(50)
		}
		s.steps = append(s.steps, next)
	}
	return s
}

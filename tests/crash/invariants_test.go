package crash

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"attune/envcache"
	"attune/tests/kit"
)

var (
	withLeases = []leases{byFile, byRedis, byMachine}
	allLeases  = append(withLeases[:len(withLeases):len(withLeases)], byEverybody)
)

// Whoever looks at any moment sees nothing of an environment, or all of it. The
// builder is killed half-way once, and its gateway at every point.
func TestI1NoPartialEnvironmentIsVisible(t *testing.T) {
	t.Parallel()
	everyPoint(t, []leases{byFile}, func(t *testing.T, r *rig, g *gateway, _ envcache.Point) {
		p := r.packOf("other", 1)
		next := r.gateway(nil)
		next.arm(envcache.PointStarted, 0)
		next.ensure(p)
		next.stops(envcache.PointStarted)
		r.killBuilders()
		next.resume()
		g.kill()
		r.readyBy(next, p, r.soon())
		r.readyBy(next, r.pack(1), r.soon())
		r.rest(next)
	})
}

// Many gateways ask at once, and one that has made the builder dies. A host
// counts what runs; who comes later adopts.
func TestI2OneBuilderRunsAtATime(t *testing.T) {
	t.Parallel()
	for _, kind := range allLeases {
		for _, point := range []envcache.Point{envcache.PointAttempt, envcache.PointCreated, envcache.PointStarted, envcache.PointExited} {
			t.Run(fmt.Sprintf("%s/%s", kind, point), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kind)
				g := r.stoppedAt(point)
				others := []*gateway{r.gateway(nil), r.gateway(nil), r.gateway(nil)}
				for _, other := range others {
					other.ensure(r.pack(1))
				}
				g.kill()
				for _, other := range others {
					r.readyBy(other, r.pack(1), r.soon())
				}
				if kind != byEverybody {
					r.oneBuilder(point)
				}
				r.rest(others[0])
			})
		}
	}
}

// A gateway that has found no builder stands still before it makes one. When it
// goes on, another's runs: the engine knows its name.
func TestI2NameExcludesASecondBuilder(t *testing.T) {
	t.Parallel()
	for _, kind := range []leases{byMachine, byEverybody} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, kind)
			r.config.Script = gated
			late, first := r.stops(r.pack(1), envcache.PointAttempt), r.stops(r.pack(1), envcache.PointStarted)
			late.resume()
			kit.Until(t, func() bool { return r.tried.Load() > 1 || t.Failed() })
			r.open(r.pack(1))
			first.resume()
			for _, g := range []*gateway{late, first} {
				if w, _ := g.get(g.first); w.Answer != ready {
					t.Errorf("gateway %s answers %+v, want the environment", g.id, w)
				}
			}
			r.oneBuilder(envcache.PointAttempt)
			r.rest(first)
		})
	}
}

// Two machines that share a volume and no engine build the same digest, each
// its own attempt: both come to the rename, one succeeds, and both serve.
func TestI3EachDigestIsPublishedOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []leases{byMachine, byEverybody} {
		for _, point := range []envcache.Point{envcache.PointExited, envcache.PointClaimed, envcache.PointVerified} {
			t.Run(fmt.Sprintf("%s/%s", kind, point), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kind)
				elsewhere := r.machine()
				var gateways []*gateway
				var asked []*pending
				for _, at := range []*host{r.hosts[0], elsewhere} {
					g := r.gateway(func(c *config) { c.Engine = at.socket })
					g.arm(point, 0)
					asked = append(asked, g.ensure(r.pack(1)))
					g.stops(point)
					r.forget(t) // the lease; the next machine may build too
					gateways = append(gateways, g)
				}
				for _, g := range gateways {
					g.resume()
				}
				for i, g := range gateways {
					if w, _ := g.get(asked[i]); w.Answer != ready || w.Got != w.Digest {
						t.Errorf("gateway %s answers %+v, want the one environment", g.id, w)
					}
					g.reap() // its own engine
				}
				for digest := range r.digests() {
					if n := r.started(digest); n != 2 {
						t.Errorf("%d builders were started, want one per machine", n)
					}
				}
				r.rest(gateways[1])
			})
		}
	}
}

func TestI4ReadyAfterAnyCrash(t *testing.T) {
	t.Parallel()
	everyPoint(t, withLeases, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
		survivor := r.suffer(g, killed, point)
		r.oneBuilder(point)
		r.rest(survivor)
	})
}

func TestI5PausedHolderChangesNothing(t *testing.T) {
	t.Parallel()
	everyPoint(t, withLeases, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
		survivor := r.suffer(g, paused, point)
		if r.leases.exclusive() {
			r.oneBuilder(point)
		}
		r.rest(survivor)
	})
}

// A gateway that stands still with the first revision in its hands goes on after
// the second has been published.
func TestI6PointerNeverGoesBack(t *testing.T) {
	t.Parallel()
	everyPoint(t, []leases{byFile, byEverybody}, func(t *testing.T, r *rig, g *gateway, _ envcache.Point) {
		next := r.gateway(nil)
		second := r.readyBy(next, r.pack(2), r.soon())
		g.resume()
		first := r.readyBy(g, r.pack(1), r.soon())
		if second.Got == first.Got {
			t.Errorf("both revisions have environment %s", first.Got)
		}
		r.rest(next)
		if at := r.watch.pointer("demo"); at != second.Got {
			t.Errorf("I6: the pointer leads to %s, want the second revision's %s", at, second.Got)
		}
	})
}

// Three gateways ask for a pack that can't be built, again and again; the first
// dies before or after it has recorded the failure.
func TestI8OneBuildPerBackoff(t *testing.T) {
	t.Parallel()
	for _, kind := range []leases{byFile, byRedis} {
		for _, point := range []envcache.Point{envcache.PointExited, envcache.PointRecorded} {
			t.Run(fmt.Sprintf("%s/%s", kind, point), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kind)
				p := r.pack(1)
				g := r.gateway(nil)
				g.arm(point, 0)
				p.fails(t, true)
				g.ensure(p)
				g.stops(point)
				g.kill()
				gateways := []*gateway{r.gateway(nil), r.gateway(nil), r.gateway(nil)}
				first := r.allFail(gateways, p)
				for time.Until(first.Retry) > 50*time.Millisecond { // time for each to answer
					if again := r.allFail(gateways, p); !again.Retry.Equal(first.Retry) {
						t.Fatalf("I8: within the back-off until %v another is told, %v", first.Retry, again.Retry)
					}
					passed(t, 50*time.Millisecond)
				}
				if n := r.started(first.Digest); n != 1 {
					t.Errorf("I8: %d builders within the back-off, want 1", n)
				}
				passed(t, time.Until(first.Retry))
				if next := r.allFail(gateways, p); !next.Retry.After(first.Retry.Add(5 * time.Second)) {
					t.Errorf("I8: after the back-off until %v comes one until %v, want a longer one", first.Retry, next.Retry)
				}
				if n := r.started(first.Digest); n != 2 {
					t.Errorf("I8: %d builders after the back-off, want 2", n)
				}
				r.rest(gateways[0])
			})
		}
	}
}

// allFail asks all at once and returns what they agree on.
func (r *rig) allFail(gateways []*gateway, p pack) word {
	r.t.Helper()
	asked := make([]*pending, len(gateways))
	var asking sync.WaitGroup
	for i, g := range gateways {
		asking.Go(func() { asked[i] = g.ensure(p) })
	}
	asking.Wait()
	var agreed word
	for i, g := range gateways {
		w, _ := g.get(asked[i])
		if w.Answer != failed || (i > 0 && !w.Retry.Equal(agreed.Retry)) {
			r.t.Fatalf("I8: gateway %s answers %+v, want the failure of %+v", g.id, w, agreed)
		}
		agreed = w
	}
	return agreed
}

// Twelve builds are given up by everybody, each at another point. After their
// builders' deadlines a gateway that asks for none of them has removed all.
func TestI10NothingIsLeftAtRest(t *testing.T) {
	t.Parallel()
	for _, kind := range []leases{byFile, byRedis} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, kind)
			r.config.Timeout = time.Second
			for _, point := range envcache.Points {
				r.stops(r.packOf("given-up-at-"+string(point), 1), point).kill()
			}
			survivor := r.gateway(nil)
			if r.leftovers() == "" {
				t.Error("nothing was left by the dead")
			}
			const grace = 30 * time.Second // a builder's own, after its timeout
			r.reaped(survivor, time.Now().Add(r.config.Timeout+grace+bound))
			r.rest(survivor)
		})
	}
}

// Without a lease that excludes anybody there is more work, and nothing worse.
func TestI12InvariantsHoldWithoutALease(t *testing.T) {
	t.Parallel()
	for _, f := range []fate{killed, paused} {
		t.Run(string(f), func(t *testing.T) {
			everyPoint(t, []leases{byEverybody}, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
				r.rest(r.suffer(g, f, point))
			})
		})
	}
}

// A builder's gateway stands still for ever, and holds the lease. Those who wait
// are answered by the end of their patience, the gateway's or their own.
func TestI13EveryWaiterIsAnswered(t *testing.T) {
	t.Parallel()
	for _, kind := range allLeases {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, kind)
			r.config.Script = gated
			g := r.stoppedAt(envcache.PointStarted)
			r.config.Waiter = 300 * time.Millisecond
			other := r.gateway(nil)
			var asked []*pending
			for range 10 {
				asked = append(asked, other.ensure(r.pack(1)), other.ensureFor(r.pack(1), 50*time.Millisecond))
			}
			for _, p := range asked {
				select {
				case w := <-p.word:
					if w.Answer != building {
						t.Errorf("I13: answer = %+v, want that it is being built", w)
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("I13: no answer after 5 s to a waiter with a patience of %v", r.config.Waiter)
				}
			}
			r.open(r.pack(1))
			g.resume()
			r.readyBy(other, r.pack(1), r.soon())
			r.rest(other)
		})
	}
}

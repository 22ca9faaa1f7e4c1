package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"attune/envcache"
)

var (
	seed      = flag.Uint64("crash.seed", 0, "`seed` of the first random schedule; 0 = a random one")
	schedules = flag.Int("crash.schedules", 40, "`number` of random schedules")
)

// TestRandomCrashes lets anything happen to several gateways, in the order that
// a seed makes, and then asks for the environment: all invariants hold.
func TestRandomCrashes(t *testing.T) {
	t.Parallel()
	first := *seed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	t.Logf("seeds from %d on", first)
	for n := range uint64(*schedules) {
		t.Run(fmt.Sprint("seed ", first+n), func(t *testing.T) {
			t.Parallel()
			s := randomSchedule(first + n)
			t.Cleanup(func() {
				if t.Failed() {
					t.Log(s)
				}
			})
			newChaos(t, s).run()
		})
	}
}

// chaos is a schedule that happens.
type chaos struct {
	*rig
	schedule schedule
	gateways []*gateway
	revision int
	asked    []*pending
}

func newChaos(t *testing.T, s schedule) *chaos {
	c := &chaos{rig: newRig(t, s.leases), schedule: s, revision: 1}
	if s.copies {
		c.config.Share = true
		donor := c.gateway(nil)
		for n := range 3 {
			c.readyBy(donor, c.packOf(fmt.Sprint("donor", n), n+1), c.soon())
		}
		donor.close()
		<-donor.dead // or it would be closed again with those that live
	}
	for range s.gateways {
		c.gateways = append(c.gateways, c.gateway(nil))
	}
	return c
}

// run lets everything happen, ends it, and asks a newcomer.
func (c *chaos) run() {
	for _, s := range c.schedule.steps {
		c.happen(s, c.gateways[s.gateway])
		if c.t.Failed() {
			return
		}
	}
	c.present().fails(c.t, false)
	for _, g := range c.gateways {
		c.revive(g)
	}
	survivor := c.gateway(nil)
	c.readyBy(survivor, c.present(), c.soon())
	for _, g := range c.gateways {
		if !g.isDead() {
			c.readyBy(g, c.present(), c.soon())
		}
	}
	// Nobody asks for earlier revisions any more: what is left of them stays
	// until its builder's deadline, which another test waits for.
	c.givenUp = func(digest string) bool { return c.digests()[digest] != c.revision }
	c.rest(survivor)
}

func (c *chaos) present() pack { return c.pack(c.revision) }

func (c *chaos) happen(s step, g *gateway) {
	c.t.Helper()
	switch s.do {
	case ask:
		if !g.isPaused() {
			c.asked = append(c.asked, g.ensure(c.present()))
		}
	case arm:
		if !g.isPaused() {
			g.begin(g.tell(order{Do: "arm", Point: s.point, Nth: s.nth}))
		}
	case settle:
		g.settle(s.time)
	case murder:
		g.kill()
	case freeze:
		g.pause()
	case thaw:
		g.resume()
	case restart:
		g.kill()
		c.gateways[s.gateway] = c.gateway(nil)
	case sweep:
		if !g.isPaused() {
			g.begin(g.tell(order{Do: "reap"}))
		}
	case choke:
		c.killBuilders()
	case upgrade:
		c.upgrade()
	case spoil:
		c.present().fails(c.t, true)
	case mend:
		c.present().fails(c.t, false)
	case lose:
		c.forget(c.t)
	case expire:
		for _, key := range c.leaseKeys() {
			if err := c.redis.PExpire(c.t.Context(), key, s.time).Err(); err != nil {
				c.t.Error(err)
			}
		}
	}
}

// upgrade gives the pack its next revision, unless a gateway has yet to read the
// present one: to that it would be the later wish.
func (c *chaos) upgrade() {
	for _, p := range c.asked {
		select {
		case <-p.begun:
		default:
			return
		}
	}
	c.revision++
}

// revive lets a gateway go on until it obeys, and stops nowhere any more.
func (c *chaos) revive(g *gateway) {
	c.t.Helper()
	disarmed := g.tell(order{Do: "arm", Point: envcache.Point("none")})
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	timeout := time.After(patience)
	for {
		g.resume()
		select {
		case <-disarmed.word:
			return
		case <-again.C: // it may have stopped itself meanwhile
		case <-timeout:
			c.t.Fatalf("gateway %s does not go on", g.id)
		}
	}
}

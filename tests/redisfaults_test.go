package tests

import (
	"strconv"
	"testing"
	"time"
)

// TestRedisDeathsCostNoBuild: it is killed before a build, in the middle of one
// with another gateway asking for the same, and after it.
func TestRedisDeathsCostNoBuild(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	before, during := h.scriptedPack(t, "redis_dead_before", built), h.scriptedPack(t, "redis_dead_during", pass("gate")+built)
	redis, a, b := h.pair(t)
	since := time.Now()

	redis.kill(t)
	before.serves(t, a, b)
	before.builtOnce(t, since)

	redis.restart(t)
	first := a.calls(t, during)
	a.builder(t, during)
	if held := redis.leases(t); len(held) != 1 {
		t.Errorf("leases after Redis came back: %v, want the running build's", held)
	}
	redis.kill(t)
	second := b.calls(t, during)
	before.serves(t, a, b) // what is ready costs no Redis
	during.open(t, "gate")
	first.succeeds(t)
	second.succeeds(t)
	during.builtOnce(t, since)

	before.serves(t, a, b)
	during.serves(t, a, b)
	redis.restart(t)
	a.redisIs(t, true)
	b.redisIs(t, true)
	h.atRest(t, redis, a, b)
}

// TestForgottenLeaseStartsNoSecondBuilder: Redis loses everything in mid-build,
// and another gateway is granted the lease.
func TestForgottenLeaseStartsNoSecondBuilder(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "flushed", pass("gate")+built)
	redis, a, b := h.pair(t)
	since := time.Now()
	first := a.calls(t, p)
	a.builder(t, p)
	redis.cli(t, "FLUSHALL")
	var second *calling
	redis.asked(t, 3, func() { second = b.calls(t, p) })
	p.builtOnce(t, since)
	p.open(t, "gate")
	first.succeeds(t)
	second.succeeds(t)
	p.builtOnce(t, since)
	h.atRest(t, redis, a, b)
}

// TestRedisThatHangsChangesNothing: it answers nobody for three lifetimes of a
// lease, in mid-build.
func TestRedisThatHangsChangesNothing(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "redis_hangs", pass("gate")+built)
	redis, a, b := h.pair(t)
	since := time.Now()
	first := a.calls(t, p)
	a.builder(t, p)
	redis.cli(t, "CLIENT", "PAUSE", strconv.Itoa(int(3*leaseTTL.Milliseconds())), "ALL")
	second := b.calls(t, p)
	redis.cli(t, "PING") // is answered when the pause is over
	p.open(t, "gate")
	first.succeeds(t)
	second.succeeds(t)
	p.builtOnce(t, since)
	h.atRest(t, redis, a, b)
}

// TestLostReplyOfAnAcquireIsNoDeadlock: Redis has granted the lease, and the
// gateway doesn't know. It asks again as the same owner.
func TestLostReplyOfAnAcquireIsNoDeadlock(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	primer, p := h.scriptedPack(t, "lost_primer", built), h.scriptedPack(t, "lost_reply", built)
	redis := newRedis(t)
	address, network := redis.via(t)
	// A lease that lasts: waiting for its end would take longer than the call may.
	g := h.start(t, h.scripted(t), address, "ATTUNE__BUILD__LEASE=5m", "ATTUNE__BUILD__WAITER=1m")
	primer.serves(t, g) // Redis has the scripts now: the next acquire is one request
	since := time.Now()
	lost := network.LoseReplyTo("attune:lease:build.")
	call := g.calls(t, p)
	<-lost
	call.succeeds(t)
	p.builtOnce(t, since)
	h.atRest(t, redis, g)
}

// TestHalfOpenRedisHoldsUpNobody: connections are there, and nothing comes back.
// Whoever waits is answered by the deadline, and builds go on.
func TestHalfOpenRedisHoldsUpNobody(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ready, p := h.scriptedPack(t, "half_open_ready", built), h.scriptedPack(t, "half_open", pass("gate")+built)
	redis := newRedis(t)
	address, network := redis.via(t)
	g := h.start(t, h.scripted(t), address, shortLease, "ATTUNE__BUILD__WAITER=2s")
	g.retries(t, ready, 30*time.Second)
	since := time.Now()
	for name, fault := range map[string]func(){"nothing passes": network.Hang, "replies are lost": network.DropReplies} {
		fault()
		begun := time.Now()
		ready.serves(t, g)
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("%s: a ready action took %s", name, took)
		}
		a := g.calls(t, p).within(t, 2*time.Second+deadlineSlack)
		if d := a.problem(t); a.status != 503 || d.Type != "/problems/environment-building" || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: call = %d %s", name, a.status, a.body)
		}
		g.builder(t, p)
		network.Pass()
	}
	p.open(t, "gate")
	g.retries(t, p, 30*time.Second)
	p.builtOnce(t, since)
	h.atRest(t, redis, g)
}

// deadlineSlack is what a machine under load may add to a deadline.
const deadlineSlack = 3 * time.Second

// TestGatewayCutFromRedisKeepsItsBuild: its lease ends for want of renewal, and
// another gateway gets it. There is one builder, whoever dies next.
func TestGatewayCutFromRedisKeepsItsBuild(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "cut_off", pass("gate")+built)
	redis, a, b := h.pair(t)
	since := time.Now()
	a.calls(t, p) // cut off by the kill
	a.builder(t, p)
	redis.proxies[0].Refuse()
	eventually(t, 20*time.Second, "the lease has ended", func() bool { return len(redis.leases(t)) == 0 })
	var survivor *calling
	redis.asked(t, 3, func() { survivor = b.calls(t, p) })
	p.builtOnce(t, since)
	a.kill(t)
	p.open(t, "gate")
	survivor.succeeds(t)
	p.builtOnce(t, since)
	h.atRest(t, redis, a, b)
}

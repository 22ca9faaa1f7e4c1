package tests

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shortLease makes a dead gateway's lease end soon. What happens to it while it
// lives must not depend on its length.
const (
	leaseTTL   = time.Second
	shortLease = "ATTUNE__BUILD__LEASE=1s"
	quickPoll  = "ATTUNE__BUILD__POLL=50ms"
)

// pair is two gateways on one volume, each behind its own proxy to one Redis.
func (h home) pair(t *testing.T, vars ...string) (redis *redisServer, a, b *gateway) {
	t.Helper()
	redis = newRedis(t)
	vars = append([]string{h.scripted(t), shortLease, quickPoll, "ATTUNE__BUILD__MAX_POLL=200ms", patient}, vars...)
	viaA, _ := redis.via(t)
	viaB, _ := redis.via(t)
	return redis, h.beside("a").start(t, append(vars, viaA)...), h.beside("b").start(t, append(vars, viaB)...)
}

// afterCrash is how soon after its build could end an environment must be ready
// whatever single crash there was.
const afterCrash = 2*leaseTTL + 5*time.Second

// TestReadySoonAfterAGatewayDies: kill -9 while the builder runs, and while its
// result is verified. Another gateway finishes it.
func TestReadySoonAfterAGatewayDies(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]struct{ build, verify string }{
		"in mid-build": {build: pass("gate")},
		"in verify":    {verify: pass("gate")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			p := h.scriptedPack(t, "crash_"+name[3:6], script.build+built)
			write(t, p.dir+"/verify.sh", script.verify, 0o644)
			redis, a, b := h.pair(t)
			since := time.Now()
			a.calls(t, p) // cut off by the kill
			if script.verify != "" {
				a.probe(t, p)
			} else {
				a.builder(t, p)
			}
			a.kill(t)
			survivor := b.calls(t, p)
			p.open(t, "gate")
			opened := time.Now()
			survivor.succeeds(t)
			if took := time.Since(opened); took > afterCrash {
				t.Errorf("ready %s after the build could end, want %s at most", took, afterCrash)
			}
			p.builtOnce(t, since)
			// What the dead gateway had in its hands goes when it comes back.
			viaA, _ := redis.via(t)
			again := h.beside("a").start(t, h.scripted(t), shortLease, viaA)
			p.serves(t, again)
			h.atRest(t, redis, a, b)
		})
	}
}

// probe waits until a gateway verifies a pack's environment.
func (g *gateway) probe(t testing.TB, p scriptedPack) {
	t.Helper()
	eventually(t, 20*time.Second, "the environment of "+p.ref+" is verified", func() bool {
		return len(g.containers(t, "label=attune.role=probe", "label=attune.pack="+p.ref, "status=running")) == 1
	})
}

// TestPausedGatewayChangesNothing: it is stopped for three lifetimes of its
// lease, in mid-build and in verify, and goes on as if it still had it.
func TestPausedGatewayChangesNothing(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]struct{ build, verify string }{
		"in mid-build": {build: pass("gate")},
		"in verify":    {verify: pass("gate")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			p := h.scriptedPack(t, "paused_"+name[3:6], script.build+built)
			write(t, p.dir+"/verify.sh", script.verify, 0o644)
			redis, a, b := h.pair(t)
			since := time.Now()
			first := a.calls(t, p)
			if script.verify != "" {
				a.probe(t, p)
			} else {
				a.builder(t, p)
			}
			a.pause(t)
			second := b.calls(t, p)
			// Its lease ends, and the other one gets it, again and again.
			redis.asked(t, 3, func() { <-time.After(3 * leaseTTL) })
			p.open(t, "gate")
			a.resume(t)
			first.succeeds(t)
			second.succeeds(t)
			p.builtOnce(t, since)
			if got := h.generations(t); len(got) != 1 {
				t.Errorf("published are %v, want one generation", got)
			}
			h.atRest(t, redis, a, b)
		})
	}
}

// pause stops a gateway until resume, or the end of the test.
func (g *gateway) pause(t testing.TB) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.cmd.Process.Signal(syscall.SIGCONT) }) // a stopped one would not end
}

func (g *gateway) resume(t testing.TB) {
	t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// TestKilledBuilderIsTriedAgainAfterASecond: it says nothing about the pack, so
// the back-off is the short one; within it nobody builds.
func TestKilledBuilderIsTriedAgainAfterASecond(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "killed_builder", pass("gate")+built)
	redis, a, b := h.pair(t)
	since := time.Now()
	call := a.calls(t, p)
	dockerLines(t, "kill", a.builder(t, p))
	failed := time.Now()
	refused := call.within(t, 20*time.Second)
	d := refused.problem(t)
	if refused.status != 503 || d.Type != "/problems/environment-failed" || !d.Retryable || d.Started ||
		d.Detail != "the builder was stopped before it had finished" || refused.header.Get("Retry-After") == "" {
		t.Errorf("call = %d %v %s", refused.status, refused.header, refused.body)
	}
	p.open(t, "gate")
	atOnce([]*gateway{a, b}, func(g *gateway) {
		g.retries(t, p, 10*time.Second)
	})
	p.backedOff(t, since, failed, 800*time.Millisecond, 2)
	h.atRest(t, redis, a, b)
}

// retries calls until the action runs, far more often than it is told to.
func (g *gateway) retries(t testing.TB, p scriptedPack, limit time.Duration) {
	t.Helper()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(limit); ; <-again.C {
		a := g.invoke(t, p.ref+".run", "{}")
		if a.status == 200 {
			return
		}
		if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 503 || err != nil || seconds < 1 {
			t.Errorf("POST /invoke/%s.run = %d %v %s", p.ref, a.status, a.header, a.body)
			return
		}
		if time.Now().After(end) {
			t.Errorf("POST /invoke/%s.run is still refused after %s: %s", p.ref, limit, a.body)
			return
		}
	}
}

// backedOff checks that there were so many builders, and that the second one
// came no sooner after the failure than it may.
func (p scriptedPack) backedOff(t testing.TB, since, failed time.Time, backoff time.Duration, want int) {
	t.Helper()
	if got := builds(t, since, p.ref); got != want {
		t.Errorf("%d builders of %s, want %d", got, p.ref, want)
	}
	created.Lock()
	defer created.Unlock()
	for _, c := range created.all {
		at := time.Unix(0, c.at)
		if c.pack == p.ref && c.role == "builder" && at.After(failed) && at.Before(failed.Add(backoff)) {
			t.Errorf("a builder of %s came %s after the failure, want %s at least", p.ref, at.Sub(failed), backoff)
		}
	}
}

// TestFailedBuildIsTriedOncePerBackOff: however many call, on however many
// gateways, and the second attempt does come.
func TestFailedBuildIsTriedOncePerBackOff(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "fails_once", "[ -e \"$2/mended\" ] || exit 3\n"+built)
	redis, a, b := h.pair(t)
	since := time.Now()
	if refused := a.invoke(t, p.ref+".run", "{}"); refused.status != 503 || !strings.HasPrefix(refused.problem(t).Detail, "the installer failed with exit code 3") {
		t.Errorf("call = %d %s", refused.status, refused.body)
	}
	failed := builtAt(t, p, since)
	p.open(t, "mended")
	atOnce([]*gateway{a, b}, func(g *gateway) { g.retries(t, p, 20*time.Second) })
	p.backedOff(t, since, failed, 4*time.Second, 2)
	if entries, err := os.ReadDir(h.envs + "/.failed"); err != nil || len(entries) > 0 {
		t.Errorf("failures that are remembered after a success: %v (%v)", entries, err)
	}
	h.atRest(t, redis, a, b)
}

// builtAt is when the engine made the only builder of a pack: its failure came
// after that.
func builtAt(t testing.TB, p scriptedPack, since time.Time) time.Time {
	t.Helper()
	if got := builds(t, since, p.ref); got != 1 {
		t.Fatalf("%d builders of %s, want 1", got, p.ref)
	}
	created.Lock()
	defer created.Unlock()
	for _, c := range created.all {
		if c.at >= since.UnixNano() && c.pack == p.ref && c.role == "builder" {
			return time.Unix(0, c.at)
		}
	}
	return since
}

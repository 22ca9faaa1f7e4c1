package tests

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
	"attune/tests/kit/proxy"
)

// engineVia is a gateway's setting for an engine behind a proxy.
func engineVia(t testing.TB) (setting string, p *proxy.Proxy) {
	t.Helper()
	containertest.RequireDocker(t)
	address := "/var/run/docker.sock"
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		local, found := strings.CutPrefix(host, "unix://")
		if !found {
			t.Skipf("the engine at %s has no socket to stand in front of", host)
		}
		address = local
	}
	p = proxy.Start(t, "unix", address)
	return "ATTUNE__DOCKER__HOST=unix://" + p.Address(), p
}

// refuses checks a problem that a later call need not have, and returns when
// that is.
func (a answer) refuses(t testing.TB, status int, problem, detail string) (retryAfter time.Duration) {
	t.Helper()
	p := a.problem(t)
	if a.status != status || p.Type != "/problems/"+problem || !strings.HasPrefix(p.Detail, detail) || !p.Retryable || p.Started {
		t.Errorf("answer = %d %s, want %d %s: %s", a.status, a.body, status, problem, detail)
	}
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > 60 {
		t.Errorf("Retry-After = %q, want 1 to 60", a.header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

// TestEngineCutOffInMidBuild: callers are told, attempts get rarer, and when the
// engine is back the builder that ran on is adopted.
func TestEngineCutOffInMidBuild(t *testing.T) {
	t.Parallel()
	h := newHome(t, "shell_example")
	ready, p := h.scriptedPack(t, "engine_ready", built), h.scriptedPack(t, "engine_cut", pass("gate")+built)
	address, network := engineVia(t)
	g := h.start(t, h.scripted(t), address)
	ready.serves(t, g)
	since := time.Now()
	call := g.calls(t, p)
	g.builder(t, p)
	network.Refuse()
	call.within(t, 10*time.Second).refuses(t, 503, "environment-failed", "the container engine does not answer")
	g.invoke(t, "shell_example.hello", "{}").refuses(t, 503, "engine-unavailable", "the container engine does not answer")
	ready.serves(t, g) // its instance is warm

	eventually(t, 20*time.Second, "the build is tried three times", func() bool {
		a := g.invoke(t, p.ref+".run", "{}")
		a.refuses(t, 503, "environment-failed", "the container engine does not answer")
		return len(g.attempts(t)) >= 3
	})
	attempts := g.attempts(t)
	for i, least := range []time.Duration{800 * time.Millisecond, 1600 * time.Millisecond} {
		if gap := attempts[i+1].Sub(attempts[i]); gap < least {
			t.Errorf("attempt %d came %s after the one before, want %s at least", i+2, gap, least)
		}
	}
	network.Pass()
	p.open(t, "gate")
	g.retries(t, p, 20*time.Second)
	p.builtOnce(t, since)
	g.mustInvoke(t, "shell_example.hello", "{}")
	h.atRest(t, nil, g)
}

// attempts are the times at which a gateway has noted that a build failed.
func (g *gateway) attempts(t testing.TB) []time.Time {
	t.Helper()
	var times []time.Time
	for line := range strings.Lines(g.text()) {
		var entry struct {
			Time time.Time
			Msg  string
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "environment could not be built" {
			times = append(times, entry.Time)
		}
	}
	return times
}

// TestEngineThatHangsHoldsUpNobody: it is there and says nothing, in mid-build
// and before a build. Whoever waits is answered by the deadline, and everything
// goes on when it speaks again.
func TestEngineThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	ready := h.scriptedPack(t, "hung_ready", built)
	during, before := h.scriptedPack(t, "hung_during", pass("gate")+built), h.scriptedPack(t, "hung_before", built)
	h.pack(t, "hung_cold", map[string]string{
		"actions/run.yaml": "ref: hung_cold.run\nentry_point: run.sh\ntimeout: 2\n", "actions/run.sh": "echo ran\n",
	})
	address, network := engineVia(t)
	g := h.start(t, h.scripted(t), address, "ATTUNE__BUILD__WAITER=2s")
	g.retries(t, ready, 30*time.Second)
	since := time.Now()
	underWay := g.calls(t, during)
	g.builder(t, during)
	network.Hang()
	limit := 2*time.Second + deadlineSlack
	waiting, cold := g.calls(t, before), g.calls(t, scriptedPack{ref: "hung_cold"})
	underWay.within(t, limit).refuses(t, 503, "environment-building", "")
	waiting.within(t, limit).refuses(t, 503, "environment-building", "")
	if a := cold.within(t, limit); a.status != 504 || a.problem(t).Started {
		t.Errorf("a call that needs a new instance = %d %s, want 504", a.status, a.body)
	}
	ready.serves(t, g)

	network.Pass()
	during.open(t, "gate")
	for _, p := range []scriptedPack{during, before} {
		g.retries(t, p, 20*time.Second)
		p.builtOnce(t, since)
	}
	eventually(t, 10*time.Second, "a new instance starts", func() bool {
		return g.invoke(t, "hung_cold.run", "{}").status == http.StatusOK
	})
	h.atRest(t, nil, g)
}

// TestLostReplyOfACreateLeavesNothing: the engine has made a builder, and the
// connection ends before it can say so.
func TestLostReplyOfACreateLeavesNothing(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "lost_create", pass("gate")+built)
	g, network, call := h.loses(t, p, "/containers/create?name=attune-build-")
	network.Cut()
	call.within(t, 20*time.Second).refuses(t, 503, "environment-failed", "the container engine does not answer")
	p.open(t, "gate")
	g.retries(t, p, 20*time.Second)
	h.atRest(t, nil, g)
}

// TestLostReplyOfAStartIsAskedFor: the builder runs, and nobody has heard it; the
// gateway looks, and follows it.
func TestLostReplyOfAStartIsAskedFor(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p, since := h.scriptedPack(t, "lost_start", pass("gate")+built), time.Now()
	g, network, call := h.loses(t, p, "/start HTTP/1.1")
	network.Cut()
	p.open(t, "gate")
	if a := call.within(t, 20*time.Second); a.status != http.StatusOK {
		t.Errorf("the call whose builder's start was lost = %d %s", a.status, a.body)
	}
	p.builtOnce(t, since)
	h.atRest(t, nil, g)
}

// loses calls a pack's action through an engine whose reply to one request of
// the build gets lost.
func (h home) loses(t *testing.T, p scriptedPack, request string) (*gateway, *proxy.Proxy, *calling) {
	t.Helper()
	address, network := engineVia(t)
	g := h.start(t, h.scripted(t), address)
	lost := network.LoseReplyTo(request)
	call := g.calls(t, p)
	<-lost
	if made := g.containers(t, "label=attune.role=builder"); len(made) != 1 {
		t.Errorf("builders after the reply was lost: %v, want one", made)
	}
	return g, network, call
}

// TestSlowEngineIsNoFault: every answer comes late.
func TestSlowEngineIsNoFault(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	p := h.scriptedPack(t, "slow_engine", built)
	address, network := engineVia(t)
	network.Delay(100 * time.Millisecond)
	g := h.start(t, h.scripted(t), address)
	since := time.Now()
	p.serves(t, g)
	p.builtOnce(t, since)
	h.atRest(t, nil, g)
}

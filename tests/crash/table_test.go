package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"attune/envcache"
)

// what happens to a gateway that has stopped at a point.
type fate string

const (
	killed fate = "killed"
	paused fate = "paused over three TTL"
)

// everyPoint runs a test for each point, with a gateway that has stopped there
// while it builds the pack's first revision.
func everyPoint(t *testing.T, kinds []leases, test func(t *testing.T, r *rig, g *gateway, point envcache.Point)) {
	for _, kind := range kinds {
		for _, point := range envcache.Points {
			t.Run(fmt.Sprintf("%s/%s", kind, point), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kind)
				test(t, r, r.stoppedAt(point), point)
			})
		}
	}
}

// stoppedAt starts a gateway and a build, which stops at a point.
func (r *rig) stoppedAt(point envcache.Point) *gateway {
	r.t.Helper()
	g := r.stops(r.pack(1), point)
	r.seenAt(point)
	return g
}

func (r *rig) stops(p pack, point envcache.Point) *gateway {
	r.t.Helper()
	g := r.gateway(nil)
	g.arm(point, 0)
	p.fails(r.t, point == envcache.PointRecorded) // else it isn't passed
	g.first = g.ensure(p)
	g.stops(point)
	p.fails(r.t, false)
	return g
}

// seenAt is I1 at a point: before the rename nothing can be seen, and from then
// on all of it.
func (r *rig) seenAt(point envcache.Point) {
	r.t.Helper()
	visible := r.watch.visible()
	published := slices.Index(envcache.Points, point) >= slices.Index(envcache.Points, envcache.PointPublished) &&
		point != envcache.PointRecorded
	if want := map[bool]int{true: 1, false: 0}[published]; len(visible) != want {
		r.t.Errorf("I1: at %s there are %d generations to be seen, want %d", point, len(visible), want)
	}
	for _, digest := range visible {
		r.watch.whole(digest)
	}
}

// suffer lets a stopped gateway have its fate while another has come, and
// returns that other when it has the environment.
func (r *rig) suffer(g *gateway, f fate, point envcache.Point) *gateway {
	r.t.Helper()
	next := r.gateway(nil)
	if f == killed {
		g.kill()
		r.readyBy(next, r.pack(1), r.soon())
		return next
	}
	second := next.ensure(r.pack(1))
	passed(r.t, 3*ttl)
	g.resume()
	for g, asked := range map[*gateway]*pending{g: g.first, next: second} {
		if w, _ := g.get(asked); w.Answer != ready && point != envcache.PointRecorded {
			r.t.Errorf("I5: gateway %s answers %+v, want the environment", g.id, w)
		}
	}
	r.readyBy(next, r.pack(1), r.soon())
	r.readyBy(g, r.pack(1), r.soon())
	return next
}

// backoff is I8 when a builder is about to be made: no failure forbids it. It
// can be told only where one gateway at a time may build.
func (r *rig) backoff(digest string) {
	if !r.leases.exclusive() {
		return
	}
	if at := r.nextRetry(digest); time.Until(at) > 0 {
		r.t.Errorf("I8: %s is built %v before its back-off ends", digest, time.Until(at))
	}
}

// nextRetry is that of the recorded failure.
func (r *rig) nextRetry(digest string) time.Time {
	content, err := os.ReadFile(filepath.Join(r.root, ".failed", digest+".json"))
	if err != nil {
		return time.Time{}
	}
	var record struct {
		NextRetry time.Time `json:"next_retry"`
	}
	decode(r.t, content, &record)
	return record.NextRetry
}

// oneBuilder is I2 and the promise of the whole: who comes later adopts what was
// started, unless it was the gateway's own failure.
func (r *rig) oneBuilder(point envcache.Point) {
	r.t.Helper()
	want := 1
	if point == envcache.PointRecorded {
		want = 2 // one failed
	}
	for digest := range r.digests() {
		if got := r.started(digest); got != want {
			r.t.Errorf("I2: %d builders were started, want %d", got, want)
		}
	}
}

// forget is what a Redis that was restarted empty does to the rig's leases.
func (r *rig) forget(t *testing.T) {
	t.Helper()
	if r.redis == nil {
		return
	}
	if keys := r.leaseKeys(); len(keys) > 0 {
		if err := r.redis.Del(t.Context(), keys...).Err(); err != nil {
			t.Error(err)
		}
	}
	if err := r.redis.ScriptFlush(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

// killBuilders ends what builders run, as an engine does that is stopped.
func (r *rig) killBuilders() {
	for _, h := range r.hosts {
		h.killBuilders()
	}
}

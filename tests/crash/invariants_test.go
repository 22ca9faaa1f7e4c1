package crash

import (
	"testing"

	"attune/envcache"
)

var withLeases = []leases{byFile, byRedis, byMachine}

func TestI4ReadyAfterAnyCrash(t *testing.T) {
	t.Parallel()
	everyPoint(t, withLeases, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
		survivor := r.suffer(g, killed)
		r.oneBuilder(point)
		r.rest(survivor)
	})
}

func TestI5PausedHolderChangesNothing(t *testing.T) {
	t.Parallel()
	everyPoint(t, withLeases, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
		r.rest(r.suffer(g, paused))
	})
}

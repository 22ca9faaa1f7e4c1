package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"attune/envcache"
)

// newCopyRig is a rig whose pack asks for what another pack has.
func newCopyRig(t *testing.T, l leases) (r *rig, source string) {
	t.Helper()
	r = newRig(t, l)
	r.config.Share = true
	donor := r.gateway(nil)
	source = r.readyBy(donor, r.packOf("donor", 1), r.soon()).Got
	donor.close()
	<-donor.dead // or it would be closed again with those that live
	return r, source
}

// everyCopyPoint is everyPoint for a build that finds another pack's to copy.
func everyCopyPoint(t *testing.T, kinds []leases, test func(t *testing.T, r *rig, g *gateway, point envcache.Point)) {
	for _, kind := range kinds {
		for _, point := range envcache.CopyPoints {
			t.Run(fmt.Sprintf("%s/%s", kind, point), func(t *testing.T) {
				t.Parallel()
				r, _ := newCopyRig(t, kind)
				g := r.stops(r.pack(1), point)
				visible := r.watch.visible()
				published := slices.Index(envcache.CopyPoints, point) >= slices.Index(envcache.CopyPoints, envcache.PointPublished)
				if want := map[bool]int{true: 2, false: 1}[published]; len(visible) != want {
					t.Errorf("I1: at %s there are %d generations to be seen, want %d", point, len(visible), want)
				}
				test(t, r, g, point)
			})
		}
	}
}

// copied checks that the pack was built by nobody.
func (r *rig) copied(g *gateway) {
	r.t.Helper()
	digest := r.readyBy(g, r.pack(1), r.soon()).Got
	if n := r.started(digest); n != 0 {
		r.t.Errorf("%d builders were started for what another pack has", n)
	}
}

func TestCopyIsReadyAfterAnyCrash(t *testing.T) {
	t.Parallel()
	everyCopyPoint(t, withLeases, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
		survivor := r.suffer(g, killed, point)
		r.copied(survivor)
		r.rest(survivor)
	})
}

func TestCopyOfAPausedHolderChangesNothing(t *testing.T) {
	t.Parallel()
	everyCopyPoint(t, withLeases, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
		survivor := r.suffer(g, paused, point)
		r.copied(survivor)
		r.rest(survivor)
	})
}

func TestCopiesWithoutALease(t *testing.T) {
	t.Parallel()
	for _, f := range []fate{killed, paused} {
		t.Run(string(f), func(t *testing.T) {
			everyCopyPoint(t, []leases{byEverybody}, func(t *testing.T, r *rig, g *gateway, point envcache.Point) {
				r.rest(r.suffer(g, f, point))
			})
		})
	}
}

// A source that is damaged while its reader stands still is not spread: what is
// published was built. The watcher compares every file of what becomes visible.
func TestCopyOfADamagedSourceIsABuild(t *testing.T) {
	t.Parallel()
	for _, point := range []envcache.Point{envcache.PointLeased, envcache.PointSource, envcache.PointAttempt} {
		t.Run(string(point), func(t *testing.T) {
			t.Parallel()
			r, source := newCopyRig(t, byFile)
			g := r.stops(r.pack(1), point)
			part := filepath.Join(r.root, ".store", source, "lib", "3")
			whole, err := os.ReadFile(part)
			if err == nil {
				err = os.Chmod(part, 0o644)
			}
			if err == nil {
				err = os.WriteFile(part, []byte("evil"), 0o444)
			}
			if err != nil {
				t.Fatal(err)
			}
			g.resume()
			built := r.readyBy(g, r.pack(1), r.soon())
			if n := r.started(built.Got); n != 1 {
				t.Errorf("%d builders were started, want 1", n)
			}
			if err := os.WriteFile(part, whole, 0o444); err != nil { // the watcher looks at all
				t.Fatal(err)
			}
			r.rest(g)
		})
	}
}

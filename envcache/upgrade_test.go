package envcache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// changed is the recipe of the same pack with another manifest.
func changed(t *testing.T, r *Recipe, revision, manifest string) *Recipe {
	t.Helper()
	write(t, filepath.Join(r.PackDir, "deps.txt"), manifest)
	next := *r
	next.Revision = revision
	return &next
}

func wantServed(t *testing.T, c *Cache, r *Recipe, digest string) {
	t.Helper()
	env := mustEnsure(t, c, r)
	defer env.Release()
	if env.Digest != digest {
		t.Errorf("%s serves, want %s", env.Digest, digest)
	}
}

func wantStatus(t *testing.T, c *Cache, r *Recipe, state State) Status {
	t.Helper()
	s, err := c.Status(r)
	if err != nil || s.State != state {
		t.Errorf("Status() = %+v, %v, want %s", s, err, state)
	}
	return s
}

// While the successor of a generation is being built, calls get that, and then
// the successor: none waits, none fails.
func TestUpgradeBesideTheRunningGeneration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	c := r.gateway(t, nil)
	first := r.recipe(t, "grep -q a {pack_dir}/deps.txt && exit; "+g.wait())
	old := mustEnsure(t, c, first)
	defer old.Release()
	next := changed(t, first, "r2", "b==2\n")
	wantServed(t, c, next, old.Digest)
	waitState(t, c, next, StateBuilding)
	if s := wantStatus(t, c, next, StateBuilding); s.Serving != old.Digest || s.Digest == old.Digest || s.Since == nil {
		t.Errorf("Status() = %+v", s)
	}
	g.open(t)
	if err := mustLand(t, c, next); err != nil {
		t.Fatal(err)
	}
	s := wantStatus(t, c, next, StateReady)
	wantServed(t, c, next, s.Digest)
	if s.Digest == old.Digest || c.volume.pointsAt("demo", "sh") != s.Digest {
		t.Errorf("Status() = %+v, the pointer leads to %s", s, c.volume.pointsAt("demo", "sh"))
	}
	r.engine.wantBuilders(t, 2)
}

// A failed build leaves the generation before serving, says so, and is tried
// again without anybody calling.
func TestFailedUpgradeServesDegradedAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	first := r.recipe(t, "test -e {pack_dir}/bad && exit 4; true")
	old := mustEnsure(t, c, first)
	defer old.Release()
	write(t, filepath.Join(first.PackDir, "bad"), "")
	next := changed(t, first, "r2", "b==2\n")
	wantServed(t, c, next, old.Digest)
	if err := mustLand(t, c, next); err == nil {
		t.Fatal("the build succeeded")
	}
	wantServed(t, c, next, old.Digest)
	if s := wantStatus(t, c, next, StateDegraded); s.Serving != old.Digest || s.Attempt != 1 || s.NextRetry == nil || !strings.Contains(s.Reason, "exit code 4") {
		t.Errorf("Status() = %+v", s)
	}
	c.tend(t.Context())
	r.engine.wantBuilders(t, 2) // the back-off holds here, too

	if err := os.Remove(filepath.Join(first.PackDir, "bad")); err != nil {
		t.Fatal(err)
	}
	if err := c.volume.forgive(mustDigest(t, c, next)); err != nil { // as if the time had passed
		t.Fatal(err)
	}
	c.tend(t.Context())
	waitState(t, c, next, StateReady)
	r.engine.wantBuilders(t, 3)
}

// A restart while an upgrade can't be built finds the generation before.
func TestRestartServesTheGenerationBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.recipe(t, "test -e {pack_dir}/bad && exit 4; true")
	old := mustEnsure(t, r.gateway(t, nil), first)
	defer old.Release()
	write(t, filepath.Join(first.PackDir, "bad"), "")
	next := changed(t, first, "r2", "b==2\n")
	wantServed(t, r.gateway(t, nil), next, old.Digest)
}

// The generation before works in its own image only: without that it doesn't
// serve.
func TestGenerationBeforeKeepsItsImage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	first := r.recipe(t, "true")
	old := mustEnsure(t, c, first)
	defer old.Release()
	next := *first
	next.Image.ID = "sha256:" + strings.Repeat("f", 64)
	env := mustEnsure(t, c, &next)
	defer env.Release()
	if env.Digest == old.Digest && env.Image.ID != old.Image.ID {
		t.Errorf("the old generation serves in image %s", env.Image.ID)
	}
	if old.Image.ID != first.Image.ID {
		t.Errorf("the image of a built environment is %q, want %q", old.Image.ID, first.Image.ID)
	}
}

// Two gateways whose packs differ must not outbid each other.
func TestGatewaysThatDifferDontOutbid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.gateway(t, nil), r.gateway(t, nil)
	mine := r.recipe(t, "true")
	theirs := r.recipe(t, "true")
	write(t, filepath.Join(theirs.PackDir, "deps.txt"), "b==2\n")
	first := mustEnsure(t, a, mine)
	defer first.Release()
	if err := mustLand(t, b, theirs); err != nil {
		t.Fatal(err)
	}
	before := read(t, a.volume.wanted("demo", "sh"))
	for range 3 {
		a.tend(t.Context())
		b.tend(t.Context())
	}
	if after := read(t, a.volume.wanted("demo", "sh")); after != before {
		t.Errorf("the wish went from %s to %s", before, after)
	}
	wantServed(t, a, mine, first.Digest)
	wantServed(t, b, theirs, mustDigest(t, b, theirs))
}

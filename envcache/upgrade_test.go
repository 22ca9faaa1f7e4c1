package envcache

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
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

func TestRollback(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, other := r.gateway(t, nil), r.gateway(t, nil)
	first := r.recipe(t, "true")
	old := mustEnsure(t, c, first)
	defer old.Release()
	if err := c.Rollback(first, ""); !errors.Is(err, ErrNoGeneration) {
		t.Errorf("Rollback() with one generation = %v", err)
	}
	next := changed(t, first, "r2", "b==2\n")
	if err := mustLand(t, c, next); err != nil {
		t.Fatal(err)
	}
	fresh := wantStatus(t, c, next, StateReady).Digest
	wantServed(t, other, next, fresh)
	for _, bad := range []string{strings.Repeat("0", 32), "../" + old.Digest, "x"} {
		if err := c.Rollback(next, bad); !errors.Is(err, ErrNoGeneration) {
			t.Errorf("Rollback(%q) = %v, want ErrNoGeneration", bad, err)
		}
	}

	if err := c.Rollback(next, ""); err != nil {
		t.Fatal(err)
	}
	wantServed(t, c, next, old.Digest)
	if s := wantStatus(t, c, next, StateReady); s.Serving != old.Digest || !s.RolledBack || s.Digest != fresh {
		t.Errorf("Status() = %+v", s)
	}
	wantPointer(t, c, old.Digest)
	other.tend(t.Context())
	waitServed(t, other, next, old.Digest)
	wantServed(t, r.gateway(t, nil), next, old.Digest) // and after a restart

	// Another change of the files is a new wish.
	third := changed(t, first, "r3", "c==3\n")
	if err := mustLand(t, c, third); err != nil {
		t.Fatal(err)
	}
	if s := wantStatus(t, c, third, StateReady); s.RolledBack || s.Serving == old.Digest {
		t.Errorf("Status() = %+v", s)
	}
	r.engine.wantBuilders(t, 3)
}

// Build goes forward again after a rollback, and past a failure.
func TestBuildTakesBackARollback(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	first := r.recipe(t, "true")
	mustEnsure(t, c, first).Release()
	next := changed(t, first, "r2", "b==2\n")
	if err := mustLand(t, c, next); err != nil {
		t.Fatal(err)
	}
	fresh := mustDigest(t, c, next)
	if err := c.Rollback(next, ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Build(next); err != nil {
		t.Fatal(err)
	}
	waitServed(t, c, next, fresh)
	wantPointer(t, c, fresh)
	r.engine.wantBuilders(t, 2)
}

func TestBuildPassesOverAFailure(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "test -e {pack_dir}/bad && exit 4; true")
	write(t, filepath.Join(recipe.PackDir, "bad"), "")
	mustFail(t, c, recipe)
	if err := os.Remove(filepath.Join(recipe.PackDir, "bad")); err != nil {
		t.Fatal(err)
	}
	mustFail(t, c, recipe) // backed off
	if err := c.Build(recipe); err != nil {
		t.Fatal(err)
	}
	waitState(t, c, recipe, StateReady)
	r.engine.wantBuilders(t, 2)
}

// Rebuild makes another generation of the same inputs, on all gateways.
func TestRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, other := r.gateway(t, nil), r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	old := mustEnsure(t, c, recipe)
	defer old.Release()
	wantServed(t, other, recipe, old.Digest)
	if err := c.Rebuild(recipe); err != nil {
		t.Fatal(err)
	}
	fresh := mustDigest(t, c, recipe)
	if fresh == old.Digest {
		t.Fatal("the digest is the same")
	}
	waitServed(t, c, recipe, fresh)
	other.tend(t.Context())
	waitServed(t, other, recipe, fresh)
	generations, err := c.Generations(recipe)
	if err != nil || len(generations) != 2 || generations[0].Digest != fresh || !generations[0].Serving || generations[1].Serving {
		t.Errorf("Generations() = %+v, %v", generations, err)
	}
	r.engine.wantBuilders(t, 2)
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

func TestPlanBuildsEverythingInOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) {
		o.Limits.Concurrency = 1
		o.Events = told.take
	})
	var recipes []*Recipe
	for _, ref := range []string{"one", "two", "three"} {
		recipe := r.recipe(t, "true")
		recipe.Pack = ref
		recipes = append(recipes, recipe)
	}
	c.Plan(recipes)
	c.Plan(recipes) // twice is once
	for _, recipe := range recipes {
		waitState(t, c, recipe, StateReady)
	}
	r.engine.wantBuilders(t, 3)
	var order []string
	for _, e := range told.list {
		if e.Phase == PhasePublished {
			order = append(order, e.Pack)
		}
	}
	if !slices.Equal(order, []string{"one", "two", "three"}) {
		t.Errorf("built in the order %v", order)
	}
	r.nothingLeft(t)
}

// What is planned is queued, and a caller doesn't wait for its turn in the plan.
func TestPlannedIsQueuedAndCallersGoFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	g := newGate(t)
	c := r.gateway(t, func(o *Options) {
		o.Limits.Concurrency = 1
		o.Events = told.take
	})
	var recipes []*Recipe
	for _, ref := range []string{"one", "two", "three"} {
		recipe := r.recipe(t, "true")
		recipe.Pack = ref
		recipes = append(recipes, recipe)
	}
	recipes[0].Runtime = r.recipe(t, g.wait()).Runtime
	c.Plan(recipes)
	told.await(t, func(e Event) bool { return e.Pack == "one" && e.Line == "waiting" })
	for _, recipe := range recipes[1:] {
		wantStatus(t, c, recipe, StateQueued)
	}
	if _, err := c.join(recipes[2]); err != nil { // a caller of the last
		t.Fatal(err)
	}
	told.await(t, func(e Event) bool { return e.Pack == "three" && e.Phase == PhaseQueued })
	g.open(t)
	for _, recipe := range recipes {
		waitState(t, c, recipe, StateReady)
	}
	var order []string
	for _, e := range told.list {
		if e.Phase == PhaseCreate {
			order = append(order, e.Pack)
		}
	}
	if !slices.Equal(order, []string{"one", "three", "two"}) {
		t.Errorf("built in the order %v, want the caller's before the plan's", order)
	}
	r.engine.wantBuilders(t, 3)
}

// What is decided while a build runs holds when it has ended.
func TestRollbackDuringABuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, "test ! -e {pack_dir}/slow || { "+g.wait()+" }")
	first := generationsOf(t, c, recipe, 2)[0]
	write(t, filepath.Join(recipe.PackDir, "slow"), "")
	if err := c.Rebuild(recipe); err != nil {
		t.Fatal(err)
	}
	told.await(t, waiting)
	if err := c.Rollback(recipe, first); err != nil {
		t.Fatal(err)
	}
	wantServed(t, c, recipe, first)
	g.open(t)
	if err := mustLand(t, c, recipe); err != nil {
		t.Fatal(err)
	}
	wantServed(t, c, recipe, first)
	wantPointer(t, c, first)
	r.engine.wantBuilders(t, 3)
}

func TestRebuildDuringABuild(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]int{"the first": 0, "of an upgrade": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			g := newGate(t)
			told := newEvents()
			c := r.gateway(t, func(o *Options) { o.Events = told.take })
			recipe := r.recipe(t, "test ! -e {pack_dir}/slow || { "+g.wait()+" }")
			generationsOf(t, c, recipe, before)
			slow := filepath.Join(recipe.PackDir, "slow")
			write(t, slow, "")
			next := changed(t, recipe, "r2", "b==2\n")
			c.Plan([]*Recipe{next})
			told.await(t, waiting)
			if err := os.Remove(slow); err != nil {
				t.Fatal(err)
			}
			if err := c.Rebuild(next); err != nil {
				t.Fatal(err)
			}
			g.open(t)
			waitServed(t, c, next, mustDigest(t, c, next))
			r.engine.wantBuilders(t, before+2)
		})
	}
}

// A gateway that has yet to hear of another's rebuild goes back all the same.
func TestRollbackAfterAnothersRebuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.gateway(t, nil), r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	first := mustEnsure(t, a, recipe)
	defer first.Release()
	wantServed(t, b, recipe, first.Digest)
	generationsOf(t, a, recipe, 2)
	if err := b.Rollback(recipe, first.Digest); err != nil {
		t.Fatal(err)
	}
	wantPointer(t, b, first.Digest)
	wantServed(t, b, recipe, first.Digest)
	a.tend(t.Context())
	waitServed(t, a, recipe, first.Digest)
	wantPointer(t, a, first.Digest)
}

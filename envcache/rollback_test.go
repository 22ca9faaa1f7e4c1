package envcache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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

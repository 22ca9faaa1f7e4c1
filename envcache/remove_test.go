package envcache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Of a removed environment nothing is left, and a namesake inherits nothing.
func TestRemove(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, other := r.gateway(t, nil), r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	old := mustEnsure(t, c, recipe)
	old.Release()
	mustEnsure(t, other, recipe).Release()
	if err := c.Remove(t.Context(), "demo", "sh"); err != nil {
		t.Fatal(err)
	}
	if got := published(t, c); len(got) != 1 {
		t.Errorf("%v are left while another gateway holds one", got)
	}
	for _, path := range []string{c.volume.pointer("demo", "sh"), c.volume.wanted("demo", "sh"), c.volume.identity("demo")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	other.tend(t.Context())
	mustPrune(t, c, true)
	if got := published(t, c); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
	wantStatus(t, c, recipe, StateAbsent)
	again := mustEnsure(t, c, recipe)
	defer again.Release()
	if again.Digest == old.Digest {
		t.Error("the namesake has the same digest")
	}
	wantServed(t, other, recipe, again.Digest)
	r.engine.wantBuilders(t, 2)
}

// What is built while its environment is removed belongs to nobody: it isn't
// pointed at, and the one who waits for it gets another.
func TestRemoveDuringABuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, "test -e {pack_dir}/quick || { "+g.wait()+" }")
	c.Plan([]*Recipe{recipe})
	told.await(t, waiting)
	removed := mustDigest(t, c, recipe)
	write(t, filepath.Join(recipe.PackDir, "quick"), "")
	if err := c.Remove(t.Context(), "demo", "sh"); err != nil {
		t.Fatal(err)
	}
	g.open(t)
	env := mustEnsure(t, c, recipe)
	defer env.Release()
	if env.Digest == removed {
		t.Error("the removed environment serves")
	}
	wantPointer(t, c, env.Digest)
	w, err := c.volume.wish("demo", "sh")
	if err != nil || w.Shown > w.Revision {
		t.Errorf("wish = %+v, %v", w, err)
	}
	if v, err := c.Verify(t.Context(), recipe); err != nil || !v.OK {
		t.Errorf("Verify() = %+v, %v", v, err)
	}
	mustPrune(t, c, true)
	if got := published(t, c); len(got) != 1 || got[0] != env.Digest {
		t.Errorf("%v are left", got)
	}
}

// A pack that was deleted while no gateway ran leaves a pointer: a namesake
// doesn't get what it leads to, in no way.
func TestNamesakeInheritsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.gateway(t, nil)
	recipe := r.recipe(t, "test ! -e {pack_dir}/bad")
	mustEnsure(t, first, recipe).Release()
	if err := os.Remove(first.volume.identity("demo")); err != nil { // as of another pack
		t.Fatal(err)
	}
	c := r.gateway(t, nil)
	write(t, filepath.Join(recipe.PackDir, "bad"), "")
	namesake := changed(t, recipe, "r2", "b==2\n")
	mustFail(t, c, namesake)
	if s := wantStatus(t, c, namesake, StateFailed); s.Serving != "" || len(s.Generations) > 0 {
		t.Errorf("Status() = %+v", s)
	}
	if err := c.Rollback(namesake, ""); !errors.Is(err, ErrNoGeneration) {
		t.Errorf("Rollback() = %v", err)
	}
}

func TestRemoveDesertedRemovesWhatDeletedPacksLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.gateway(t, nil)
	var recipes []*Recipe
	for _, ref := range []string{"deleted", "held", "there"} {
		recipe := r.recipe(t, "true")
		recipe.Pack = ref
		recipes = append(recipes, recipe)
		mustEnsure(t, first, recipe).Release()
	}
	if _, err := first.volume.packIdentity("met"); err != nil { // and never built
		t.Fatal(err)
	}
	first.Retain(recipes[1:2])
	c := r.gateway(t, nil)
	exists := func(pack string) bool { return pack == "there" }
	if err := c.RemoveDeserted(t.Context(), exists); err != nil {
		t.Fatal(err)
	}
	if c.Has("deleted", "sh") || c.volume.pointsAt("deleted", "sh") != "" || len(published(t, c)) != 2 {
		t.Error("the deleted pack's environment is left")
	}
	for _, ref := range []string{"deleted", "met"} {
		if identity, err := c.volume.readIdentity(ref); identity != "" || err != nil {
			t.Errorf("the identity of %s is left: %v", ref, err)
		}
	}
	if !c.Has("held", "sh") || !c.Has("there", "sh") {
		t.Error("an environment that is used, or whose pack exists, is gone")
	}
	first.Retain(nil)
	if err := c.RemoveDeserted(t.Context(), exists); err != nil || c.Has("held", "sh") {
		t.Errorf("RemoveDeserted() = %v, or what nobody holds any more is left", err)
	}
}

package envcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container"
)

// generationsOf makes so many generations of one environment and returns their
// digests, the oldest first.
func generationsOf(t *testing.T, c *Cache, r *Recipe, count int) []string {
	t.Helper()
	var digests []string
	for i := range count {
		if i > 0 {
			if err := c.Rebuild(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := mustLand(t, c, r); err != nil {
			t.Fatal(err)
		}
		digest := mustDigest(t, c, r)
		waitServed(t, c, r, digest)
		digests = append(digests, digest)
	}
	return digests
}

func published(t *testing.T, c *Cache) []string {
	t.Helper()
	entries, err := os.ReadDir(c.volume.store())
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, entry := range entries {
		digests = append(digests, entry.Name())
	}
	return digests
}

func mustPrune(t *testing.T, c *Cache, all bool) (digests []string) {
	t.Helper()
	pruned, err := c.Prune(t.Context(), all)
	if err != nil {
		t.Errorf("Prune() error = %v", err)
	}
	for _, one := range pruned {
		if one.Pack != "demo" || one.Runtime != "sh" || one.Bytes == 0 {
			t.Errorf("Prune() tells of %+v", one)
		}
		digests = append(digests, one.Digest)
	}
	return digests
}

func TestPruneKeepsTheLastGenerations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	digests := generationsOf(t, c, recipe, 4)
	if got := mustPrune(t, c, false); len(got) > 0 {
		t.Errorf("young generations %v were pruned", got)
	}
	want := slices.Sorted(slices.Values(digests[:2]))
	if got := mustPrune(t, c, true); !slices.Equal(got, want) {
		t.Errorf("pruned %v, want %v", got, want)
	}
	if got, want := published(t, c), slices.Sorted(slices.Values(digests[2:])); !slices.Equal(got, want) {
		t.Errorf("%v are left, want %v", got, want)
	}
	r.nothingLeft(t)
	if err := c.Rollback(recipe, ""); err != nil {
		t.Errorf("Rollback() to the kept one = %v", err)
	}
}

func TestPruneByAge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, func(o *Options) { o.Limits.PruneAfter = time.Nanosecond })
	digests := generationsOf(t, c, r.recipe(t, "true"), 3)
	if got := mustPrune(t, c, false); !slices.Equal(got, digests[:1]) {
		t.Errorf("pruned %v, want %v", got, digests[:1])
	}
}

// I7: who holds a generation keeps it, in this gateway, in another one of the
// machine, on another machine, and in a container.
func TestI7ReferencedGenerationsSurvivePruning(t *testing.T) {
	t.Parallel()
	ways := map[string]func(t *testing.T, r *rig, c *Cache, recipe *Recipe) (release func()){
		"a call of this gateway": func(t *testing.T, _ *rig, c *Cache, recipe *Recipe) func() {
			return mustEnsure(t, c, recipe).Release
		},
		"another gateway": func(t *testing.T, r *rig, _ *Cache, recipe *Recipe) func() {
			other := r.gateway(t, nil)
			mustEnsure(t, other, recipe).Release()
			return func() { other.Close() }
		},
		"a container": func(t *testing.T, r *rig, c *Cache, recipe *Recipe) func() {
			spec := c.bare(recipe.Image, nil)
			spec.Labels[container.LabelDigest] = mustDigest(t, c, recipe)
			spec.Entrypoint = []string{"/bin/sleep", "60"}
			box, err := r.engine.Create(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := box.Remove(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			}
		},
		"another machine": func(_ *testing.T, _ *rig, c *Cache, _ *Recipe) func() {
			c.References = &fakeReferences{held: true}
			return func() { c.References = &fakeReferences{} }
		},
		"another machine that can't be asked": func(_ *testing.T, _ *rig, c *Cache, _ *Recipe) func() {
			c.References = &fakeReferences{err: errors.New("away")}
			return func() { c.References = &fakeReferences{} }
		},
	}
	for name, hold := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.gateway(t, nil)
			recipe := r.recipe(t, "true")
			first := generationsOf(t, c, recipe, 1)[0]
			release := hold(t, r, c, recipe)
			for range 3 {
				if err := c.Rebuild(recipe); err != nil {
					t.Fatal(err)
				}
				waitServed(t, c, recipe, mustDigest(t, c, recipe))
			}
			c.Prune(t.Context(), true) // the error of who can't be asked is told elsewhere
			if !slices.Contains(published(t, c), first) {
				t.Fatal("the generation was pruned while it was held")
			}
			release()
			mustPrune(t, c, true)
			if slices.Contains(published(t, c), first) {
				t.Error("the generation is still there when nobody holds it")
			}
			r.nothingLeft(t)
		})
	}
}

type fakeReferences struct {
	held bool
	err  error
}

func (f *fakeReferences) Hold(context.Context, string) error         { return f.err }
func (f *fakeReferences) Heartbeat(context.Context, []string) error  { return f.err }
func (f *fakeReferences) Held(context.Context, string) (bool, error) { return f.held, f.err }

// What a rollback leads to isn't pruned, whatever its place in the history.
func TestPruneLeavesWhatWasGoneBackTo(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	digests := generationsOf(t, c, recipe, 4)
	if err := c.Rollback(recipe, digests[0]); err != nil {
		t.Fatal(err)
	}
	mustPrune(t, c, true)
	wantServed(t, c, recipe, digests[0])
	left := published(t, c)
	if !slices.Contains(left, digests[0]) || !slices.Contains(left, digests[3]) || len(left) != 2 {
		t.Errorf("%v are left of %v", left, digests)
	}
}

// A marker is a file, and may say anything.
func TestPruneRefusesForeignNames(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	dir := filepath.Join(r.root, ".store", someDigest)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, pack := range []string{"../..", ".store", "", "a/b"} {
		write(t, filepath.Join(dir, markerFile), `{"digest":"`+someDigest+`","inputs":{"pack":"`+pack+`","runtime":"sh"}}`)
		if pruned, err := c.Prune(t.Context(), true); err == nil || len(pruned) > 0 {
			t.Errorf("Prune() with a marker of pack %q = %v, %v", pack, pruned, err)
		}
	}
}

// Logs and failures go with their generation, or when they are old and nobody's.
func TestRecordsGoWithTheirGeneration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "test ! -e {pack_dir}/bad")
	digests := generationsOf(t, c, recipe, 3)
	write(t, filepath.Join(recipe.PackDir, "bad"), "")
	abandoned := changed(t, recipe, "r2", "b==2\n")
	if err := mustLand(t, c, abandoned); err == nil {
		t.Fatal("the build succeeded")
	}
	failed := mustDigest(t, c, abandoned)
	if err := os.Remove(filepath.Join(recipe.PackDir, "bad")); err != nil {
		t.Fatal(err)
	}
	if err := mustLand(t, c, changed(t, recipe, "r3", "c==3\n")); err != nil {
		t.Fatal(err)
	}
	mustPrune(t, c, true)
	if _, err := os.Stat(c.volume.log(digests[0])); err == nil {
		t.Error("the log of a pruned generation is left")
	}
	for _, path := range []string{c.volume.log(failed), c.volume.failure(failed)} {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("a young record is gone: %v", err)
		}
		old := time.Now().Add(-2 * recordAge)
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	mustPrune(t, c, true)
	for _, path := range []string{c.volume.log(failed), c.volume.failure(failed)} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if _, err := os.Stat(c.volume.log(mustDigest(t, c, recipe))); err != nil {
		t.Errorf("the log of a kept generation is gone: %v", err)
	}
}

// A child between fork and exec has copies of all descriptors, and with them of
// the locks: releasing must not wait for it.
func TestReleaseDoesNotWaitForCopies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	env := mustEnsure(t, c, r.recipe(t, "true"))
	copied, err := syscall.Dup(int(env.reference.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(copied)
	env.Release()
	c.Retain(nil)
	release, err := c.volume.seize(env.Digest)
	if release == nil {
		t.Fatalf("seize() = nil, %v, while only a copy of the descriptor is open", err)
	}
	other, err := syscall.Open(c.volume.reference(env.Digest), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(other)
	if err := syscall.Flock(other, syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		t.Error("a seized reference could be locked")
	}
	release()
	if err := syscall.Flock(other, syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		t.Errorf("a released reference can't be locked: %v", err)
	}
}

package envcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

func TestVerifyFindsWhatWasTampered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "mkdir sub; echo one >sub/one; echo two >'two \"quoted\" name'; ln -s sub/one link; echo x >tool; chmod +x tool")
	recipe.Runtime.Environment.VerifyCommand = []string{"/bin/sh", "-c", "test ! -e broken"}
	if _, err := c.Verify(t.Context(), recipe); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("Verify() of nothing = %v", err)
	}
	env := mustEnsure(t, c, recipe)
	defer env.Release()
	whole, err := c.Verify(t.Context(), recipe)
	if err != nil || !whole.OK || whole.Files < 6 || whole.Bytes == 0 || whole.Digest != env.Digest {
		t.Fatalf("Verify() = %+v, %v", whole, err)
	}
	at := func(name string) string { return filepath.Join(env.Dir, name) }
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"content", func() error { return os.WriteFile(at("sub/one"), []byte("ONE\n"), 0o444) }, `"sub/one" was changed`},
		{"mode", func() error { return os.Chmod(at("tool"), 0o444) }, `"tool" was changed`},
		{"missing", func() error { return os.Remove(at(`two "quoted" name`)) }, `"two \"quoted\" name" is missing`},
		{"added", func() error { return os.WriteFile(at("broken"), nil, 0o644) }, `"broken" was added`},
		{"link", func() error { return errors.Join(os.Remove(at("link")), os.Symlink("/etc/passwd", at("link"))) }, `"link" was changed`},
		{"pointer", func() error { return c.volume.point("demo", "sh", someDigest) }, "the pointer of the environment leads to"},
		{"works", func() error { return nil }, "does not work"},
		{"list", func() error { return os.WriteFile(at(listingFile), nil, 0o644) }, "not the one that was published"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Verify(t.Context(), recipe)
		if err != nil || got.OK || !strings.Contains(strings.Join(got.Faults, "\n"), step.want) {
			t.Errorf("%s: Verify() = %+v, %v, want %s", step.name, got, err, step.want)
		}
	}
	r.nothingLeft(t)
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	g := newGate(t)
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, g.wait())
	stranger := c.Subscribe("other", "sh")
	defer stranger.Close()
	c.Plan([]*Recipe{recipe})
	told.await(t, waiting)
	late := c.Subscribe("demo", "sh") // sees what has happened
	g.open(t)
	var phases []Phase
	var lines []string
	for e := range late.Events {
		if e.Line != "" {
			lines = append(lines, e.Line)
		} else {
			phases = append(phases, e.Phase)
		}
		if e.Phase.Ended() {
			late.Close()
		}
	}
	late.Close() // twice is once
	if want := []Phase{PhaseCreate, PhaseInstall, PhaseVerify, PhasePublish, PhasePublished}; !slices.Equal(phases, want) {
		t.Errorf("phases = %v, want %v", phases, want)
	}
	if !slices.Contains(lines, "waiting") {
		t.Errorf("lines = %q", lines)
	}
	if len(stranger.events) > 0 {
		t.Error("a subscriber of another environment was told")
	}
	again := c.Subscribe("demo", "sh")
	if len(again.events) > 0 {
		t.Error("a build that has ended is told again")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, open := <-again.Events; open {
		t.Error("the subscription outlives the cache")
	}
}

// A slow subscriber loses lines, and no end.
func TestSlowSubscriberHearsTheEnd(t *testing.T) {
	t.Parallel()
	h := newHub()
	s := h.join("demo", "sh")
	for range 3 * backlog {
		h.tell(Event{Pack: "demo", Runtime: "sh", Phase: PhaseInstall, Line: "x"})
	}
	h.tell(Event{Pack: "demo", Runtime: "sh", Phase: PhasePublished})
	h.close()
	var last Event
	count := 0
	for e := range s.Events {
		last, count = e, count+1
	}
	if last.Phase != PhasePublished || count > backlog {
		t.Errorf("the last of %d events is %+v", count, last)
	}
}

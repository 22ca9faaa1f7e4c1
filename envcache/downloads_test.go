package envcache

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/runtimes/container"
)

// keeps is a rig's recipe whose installer has a place for downloads. Each pack
// and runtime has its own revision, so that no two are one to a cache.
func (r *rig) keeps(t *testing.T, pack, script string) *Recipe {
	t.Helper()
	recipe := r.recipe(t, script)
	recipe.Pack = pack
	recipe.Runtime.Dependencies.CacheVars = map[string]string{"KEPT": "{cache_dir}"}
	return recipe
}

func kept(o *Options) { o.Limits.CacheBytes = 1 << 20 }

// change makes a recipe ask for another environment.
func change(t *testing.T, r *Recipe) {
	t.Helper()
	r.Revision += "x"
	write(t, filepath.Join(r.PackDir, "deps.txt"), r.Revision)
}

func TestDownloadsComeBackToTheirPackAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, kept)
	const script = `ls -A "$KEPT" >found; echo mine >"$KEPT/$(basename $KEPT).file"; echo {pack_dir} >"$KEPT/whose"`
	a, b := r.keeps(t, "a", script), r.keeps(t, "b", script)
	for _, recipe := range []*Recipe{a, b} {
		if found := read(t, filepath.Join(mustEnsure(t, c, recipe).Dir, "found")); found != "" {
			t.Errorf("the first build of pack %s found %q", recipe.Pack, found)
		}
	}
	change(t, a)
	if found := read(t, filepath.Join(mustBuild(t, c, a).Dir, "found")); !strings.Contains(found, "whose") {
		t.Errorf("the second build of pack a found %q, want what the first has left", found)
	}
	whose := map[string]bool{}
	for _, pack := range []*Recipe{a, b} {
		id, err := c.volume.packIdentity(pack.Pack)
		if err != nil {
			t.Fatal(err)
		}
		whose[read(t, filepath.Join(c.volume.idle(id+".sh"), downloadsData, "whose"))] = true
	}
	if len(whose) != 2 {
		t.Errorf("downloads of two packs were written by %v", whose)
	}
	r.nothingLeft(t)
}

// TestFailedBuildKeepsItsDownloads: they are what the next attempt needs.
func TestFailedBuildKeepsItsDownloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, kept)
	recipe := r.keeps(t, "demo", `test -e "$KEPT/tried" || { echo >"$KEPT/tried"; exit 1; }`)
	mustFail(t, c, recipe)
	change(t, recipe)
	mustBuild(t, c, recipe)
}

// TestNoTwoBuildersShareDownloads: two builds of one pack at once, by two
// gateways; every directory is writable in one builder only.
func TestNoTwoBuildersShareDownloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var mu sync.Mutex
	sources := map[string]int{}
	r.engine.set(func(e *spyEngine) {
		e.create = func(spec container.Spec) error {
			mu.Lock()
			defer mu.Unlock()
			for _, m := range spec.Mounts {
				if strings.Contains(m.Source, "/.cache/") {
					sources[m.Source]++
					if m.ReadOnly || filepath.Base(m.Source) != downloadsData {
						t.Errorf("downloads are mounted as %+v", m)
					}
				}
			}
			return nil
		}
	})
	g := newGate(t)
	a, b := newEvents(), newEvents()
	first := r.keeps(t, "demo", `echo >"$KEPT/first"; `+g.wait())
	second := *first
	one := r.gateway(t, func(o *Options) { kept(o); o.Events = a.take })
	two := r.gateway(t, func(o *Options) { kept(o); o.Events = b.take })
	one.Plan([]*Recipe{first})
	a.await(t, waiting)
	runtime := *first.Runtime // another digest of the same pack and runtime
	runtime.Environment.CreateCommand = []string{"/bin/sh", "-c", `ls -A "$KEPT" >found`}
	second.Runtime, second.Revision = &runtime, "r2"
	if found := read(t, filepath.Join(mustBuild(t, two, &second).Dir, "found")); found != "" {
		t.Errorf("beside a running builder another found its downloads: %q", found)
	}
	g.open(t)
	mustEnsure(t, one, first)
	mu.Lock()
	defer mu.Unlock()
	for source, n := range sources {
		if n != 1 {
			t.Errorf("%s was mounted in %d builders", source, n)
		}
	}
	if len(sources) != 2 {
		t.Errorf("builders had the downloads %v, want two", sources)
	}
	if idle, err := os.ReadDir(one.volume.allIdle()); err != nil || len(idle) != 1 {
		t.Errorf("%d directories are kept for one pack (%v)", len(idle), err)
	}
	if busy, err := os.ReadDir(one.volume.allBusy()); err != nil || len(busy) != 0 {
		t.Errorf("%d directories are still taken (%v)", len(busy), err)
	}
}

// TestDownloadsAreBounded: one that is too large is not kept, and of several the
// one that was used last stays.
func TestDownloadsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, func(o *Options) { o.Limits.CacheBytes = 100_000; o.Limits.MaxBytes = 1 << 20 })
	fill := func(bytes string) string { return "head -c " + bytes + ` /dev/zero >"$KEPT/zeros"` }
	mustEnsure(t, c, r.keeps(t, "huge", fill("200000")))
	mustEnsure(t, c, r.keeps(t, "old", fill("60000")))
	mustEnsure(t, c, r.keeps(t, "new", fill("60000")))
	idle, err := os.ReadDir(c.volume.allIdle())
	id, idErr := c.volume.packIdentity("new")
	if err != nil || idErr != nil || len(idle) != 1 || idle[0].Name() != id+".sh" {
		t.Errorf("kept are %v (%v, %v), want those of the pack new", idle, err, idErr)
	}
	r.nothingLeft(t)
}

// TestHostileDownloads: what a builder leaves is never followed.
func TestHostileDownloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, kept)
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "untouched")
	recipe := r.keeps(t, "demo", "cd \"$KEPT\"; ln -s "+filepath.Dir(outside)+" link; ln -s "+outside+" size; mkfifo fifo; mkdir locked; touch locked/x; chmod 000 locked")
	mustEnsure(t, c, recipe)
	change(t, recipe)
	mustBuild(t, c, recipe)
	c.Limits.CacheBytes = 1
	change(t, recipe)
	mustBuild(t, c, recipe)
	if idle, err := os.ReadDir(c.volume.allIdle()); err != nil || len(idle) != 0 {
		t.Errorf("kept are %v (%v), want nothing", idle, err)
	}
	if got := read(t, outside); got != "untouched" {
		t.Errorf("a file outside holds %q", got)
	}
	r.nothingLeft(t)
}

// TestSweep removes what dead gateways left, and nothing of a running builder.
func TestSweep(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, kept)
	live, dead := someDigest+".live", someDigest+".dead"
	if err := os.Mkdir(c.volume.attempt(live), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range []string{live, dead} {
		if _, _, err := c.volume.takeDownloads(attempt, attempt+".sh"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.volume.writeSecret(attempt, "secret"); err != nil {
			t.Fatal(err)
		}
	}
	names := func(dir string) string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, e := range entries {
			name, _, _ := strings.Cut(e.Name(), "@")
			all = append(all, strings.TrimPrefix(name, someDigest+"."))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	c.sweep()
	if got := names(c.volume.memory); got != "live" {
		t.Errorf("credentials of %q are left, want those of the running builder", got)
	}
	if got := names(c.volume.allBusy()); got != "dead live" {
		t.Errorf("taken are those of %q: a young one may still be given back", got)
	}
	for _, attempt := range []string{live, dead} {
		old := time.Now().Add(-c.Limits.Timeout - 3*grace)
		if err := os.Chtimes(c.volume.busy(attempt, attempt+".sh"), old, old); err != nil {
			t.Fatal(err)
		}
	}
	c.sweep()
	if got := names(c.volume.allBusy()); got != "live" {
		t.Errorf("taken are those of %q, want those of the running builder", got)
	}
}

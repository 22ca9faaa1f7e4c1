package envcache

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/runtimes"
)

// sharing is a rig with a gateway that shares, and what it logs.
func sharing(t *testing.T, r *rig) (*Cache, *strings.Builder) {
	t.Helper()
	var log strings.Builder
	c := r.gateway(t, func(o *Options) {
		o.Limits.Share, o.Limits.CacheBytes = time.Hour, 1<<20
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	return c, &log
}

// sharedRecipe is a recipe whose runtime lets packs share.
func (r *rig) sharedRecipe(t *testing.T, pack, script string) *Recipe {
	t.Helper()
	recipe := r.recipe(t, script)
	recipe.Pack = pack
	recipe.Runtime.Environment.Share = true
	return recipe
}

const sharedScript = "mkdir -p lib/empty; echo a >'lib/a \"quoted\" name'; echo tool >tool; chmod +x tool; ln -s 'lib/a \"quoted\" name' link; echo $RANDOM >lib/random; head -c 300000 /dev/urandom >lib/large"

func markerOf(t *testing.T, c *Cache, digest string) *Marker {
	t.Helper()
	m, err := c.volume.published(digest)
	if err != nil || m == nil {
		t.Fatalf("published(%s) = %v, %v", digest, m, err)
	}
	return m
}

func TestPackGetsACopyOfAnothersBuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, log := sharing(t, r)
	told := c.Subscribe("second", "sh")
	defer told.Close()
	first := mustEnsure(t, c, r.sharedRecipe(t, "first", sharedScript))
	recipe := r.sharedRecipe(t, "second", sharedScript)
	second := mustEnsure(t, c, recipe)
	r.engine.wantBuilders(t, 1)
	if first.Digest == second.Digest || first.Dir == second.Dir {
		t.Errorf("both packs have generation %s", first.Digest)
	}
	wantSealed(t, second.Dir)
	for _, name := range []string{"lib/random", "lib/large", "link", "deps", listingFile} {
		if read(t, filepath.Join(first.Dir, name)) != read(t, filepath.Join(second.Dir, name)) {
			t.Errorf("%s is another one", name)
		}
		a, errA := os.Stat(filepath.Join(first.Dir, name))
		b, errB := os.Stat(filepath.Join(second.Dir, name))
		if errA != nil || errB != nil || os.SameFile(a, b) {
			t.Errorf("%s is the same file in both (%v, %v)", name, errA, errB)
		}
	}
	one, two := markerOf(t, c, first.Digest), markerOf(t, c, second.Digest)
	if one.Origin != nil || !one.Pure || two.Origin == nil || two.Origin.Digest != first.Digest || !two.Origin.ResolvedAt.Equal(one.builtAt()) ||
		one.Files != two.Files || one.Bytes != two.Bytes {
		t.Errorf("markers %+v and %+v", one, two)
	}
	if content := read(t, filepath.Join(second.Dir, markerFile)); strings.Contains(content, "first") {
		t.Errorf("the marker, which the pack can read, names the other pack: %s", content)
	}
	s, err := c.Status(recipe)
	if err != nil || s.State != StateReady || s.SharedFrom == nil || s.SharedFrom.Pack != "first" || s.SharedFrom.Digest != first.Digest {
		t.Errorf("Status() = %+v, %v", s, err)
	}
	if text, err := c.BuildLog(recipe); err != nil || !strings.Contains(string(text), "the same as pack first has") {
		t.Errorf("BuildLog() = %q, %v", text, err)
	}
	if !strings.Contains(log.String(), "copied from another pack's") {
		t.Errorf("the gateway's log: %s", log)
	}
	if v, err := c.Verify(t.Context(), recipe); err != nil || !v.OK {
		t.Errorf("Verify() of the copy = %+v, %v", v, err)
	}
	// A copy of the copy is as old as the first.
	third := mustEnsure(t, c, r.sharedRecipe(t, "third", sharedScript))
	if m := markerOf(t, c, third.Digest); m.Origin == nil || !m.Origin.ResolvedAt.Equal(one.builtAt()) {
		t.Errorf("a copy of a copy: %+v", m)
	}
	r.engine.wantBuilders(t, 1)
	var phases []string
	for len(told.Events) > 0 {
		phases = append(phases, string((<-told.Events).Phase))
	}
	if got := strings.Join(phases, " "); got != "copy copy publish published" {
		t.Errorf("phases of a copy: %s", got)
	}
	r.nothingLeft(t)
}

// TestWhatIsNotShared: each is built, although a pack with nearly the same has
// its environment.
func TestWhatIsNotShared(t *testing.T) {
	t.Parallel()
	manifests := func(includes ...string) []runtimes.Manifest {
		return []runtimes.Manifest{{File: "deps.txt", Includes: includes, InstallCommand: []string{"/bin/cp", "{manifest_path}", "{env_dir}/deps"}}}
	}
	including := func(r *Recipe) {
		r.Runtime.Dependencies = runtimes.Dependencies{Manifests: manifests(`(?m)^\./(\S+)`)}
	}
	for name, test := range map[string]struct {
		both   func(t *testing.T, r *Recipe)
		second func(t *testing.T, c *Cache, r *Recipe)
		first  func(t *testing.T, c *Cache, e *Environment)
	}{
		"another manifest": {second: func(t *testing.T, _ *Cache, r *Recipe) { write(t, filepath.Join(r.PackDir, "deps.txt"), "a==2\n") }},
		"another image":    {second: func(_ *testing.T, _ *Cache, r *Recipe) { r.Image.Arch = "other" }},
		"another runtime":  {second: func(_ *testing.T, _ *Cache, r *Recipe) { r.Runtime.Name = "sh2" }},
		"another command": {second: func(_ *testing.T, _ *Cache, r *Recipe) {
			r.Runtime.Environment.CreateCommand = []string{"/bin/sh", "-c", "true"}
		}},
		"a runtime that forbids it":  {second: func(_ *testing.T, _ *Cache, r *Recipe) { r.Runtime.Environment.Share = false }},
		"an operator who forbids it": {second: func(_ *testing.T, c *Cache, _ *Recipe) { c.Limits.Share = 0 }},
		"versions that are too old":  {second: func(_ *testing.T, c *Cache, _ *Recipe) { c.Limits.Share = time.Nanosecond }},
		"too large by now":           {second: func(_ *testing.T, c *Cache, _ *Recipe) { c.Limits.MaxFiles = 3 }},
		"code of the pack": {both: func(t *testing.T, r *Recipe) {
			including(r)
			write(t, filepath.Join(r.PackDir, "deps.txt"), "./local\n")
			if err := os.Mkdir(filepath.Join(r.PackDir, "local"), 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(r.PackDir, "local", "setup.py"), "the same in both\n")
		}},
		"an archive of the pack": {both: func(t *testing.T, r *Recipe) {
			including(r)
			write(t, filepath.Join(r.PackDir, "deps.txt"), "./a.whl\n")
			write(t, filepath.Join(r.PackDir, "a.whl"), "PK\x00")
		}},
		"a build that had downloads": {first: func(t *testing.T, c *Cache, e *Environment) {
			changeMarker(t, c, e.Digest, func(m *Marker) { m.Pure = false })
		}},
		"inputs that aren't those of the digest": {first: func(t *testing.T, c *Cache, e *Environment) {
			changeMarker(t, c, e.Digest, func(m *Marker) { m.Inputs.Pack = "victim" })
		}},
		"no listing": {first: func(t *testing.T, c *Cache, e *Environment) {
			changeMarker(t, c, e.Digest, func(m *Marker) { m.Listing = "" })
		}},
		"a path of its own": {both: func(_ *testing.T, r *Recipe) {
			r.Runtime.Environment.CreateCommand[2] += "; pwd >own"
		}},
		"a link by its own path": {both: func(_ *testing.T, r *Recipe) {
			r.Runtime.Environment.CreateCommand[2] += `; ln -s "$PWD"/tool own`
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c, _ := sharing(t, r)
			one, two := r.sharedRecipe(t, "first", sharedScript), r.sharedRecipe(t, "second", sharedScript)
			for _, recipe := range []*Recipe{one, two} {
				if test.both != nil {
					test.both(t, recipe)
				}
			}
			first := mustEnsure(t, c, one)
			if test.first != nil {
				test.first(t, c, first)
			}
			if test.second != nil {
				test.second(t, c, two)
			}
			env, err := c.Ensure(t.Context(), two)
			if err == nil && markerOf(t, c, env.Digest).Origin != nil {
				t.Error("it was copied")
			}
			r.engine.wantBuilders(t, 2)
			r.nothingLeft(t)
		})
	}
}

// changeMarker lays hands on a published generation.
func changeMarker(t *testing.T, c *Cache, digest string, change func(*Marker)) {
	t.Helper()
	m := markerOf(t, c, digest)
	change(m)
	content, err := json.Marshal(m)
	if err == nil {
		err = errors.Join(os.Chmod(c.volume.marker(digest), 0o644), os.WriteFile(c.volume.marker(digest), content, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDamageIsNotSpread: whatever was done to a generation, another pack doesn't
// get it, and the operator is told.
func TestDamageIsNotSpread(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(dir string) error{
		"content": func(dir string) error { return os.WriteFile(filepath.Join(dir, "lib/random"), []byte("evil\n"), 0o444) },
		"longer": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "lib/large"), make([]byte, 300001), 0o444)
		},
		"huge":    func(dir string) error { return os.Truncate(filepath.Join(dir, "lib/large"), 1<<40) },
		"missing": func(dir string) error { return os.Remove(filepath.Join(dir, "tool")) },
		"link": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("tool", filepath.Join(dir, "link")))
		},
		"link for file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "tool")), os.Symlink("/etc/hostname", filepath.Join(dir, "tool")))
		},
		"no file": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "tool")), os.Mkdir(filepath.Join(dir, "tool"), 0o755))
		},
		"list": func(dir string) error {
			list := filepath.Join(dir, listingFile)
			content, err := os.ReadFile(list)
			return errors.Join(err, os.WriteFile(list, append(content, "-r--r--r-- - \"../out\"\n"...), 0o444))
		},
		"no list": func(dir string) error { return os.Remove(filepath.Join(dir, listingFile)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c, log := sharing(t, r)
			first := mustEnsure(t, c, r.sharedRecipe(t, "first", sharedScript))
			err := filepath.WalkDir(first.Dir, func(p string, e os.DirEntry, err error) error {
				if err == nil && e.Type()&os.ModeSymlink == 0 {
					err = os.Chmod(p, 0o755)
				}
				return err
			})
			if err := errors.Join(err, harm(first.Dir)); err != nil {
				t.Fatal(err)
			}
			second := mustEnsure(t, c, r.sharedRecipe(t, "second", sharedScript))
			if markerOf(t, c, second.Digest).Origin != nil {
				t.Error("it was copied")
			}
			r.engine.wantBuilders(t, 2)
			if !strings.Contains(log.String(), "is damaged") || !strings.Contains(log.String(), first.Digest) {
				t.Errorf("the log says nothing of damage: %s", log)
			}
			r.nothingLeft(t)
		})
	}
}

// TestAnAddedFileIsNotCopied: only what was published is.
func TestAnAddedFileIsNotCopied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, _ := sharing(t, r)
	first := mustEnsure(t, c, r.sharedRecipe(t, "first", sharedScript))
	if err := os.Chmod(first.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(first.Dir, "sitecustomize.py"), "evil")
	second := mustEnsure(t, c, r.sharedRecipe(t, "second", sharedScript))
	if _, err := os.Lstat(filepath.Join(second.Dir, "sitecustomize.py")); err == nil || markerOf(t, c, second.Digest).Origin == nil {
		t.Errorf("what was added was copied, or nothing was: %v", err)
	}
}

// TestRebuildIsNeverACopy, nor is a former build of that which was rebuilt copied
// by another.
func TestRebuildIsNeverACopy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, _ := sharing(t, r)
	one, two := r.sharedRecipe(t, "first", sharedScript), r.sharedRecipe(t, "second", sharedScript)
	first := mustEnsure(t, c, one)
	copied := mustEnsure(t, c, two)
	if err := c.Rebuild(two); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { env := mustEnsure(t, c, two); defer env.Release(); return env.Digest != copied.Digest })
	rebuilt := mustEnsure(t, c, two)
	if markerOf(t, c, rebuilt.Digest).Origin != nil {
		t.Error("a rebuild was copied")
	}
	r.engine.wantBuilders(t, 2)
	if err := c.Rollback(one, ""); !errors.Is(err, ErrNoGeneration) {
		t.Fatal(err)
	}
	third := mustEnsure(t, c, r.sharedRecipe(t, "third", sharedScript))
	if m := markerOf(t, c, third.Digest); m.Origin == nil || m.Origin.Digest == copied.Digest {
		t.Errorf("origin %+v, want another than the generation %s that was rebuilt", m.Origin, copied.Digest)
	}
	// The next of its manifests is copied again.
	for _, recipe := range []*Recipe{one, two} {
		write(t, filepath.Join(recipe.PackDir, "deps.txt"), "b==1\n")
		recipe.Revision = "r2"
		mustBuild(t, c, recipe)
	}
	r.engine.wantBuilders(t, 3)
	if err := c.Rollback(one, first.Digest); err != nil {
		t.Fatal(err)
	}
	if err := c.Rollback(two, rebuilt.Digest); err != nil {
		t.Fatal(err)
	}
	// Both went back from it: it may be bad.
	last := r.sharedRecipe(t, "last", sharedScript)
	write(t, filepath.Join(last.PackDir, "deps.txt"), "b==1\n")
	mustEnsure(t, c, last)
	r.engine.wantBuilders(t, 4)
}

// TestPinnedVersionsDoNotAge: a lock file chooses them.
func TestPinnedVersionsDoNotAge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, _ := sharing(t, r)
	for i, pack := range []string{"first", "second"} {
		recipe := r.sharedRecipe(t, pack, sharedScript)
		deps := &recipe.Runtime.Dependencies
		deps.LockFiles, deps.LockedInstallCommand = []string{"deps.lock"}, deps.InstallCommand
		write(t, filepath.Join(recipe.PackDir, "deps.lock"), "a==1\n")
		c.Limits.Share = []time.Duration{time.Hour, time.Nanosecond}[i]
		mustEnsure(t, c, recipe)
	}
	r.engine.wantBuilders(t, 1)
}

// TestDownloadsAreNoWayAround: what a pack's earlier builds left among its
// downloads, another pack doesn't get by asking for the same.
func TestDownloadsAreNoWayAround(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, _ := sharing(t, r)
	script := `test -e "$CACHE/poison" && cp "$CACHE/poison" . ; echo ${SAYS:-} >"$CACHE/poison"`
	recipe := func(pack, deps string) *Recipe {
		recipe := r.sharedRecipe(t, pack, "true")
		recipe.Runtime.Environment.CreateCommand[2] = script
		recipe.Runtime.Dependencies.CacheVars = map[string]string{"CACHE": "{cache_dir}"}
		write(t, filepath.Join(recipe.PackDir, "deps.txt"), deps)
		return recipe
	}
	attacker := recipe("attacker", "an evil package\n")
	mustEnsure(t, c, attacker)
	write(t, filepath.Join(attacker.PackDir, "deps.txt"), "what the victim asks for\n")
	attacker.Revision = "r2"
	poisoned := mustBuild(t, c, attacker)
	if _, err := os.Stat(filepath.Join(poisoned.Dir, "poison")); err != nil {
		t.Fatalf("the attack doesn't work at all: %v", err)
	}
	env := mustEnsure(t, c, recipe("victim", "what the victim asks for\n"))
	if _, err := os.Stat(filepath.Join(env.Dir, "poison")); err == nil {
		t.Error("the victim has the poison")
	}
	r.engine.wantBuilders(t, 3)
}

// TestHeldWhileItIsCopied: a prune that comes in between leaves the source.
func TestHeldWhileItIsCopied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var other *Cache
	at := map[Point]bool{}
	var first *Recipe
	c := r.gateway(t, func(o *Options) {
		o.Limits.Share = time.Hour
		o.Fault = func(p Point) {
			if p != PointSource && p != PointAttempt || at[p] || first == nil {
				return
			}
			at[p] = true
			if err := other.Remove(t.Context(), "first", "sh"); err != nil {
				t.Error(err)
			}
		}
	})
	other = r.gateway(t, nil)
	one := r.sharedRecipe(t, "first", sharedScript)
	env := mustEnsure(t, other, one)
	env.Release()
	other.Retain(nil)
	first = one
	second := mustEnsure(t, c, r.sharedRecipe(t, "second", sharedScript))
	if markerOf(t, c, second.Digest).Origin == nil || !at[PointSource] {
		t.Errorf("it was not copied; passed: %v", at)
	}
	r.engine.wantBuilders(t, 1)
	if _, err := other.Prune(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if m, err := c.volume.published(env.Digest); m != nil || err != nil {
		t.Errorf("after the copy the source is still held: %v, %v", m, err)
	}
	if s, err := c.Status(&Recipe{Pack: "second", PackDir: t.TempDir(), Runtime: one.Runtime}); err == nil && s.SharedFrom != nil && s.SharedFrom.Pack != "" {
		t.Errorf("a source that is gone: %+v", s.SharedFrom)
	}
}

// TestViewIsWhatWasHashed: a file that was changed after it was hashed, and is
// changed back before anybody looks again, is not shown.
func TestViewIsWhatWasHashed(t *testing.T) {
	t.Parallel()
	v := newVolume(t)
	pack := t.TempDir()
	if err := os.Mkdir(filepath.Join(pack, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"deps.txt": hashOf("a\n"), "sub/more.txt": hashOf("b\n")}
	write(t, filepath.Join(pack, "deps.txt"), "a\n")
	write(t, filepath.Join(pack, "sub/more.txt"), "b\n")
	write(t, filepath.Join(pack, "secret.py"), "not shown\n")
	dir, err := v.writeView("one", pack, files)
	if err != nil || read(t, filepath.Join(dir, "sub/more.txt")) != "b\n" {
		t.Fatalf("writeView() = %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("the view has %v, %v", entries, err)
	}
	write(t, filepath.Join(pack, "deps.txt"), "evil\n")
	var failed *FailedError
	if _, err := v.writeView("two", pack, files); !errors.As(err, &failed) || failed.Infrastructure {
		t.Errorf("writeView() of a changed file = %v", err)
	}
	if err := errors.Join(v.dropView("one"), v.sweepByAttempt(v.views())); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(v.views()); err != nil || len(entries) > 0 {
		t.Errorf("views are left: %v, %v", entries, err)
	}
}

func hashOf(text string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
}
func TestFinderFindsAcrossWrites(t *testing.T) {
	t.Parallel()
	const text = "xx/opt/env/first/shyy"
	for size := 1; size <= len(text); size++ {
		f := &finder{words: []string{"/opt/env/first/sh", "/nowhere"}}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if got, err := f.Write([]byte(rest[:n])); got != n || err != nil {
				t.Fatal(got, err)
			}
			if f.found != (len(text)-len(rest)+n >= len(text)-2) {
				t.Errorf("in pieces of %d: found is %v before %q", size, f.found, rest[n:])
			}
			rest = rest[n:]
		}
	}
	f := &finder{words: []string{"abc"}}
	f.Write([]byte("ab"))
	f.Write([]byte("xc"))
	if f.found {
		t.Error("a word was found that isn't there")
	}
}

// FuzzListed reads whatever is there for a line: what it takes is a path below
// the environment, of a mode that was published, and is written the same again.
func FuzzListed(f *testing.F) {
	f.Add(`-r--r--r-- 00 "a"`)
	f.Add(`Lrwxrwxrwx "b\"c" "d e"`)
	f.Add(`dr-xr-xr-x - "lib"`)
	f.Fuzz(func(t *testing.T, line string) {
		e, ok := parseListed(line)
		if !ok {
			return
		}
		writable := e.mode.Type() != os.ModeSymlink && e.mode&(os.ModeSetuid|os.ModeSetgid|0o222) != 0
		if !filepath.IsLocal(e.name) || e.name == markerFile || e.name == listingFile || writable {
			t.Errorf("parseListed(%q) = %+v", line, e)
		}
	})
}

// TestWhatWasRebuiltIsNotCopied: somebody wanted another than that.
func TestWhatWasRebuiltIsNotCopied(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c, _ := sharing(t, r)
	one := r.sharedRecipe(t, "first", sharedScript)
	first := mustEnsure(t, c, one)
	if err := c.Rebuild(one); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { env := mustEnsure(t, c, one); defer env.Release(); return env.Digest != first.Digest })
	changeMarker(t, c, mustEnsure(t, c, one).Digest, func(m *Marker) { m.Pure = false })
	if m := markerOf(t, c, mustEnsure(t, c, r.sharedRecipe(t, "second", sharedScript)).Digest); m.Origin != nil {
		t.Errorf("the copy of %+v, which was rebuilt", m.Origin)
	}
	r.engine.wantBuilders(t, 3)
}

package envcache

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes"
	"attune/runtimes/container"
)

func TestEnvironmentIsBuiltPublishedAndSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, "mkdir -p bin; echo tool >bin/tool; chmod 700 bin/tool; echo x >data; chmod 600 data; ln -s bin/tool link")
	env := mustEnsure(t, c, recipe)

	if want := filepath.Join(r.root, ".store", env.Digest); env.Dir != want {
		t.Errorf("Dir = %s, want %s", env.Dir, want)
	}
	if got := read(t, filepath.Join(env.Dir, "deps")); got != "a==1\n" {
		t.Errorf("the install command left %q", got)
	}
	if link, err := os.Readlink(filepath.Join(r.root, "demo", "sh")); err != nil || link != "../.store/"+env.Digest {
		t.Errorf("the pointer is %q, %v", link, err)
	}
	wantSealed(t, env.Dir)
	want := []Phase{PhaseCreate, PhaseInstall, PhaseVerify, PhasePublish, PhasePublished}
	if diff := cmp.Diff(want, told.phases()); diff != "" {
		t.Errorf("phases (-want +got):\n%s", diff)
	}
	r.nothingLeft(t)
	marker, err := c.volume.published(env.Digest)
	if err != nil || marker.Files != 6 || marker.Bytes <= 0 || marker.Builder != "gw" {
		t.Errorf("marker = %+v, %v, want 6 files", marker, err)
	}
}

// wantSealed checks that an environment is the gateway's, and that everybody may
// read it and nobody write.
func wantSealed(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
			t.Errorf("%s belongs to %d", p, uid)
		}
		if mode := info.Mode(); mode&fs.ModeSymlink == 0 && (mode&0o222 != 0 || mode&0o444 != 0o444) {
			t.Errorf("%s has mode %v", p, mode)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestFiftyCallersAndTwoGatewaysMakeOneBuilder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	a, b := r.gateway(t, nil), r.gateway(t, nil)
	recipe := r.recipe(t, "echo once")
	found := make([]*Environment, 100)
	var callers sync.WaitGroup
	for i := range found {
		callers.Go(func() {
			c := a
			if i%2 == 1 {
				c = b
			}
			env, err := c.Ensure(t.Context(), recipe)
			if err != nil {
				t.Errorf("Ensure() error = %v", err)
			}
			found[i] = env
		})
	}
	callers.Wait()
	r.engine.wantBuilders(t, 1)
	for i, env := range found {
		if env != found[i%2] {
			t.Errorf("caller %d has another *Environment than the first of its gateway", i)
		}
	}
	if found[0].Digest != found[1].Digest {
		t.Errorf("the gateways disagree: %s and %s", found[0].Digest, found[1].Digest)
	}
	r.nothingLeft(t)
}

func TestRestartFindsTheEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	recipe := r.recipe(t, "true")
	first := r.gateway(t, nil)
	env := mustEnsure(t, first, recipe)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if again := mustEnsure(t, r.gateway(t, nil), recipe); again.Digest != env.Digest {
		t.Errorf("digest = %s, before it was %s", again.Digest, env.Digest)
	}
	r.engine.wantBuilders(t, 1)
}

// A gateway that died after the rename left the top directory writable and the
// pointer old.
func TestWhatADeadGatewayLeftUndoneIsDone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	recipe := r.recipe(t, "true")
	env := mustEnsure(t, r.gateway(t, nil), recipe)
	pointer := filepath.Join(r.root, "demo", "sh")
	if err := os.Chmod(env.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(pointer); err != nil {
		t.Fatal(err)
	}
	mustEnsure(t, r.gateway(t, nil), recipe)
	wantSealed(t, env.Dir)
	if link, err := os.Readlink(pointer); err != nil || filepath.Base(link) != env.Digest {
		t.Errorf("the pointer is %q, %v", link, err)
	}
}

func TestPlanDoesNotWait(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	g := newGate(t)
	recipe := r.recipe(t, g.wait())
	c.Plan([]*Recipe{recipe})
	g.open(t)
	mustEnsure(t, c, recipe)
	c.Plan([]*Recipe{recipe})
	r.engine.wantBuilders(t, 1)
}

func TestReadyPathTouchesNothing(t *testing.T) { // not parallel: AllocsPerRun counts everybody's
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "true")
	env := mustEnsure(t, c, recipe)
	if err := os.RemoveAll(r.root); err != nil {
		t.Fatal(err)
	}
	r.engine.set(func(e *spyEngine) {
		e.find = func() error { return container.ErrUnavailable }
		e.create = func(container.Spec) error { return container.ErrUnavailable }
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if again, err := c.Ensure(ended, recipe); err != nil || again != env {
		t.Errorf("Ensure() = %v, %v, want the remembered one", again, err)
	}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := c.Ensure(ended, recipe); err != nil {
			t.Error(err)
		}
	})
	if allocs != 0 {
		t.Errorf("Ensure() of a ready environment makes %v allocations", allocs)
	}
}

// A fault of ours ends one build, and neither the gateway nor the next build.
func TestPanicFailsOneBuild(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, func(o *Options) {
		o.Fault = func(at Point) {
			if at == PointLeased {
				panic("here")
			}
		}
		o.Log = slog.New(slog.DiscardHandler)
	})
	recipe := r.recipe(t, "true")
	if failed := mustFail(t, c, recipe); !failed.Infrastructure || strings.Contains(failed.Reason, "here") {
		t.Errorf("failure = %+v", failed)
	}
	mustFail(t, c, recipe)
	mustEnsure(t, r.gateway(t, nil), recipe)
}

func TestRetainForgetsTheRest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	old := r.recipe(t, "true")
	fresh := *old
	fresh.Revision = "r2" // the same files: the same generation
	env := mustEnsure(t, c, old)
	kept := mustEnsure(t, c, &fresh)
	env.Release()
	c.Retain([]*Recipe{&fresh})
	if err := env.reference.Close(); err == nil {
		t.Error("the forgotten environment's reference was open")
	}
	if again := mustEnsure(t, c, &fresh); again != kept {
		t.Error("the retained environment was forgotten")
	}
	r.engine.wantBuilders(t, 1)
}

func BenchmarkEnsureReady(b *testing.B) {
	r := &rig{root: b.TempDir()}
	c := &Cache{Options: Options{Root: r.root}}
	recipe := &Recipe{Pack: "python_example", Revision: "0123456789abcdef0123456789abcdef", Runtime: &runtimes.Runtime{Name: "python"}}
	recipe.Image.ID = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	env := &Environment{Digest: "d"}
	env.holders.Store(1)
	c.ready.put(recipe.key(), env)
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			env, err := c.Ensure(ctx, recipe)
			if err != nil {
				b.Fatal(err)
			}
			env.Release()
		}
	})
}

package envcache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/container"
)

func TestFailureIsToldAndBackedOffFrom(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, "echo from https://me:secret@index/simple; echo no matching distribution >&2; exit 7")
	failed := mustFail(t, c, recipe)
	if want := "the installer failed with exit code 7: no matching distribution"; failed.Reason != want {
		t.Errorf("Reason = %q, want %q", failed.Reason, want)
	}
	if failed.Infrastructure || failed.Attempt != 1 || !strings.Contains(failed.Log, "https://***@index/simple") {
		t.Errorf("failure = %+v", failed)
	}
	if wait := time.Until(failed.NextRetry); wait < 3*time.Second || wait > 6*time.Second {
		t.Errorf("next retry in %v, want 5 s ± 20 %%", wait)
	}
	told.await(t, func(e Event) bool { return e.Phase == PhaseFailed && errors.As(e.Err, new(*FailedError)) })

	again := mustFail(t, r.gateway(t, nil), recipe) // another gateway backs off too
	if again.Attempt != 1 || again.Reason != failed.Reason || again.Log != failed.Log {
		t.Errorf("recorded failure = %+v, want %+v", again, failed)
	}
	r.engine.wantBuilders(t, 1)
	r.nothingLeft(t)

	r.endBackoff(t, c, recipe)
	if third := mustFail(t, c, recipe); third.Attempt != 2 || time.Until(third.NextRetry) < 7*time.Second {
		t.Errorf("after the back-off: %+v, want a second attempt and twice the time", third)
	}
	r.engine.wantBuilders(t, 2)
}

func TestChangedManifestBuildsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "grep -q good "+"{pack_dir}/deps.txt")
	mustFail(t, c, recipe)
	write(t, filepath.Join(recipe.PackDir, "deps.txt"), "good\n")
	fixed := *recipe
	fixed.Revision = "r2"
	mustEnsure(t, c, &fixed)
}

func TestSuccessClearsTheRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "test -e {pack_dir}/mended")
	mustFail(t, c, recipe)
	write(t, filepath.Join(recipe.PackDir, "mended"), "")
	r.endBackoff(t, c, recipe)
	mustEnsure(t, c, recipe)
	if record := c.volume.failureRecord(mustDigest(t, c, recipe)); record != nil {
		t.Errorf("the record stays: %+v", record)
	}
}

func TestInfrastructureFailure(t *testing.T) {
	t.Parallel()
	exits := func(exit container.Exit) func(*spyEngine) {
		return func(e *spyEngine) {
			e.wrap = func(made container.Container) container.Container {
				return &odd{Container: made, wait: func(ctx context.Context) (container.Exit, error) {
					_, err := made.Wait(ctx)
					return exit, err
				}}
			}
		}
	}
	for name, test := range map[string]struct {
		fault  func(*spyEngine)
		reason string
	}{
		"no image": {
			func(e *spyEngine) { e.create = func(container.Spec) error { return container.ErrNoImage } },
			"the engine doesn't have the runtime's image",
		},
		"engine away": {
			func(e *spyEngine) { e.find = func() error { return container.ErrUnavailable } },
			"the container engine does not answer",
		},
		"out of memory": {
			exits(container.Exit{Code: 137, OutOfMemory: true}),
			"the builder ran out of memory (build.memory is 1073741824 bytes)",
		},
		"engine killed during the build":  {exits(container.Exit{Code: 137}), "the builder was stopped before it had finished"},
		"engine stopped during the build": {exits(container.Exit{Code: 143}), "the builder was stopped before it had finished"},
		"engine lost sight of it":         {exits(container.Exit{Code: 255}), "the builder was stopped before it had finished"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.engine.set(test.fault)
			failed := mustFail(t, r.gateway(t, nil), r.recipe(t, "true"))
			if failed.Reason != test.reason || !failed.Infrastructure || failed.Attempt != 1 {
				t.Errorf("failure = %+v, want the machine's: %s", failed, test.reason)
			}
			if wait := time.Until(failed.NextRetry); wait > 1200*time.Millisecond {
				t.Errorf("next retry in %v, want 1 s ± 20 %%", wait)
			}
			r.engine.set(func(e *spyEngine) { e.find = nil })
			r.nothingLeft(t)
		})
	}
}

// The two kinds count apart: after three faults of the machine a first fault of
// the pack is still a first.
func TestKindsOfFailuresCountApart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "exit 1")
	r.engine.set(func(e *spyEngine) { e.create = func(container.Spec) error { return container.ErrUnavailable } })
	for want := 1; want <= 3; want++ {
		if failed := mustFail(t, c, recipe); failed.Attempt != want {
			t.Errorf("attempt = %d, want %d", failed.Attempt, want)
		}
		r.endBackoff(t, c, recipe)
	}
	r.engine.set(func(e *spyEngine) { e.create = nil })
	if failed := mustFail(t, c, recipe); failed.Attempt != 1 || failed.Infrastructure {
		t.Errorf("failure = %+v, want the pack's first", failed)
	}
}

func TestExitCodesOfInstallers(t *testing.T) {
	t.Parallel()
	c := &Cache{Options: Options{Limits: Limits{Timeout: time.Minute}}}
	for name, test := range map[string]struct {
		code   int
		output string
		want   string
	}{
		"the last line says why":           {1, "a\nno such package\n==> install failed: exit status 1\n", "the installer failed with exit code 1: no such package"},
		"a silent installer":               {2, "==> install: pip\n==> install failed: exit status 2\n", "the installer failed with exit code 2: install: exit status 2"},
		"a tool that isn't there":          {127, "made\n==> install failed: pip is not on PATH\n", "the installer failed with exit code 127: install: pip is not on PATH"},
		"nothing at all":                   {1, "", "the installer failed with exit code 1"},
		"255 of the installer's own":       {255, "bad\n==> install failed: exit status 255\n", "the installer failed with exit code 255: bad"},
		"a segmentation fault":             {139, "x\n==> install failed: signal: segmentation fault\n", "the installer failed with exit code 139: install: signal: segmentation fault"},
		"a build that ran out of its time": {agent.ExitTimeout, "x\n==> install failed: timeout\n", "the build took longer than 1m0s (build.timeout)"},
	} {
		output := newBuildLog(nil)
		if _, err := output.Write([]byte(test.output)); err != nil {
			t.Fatal(err)
		}
		var failed *FailedError
		if err := c.exitFailure(container.Exit{Code: test.code}, output); !errors.As(err, &failed) || failed.Reason != test.want || failed.Infrastructure {
			t.Errorf("%s: exitFailure(%d) = %+v, want %q", name, test.code, failed, test.want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		attempt        int
		infrastructure bool
		want           time.Duration
	}{
		{1, false, 5 * time.Second}, {2, false, 10 * time.Second}, {5, false, 80 * time.Second},
		{8, false, 10 * time.Minute}, {1 << 40, false, 10 * time.Minute},
		{1, true, time.Second}, {4, true, 8 * time.Second}, {100, true, time.Minute},
	} {
		for range 100 {
			got := backoff(test.attempt, test.infrastructure)
			if got < test.want*8/10 || got > test.want*12/10 {
				t.Errorf("backoff(%d, %v) = %v, want %v ± 20 %%", test.attempt, test.infrastructure, got, test.want)
			}
		}
	}
}

func TestUselessFailureRecordIsNone(t *testing.T) {
	t.Parallel()
	v := volume{root: t.TempDir()}
	if err := v.init(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func() error{
		"damaged": func() error { return os.WriteFile(v.failure("d"), []byte("{"), 0o600) },
		"empty":   func() error { return os.WriteFile(v.failure("d"), nil, 0o600) },
		"from a clock that was set back": func() error {
			return v.setFailureRecord("d", failureRecord{NextRetry: time.Now().Add(24 * time.Hour)})
		},
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if err := v.recentFailure("d"); err != nil {
			t.Errorf("%s: recentFailure() = %v, want none", name, err)
		}
	}
}

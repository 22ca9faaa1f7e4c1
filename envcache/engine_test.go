package envcache

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
)

// TestDockerBuildsAnEnvironment makes one in a real container: as an ordinary
// user, at the literal path, with nothing else in sight.
func TestDockerBuildsAnEnvironment(t *testing.T) {
	t.Parallel()
	engine := containertest.RequireDocker(t)
	spy := &spyEngine{Engine: engine}
	r := &rig{root: t.TempDir(), engine: spy, image: containertest.RequireImage(t, engine).Ref}
	recipe := r.recipe(t, strings.Join([]string{
		"set -e",
		"test $(id -u) != 0",
		"test $PWD = /opt/attune/runtime_envs/demo/sh",
		"! touch {pack_dir}/x 2>/dev/null",
		"! touch /x 2>/dev/null",
		"test $(ls /opt/attune/runtime_envs) = demo",
		"printf '#!/bin/sh\nexec true\n' >run",
		"chmod 700 run",
		"ln -s {env_dir}/run absolute",
	}, "\n"))
	recipe.Runtime.Environment.VerifyCommand = []string{"{env_dir}/absolute"}
	world(t, recipe.PackDir)
	world(t, TestAgentDir)
	a := r.gateway(t, func(o *Options) { o.Layout.Isolated = true })
	b := r.gateway(t, func(o *Options) { o.Layout.Isolated = true })
	for _, c := range []*Cache{a, b} {
		c.Plan([]*Recipe{recipe})
	}
	env := mustEnsure(t, a, recipe)
	if other := mustEnsure(t, b, recipe); other.Digest != env.Digest {
		t.Errorf("digests = %s and %s", env.Digest, other.Digest)
	}
	spy.wantBuilders(t, 1)
	wantSealed(t, env.Dir)
	found, err := engine.Find(t.Context(), map[string]string{container.LabelDigest: env.Digest})
	if err != nil || len(found) > 0 {
		t.Errorf("left over: %v, %v", found, err)
	}
}

// world makes a directory and its parents in the temporary directory passable
// for the builder's user.
func world(t *testing.T, dir string) {
	t.Helper()
	for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// Without containers programs see the machine's own paths, and a virtualenv
// made in an attempt has to work where it is published.
func TestProcessEngineBuildsAVirtualenv(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("/usr/bin/python3", "-c", "import venv, ensurepip").CombinedOutput(); err != nil {
		t.Skipf("no /usr/bin/python3 with venv: %s", out)
	}
	r := newRig(t)
	recipe := r.recipe(t, "")
	recipe.Runtime = &runtimes.Runtime{
		Name:        "python",
		Interpreter: runtimes.Interpreter{Binary: "/usr/bin/python3"},
		Environment: runtimes.Environment{
			EnvType:         runtimes.EnvVirtualenv,
			CreateCommand:   []string{"{interpreter}", "-m", "venv", "--without-pip", "{env_dir}"},
			VerifyCommand:   []string{"{interpreter}", "-c", "import sys; assert sys.prefix == '{env_dir}', sys.prefix"},
			InterpreterPath: "{env_dir}/bin/python3",
		},
	}
	c := r.gateway(t, func(o *Options) { o.Limits.Timeout = 2 * time.Minute })
	env := mustEnsure(t, c, recipe)
	out, err := exec.Command(filepath.Join(env.Dir, "bin", "python3"), "-c", "import sys; print(sys.prefix)").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != env.Dir {
		t.Errorf("sys.prefix of the published environment = %s, %v, want %s", out, err, env.Dir)
	}
}

// An engine that shows more than it was told to must not serve.
func TestSelfTest(t *testing.T) {
	t.Parallel()
	engine := containertest.RequireDocker(t)
	spy := &spyEngine{Engine: engine}
	r := &rig{root: t.TempDir(), engine: spy}
	image := containertest.RequireImage(t, engine)
	world(t, TestAgentDir)
	c := r.gateway(t, func(o *Options) { o.Layout.Isolated = true })
	if err := c.SelfTest(t.Context(), image); err != nil {
		t.Errorf("SelfTest() of a sound engine = %v", err)
	}
	spy.set(func(e *spyEngine) {
		e.changeSpec = func(s *container.Spec) { s.Mounts[0].Source = c.volume.attempts() }
	})
	if err := os.Chmod(c.volume.attempts(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := c.SelfTest(t.Context(), image); !errors.Is(err, ErrNotIsolated) {
		t.Errorf("SelfTest() of an engine that shows the directory above = %v, want ErrNotIsolated", err)
	}
	spy.set(func(e *spyEngine) {
		e.changeSpec = nil
		e.create = func(container.Spec) error { return container.ErrUnavailable }
	})
	if err := c.SelfTest(t.Context(), image); !errors.Is(err, container.ErrUnavailable) || errors.Is(err, ErrNotIsolated) {
		t.Errorf("SelfTest() of an engine that is away = %v", err)
	}
	if entries, err := os.ReadDir(c.volume.attempts()); err != nil || len(entries) > 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

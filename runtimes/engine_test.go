package runtimes

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/runtimes/agent"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/tests/kit"
)

// TestDockerInstance runs programs in a hardened container, one after the other
// in the same.
func TestDockerInstance(t *testing.T) {
	t.Parallel()
	engine := containertest.RequireDocker(t)
	r := newRigOn(t, engine, Layout{Isolated: true}, PoolLimits{Total: 1, PerPool: 1, Queue: 9})
	t.Cleanup(func() { r.close(t) })
	r.image = containertest.RequireImage(t, engine).Ref
	shape := r.readingShape(t)
	first := r.mustAcquire(t, shape)
	script := "id -u; pwd; touch left; echo $HOME; ! touch /x 2>/dev/null; sleep 1000 & ls /tmp"
	for range 2 {
		process, err := r.box.Process(shape, "a.sh", nil, map[string]string{"ATTUNE_EXEC_ID": "01"})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		exit, err := first.Execute(t.Context(), agent.Request{
			ID: "01", Argv: process.Argv, Dir: process.Dir, Env: process.Env, Stdin: []byte(script),
			Timeout: time.Minute, StdoutLimit: 1 << 10, StderrLimit: 1 << 10,
		}, agent.Output{Stdout: &out})
		want := "65533\n/opt/attune/packs/p\n/tmp\n"
		if err != nil || exit.Code != 0 || !exit.Reusable || out.String() != want {
			t.Errorf("Execute() = %+v, %v, output %q, want %q", exit, err, out.String(), want)
		}
		r.release(first)
		if again := r.mustAcquire(t, shape); again != first {
			t.Error("the instance was not reused")
		}
	}
	r.release(first)
}

// readingShape is one whose action reads a script from its input.
func (r *rig) readingShape(t *testing.T) *Shape {
	t.Helper()
	shape := r.shape(t, "p")
	if err := os.Mkdir(filepath.Join(shape.PackDir, "actions"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(shape.PackDir, "actions", "a.sh"), "eval \"$(cat)\"\n", 0o644)
	for _, dir := range []string{TestAgentDir, shape.PackDir} {
		for ; dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return shape
}

func TestLeftoversOfDeadGateways(t *testing.T) {
	t.Parallel()
	r := newRig(t, PoolLimits{Total: 9, PerPool: 9, Queue: 9})
	plant := func(gateway, role string) {
		image, err := r.engine.Image(t.Context(), "any")
		if err != nil {
			t.Fatal(err)
		}
		spec := containertest.Spec(image.ID, gateway+role, "/bin/true")
		spec.Labels = map[string]string{container.LabelGateway: gateway, container.LabelRole: role}
		made, err := r.engine.Engine.Create(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := made.Remove(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	for _, gateway := range []string{"dead", "alive"} {
		for _, role := range []string{container.RoleInstance, container.RoleBuilder, container.RoleProbe} {
			plant(gateway, role)
		}
	}
	removed, err := RemoveLeftovers(t.Context(), r.engine, func(gateway string) bool { return gateway == "dead" })
	if removed != 2 || err != nil {
		t.Errorf("RemoveLeftovers() = %d, %v, want the dead one's instance and probe", removed, err)
	}
	found, err := r.engine.Find(t.Context(), map[string]string{container.LabelGateway: "dead"})
	if err != nil || len(found) != 1 || found[0].Labels()[container.LabelRole] != container.RoleBuilder {
		t.Errorf("left of the dead one: %v, %v, want the builder, which is adopted", found, err)
	}
}

func TestFailedLaunchLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault func(*rig)
		want  error
		text  string
	}{
		"no image": {func(r *rig) {
			r.engine.onCreate(func(context.Context, container.Spec) error { return container.ErrNoImage })
		}, container.ErrNoImage, "create instance"},
		"no agent":     {func(r *rig) { r.box.AgentDir = filepath.Dir(r.box.RunDir) }, os.ErrNotExist, "start instance"},
		"no pack":      {func(r *rig) { r.box.AgentDir += "/missing" }, os.ErrNotExist, "create instance"},
		"no directory": {func(r *rig) { r.box.RunDir = "/proc/nowhere" }, os.ErrNotExist, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, PoolLimits{Total: 1, PerPool: 1, Queue: 1})
			test.fault(r)
			_, _, err := r.pools.Acquire(t.Context(), r.shape(t, "p"))
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Acquire() = %v, want %v", err, test.want)
			}
			kit.Until(t, func() bool { total, _ := r.pools.Counts(); return total == 0 })
		})
	}
}

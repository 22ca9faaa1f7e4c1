package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/runtimes/container/docker"
	"attune/tests/kit/proxy"

	"github.com/docker/docker/api/types/image"
)

func TestEngineAway(t *testing.T) {
	t.Parallel()
	host := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	if _, err := docker.New(t.Context(), docker.Options{Host: host}); !errors.Is(err, container.ErrUnavailable) {
		t.Errorf("New() = %v, want ErrUnavailable", err)
	}
}

// TestEngineLost cuts every connection while calls are under way.
func TestEngineLost(t *testing.T) {
	t.Parallel()
	direct, spec := rig(t)
	network := inFront(t, direct)
	engine := open(t, docker.Options{Host: "unix://" + network.Address()})
	c := containertest.Start(t, engine, spec("echo ready; exec sleep 100000"))

	results := make(chan error)
	go func() {
		_, err := c.Wait(t.Context())
		results <- err
	}()
	go func() { results <- c.Logs(t.Context(), onWrite(network.Refuse)) }()
	for range 2 {
		if err := <-results; !errors.Is(err, container.ErrUnavailable) {
			t.Errorf("a call that was cut = %v, want ErrUnavailable", err)
		}
	}
	for call, err := range map[string]error{
		"Start()":  c.Start(t.Context()),
		"Remove()": c.Remove(t.Context()),
		"Image()":  errorOf(engine.Image(t.Context(), "x")),
		"Find()":   errorOf(engine.Find(t.Context(), nil)),
		"Info()":   errorOf(engine.Info(t.Context())),
		"Create()": errorOf(engine.Create(t.Context(), spec("true"))),
		"State()":  errorOf(c.State(t.Context())),
	} {
		if !errors.Is(err, container.ErrUnavailable) {
			t.Errorf("%s = %v, want ErrUnavailable", call, err)
		}
	}
	if err := engine.Close(); err != nil {
		t.Errorf("Close(): %v", err)
	}
}

// TestEngineHangs: every connection stands, and nothing comes back on any. The
// engine is as good as away, and nobody waits for it for ever.
func TestEngineHangs(t *testing.T) {
	t.Parallel()
	direct, spec := rig(t)
	network := inFront(t, direct)
	const limit = 2 * time.Second // a machine under load answers within
	engine := open(t, docker.Options{
		Host: "unix://" + network.Address(), RequestTimeout: limit,
	})
	made := containertest.Start(t, direct, spec("exec sleep 100000"))
	found, err := engine.Find(t.Context(), made.Labels())
	if err != nil || len(found) != 1 {
		t.Fatalf("Find() = %v, %v, want the container", found, err)
	}
	c := found[0]
	wait := make(chan error)
	go func() { wait <- errorOf(c.Wait(t.Context())) }()
	network.Hang()
	var calls sync.WaitGroup
	for call, do := range map[string]func() error{
		"Wait() under way": func() error { return <-wait },
		"Wait()":           func() error { return errorOf(c.Wait(t.Context())) },
		"Start()":          func() error { return c.Start(t.Context()) },
		"State()":          func() error { return errorOf(c.State(t.Context())) },
		"Image()":          func() error { return errorOf(engine.Image(t.Context(), "x")) },
		"Find()":           func() error { return errorOf(engine.Find(t.Context(), nil)) },
		"Info()":           func() error { return errorOf(engine.Info(t.Context())) },
		"Create()":         func() error { return errorOf(engine.Create(t.Context(), spec("true"))) },
	} {
		calls.Go(func() {
			if err := do(); !errors.Is(err, container.ErrUnavailable) {
				t.Errorf("%s = %v, want ErrUnavailable", call, err)
			}
		})
	}
	calls.Wait()
	network.Pass()
	if state, err := c.State(t.Context()); err != nil || state.Phase != container.PhaseRunning {
		t.Errorf("State() after the engine came back = %+v, %v", state, err)
	}
}

// inFront puts a proxy between a client and the engine.
func inFront(t *testing.T, engine *docker.Engine) *proxy.Proxy {
	t.Helper()
	socket, found := strings.CutPrefix(engine.Client().DaemonHost(), "unix://")
	if !found {
		t.Skip("the engine has no Unix socket")
	}
	return proxy.Start(t, "unix", socket)
}

func errorOf[T any](_ T, err error) error { return err }

type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// An engine makes a container although nobody waits any more, so a create that
// was given up must remove what comes of it.
func TestAbandonedCreateLeavesNothing(t *testing.T) {
	t.Parallel()
	direct, spec := rig(t)
	engine := open(t, docker.Options{})
	labels := spec("").Labels
	made := make(map[string]bool)
	for after := time.Duration(0); after < 40*time.Millisecond; after += 2 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		c, err := engine.Create(ctx, spec("true"))
		cancel()
		if err == nil {
			made[c.ID()] = true
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Create() = %v, want context.DeadlineExceeded", err)
		}
	}
	if err := engine.Close(); err != nil { // waits for what is under way
		t.Fatalf("Close(): %v", err)
	}
	left, err := direct.Find(t.Context(), labels)
	if err != nil || len(left) != len(made) {
		t.Errorf("%d containers are there, %v; want the %d that were handed out", len(left), err, len(made))
	}
}

// TestVolumesOfAnImage needs an image that declares some, and imports an empty one.
func TestVolumesOfAnImage(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	ref := importEmpty(t, engine, `VOLUME ["/data", "/cache"]`)
	found, err := engine.Image(t.Context(), ref)
	if err != nil || !slices.Equal(found.Volumes, []string{"/cache", "/data"}) {
		t.Fatalf("Image() = %+v, %v; want the volumes, sorted", found, err)
	}
	s := spec("true")
	s.Image = found.ID
	if _, err := engine.Create(t.Context(), s); err == nil {
		t.Error("Create() of a container with writable volumes = nil, want an error")
	}
	s.Tmpfs = []container.Tmpfs{{Path: "/cache", Size: 1 << 20, Mode: 0o755}}
	s.Mounts = []container.Mount{{Source: t.TempDir(), Target: "/data", ReadOnly: true}}
	containertest.Create(t, engine, s) // nothing is left for the image to add
}

func importEmpty(t *testing.T, engine *docker.Engine, changes ...string) (ref string) {
	t.Helper()
	ref = "attune-" + containertest.Gateway(t, engine) + ":latest"
	var empty bytes.Buffer
	if err := tar.NewWriter(&empty).Close(); err != nil {
		t.Fatal(err)
	}
	answer, err := engine.Client().ImageImport(t.Context(), image.ImportSource{Source: &empty, SourceName: "-"}, ref, image.ImportOptions{Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := engine.Client().ImageRemove(context.WithoutCancel(t.Context()), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Errorf("remove image: %v", err)
		}
	})
	if _, err := io.Copy(io.Discard, answer); err != nil {
		t.Fatal(err)
	}
	if err := answer.Close(); err != nil {
		t.Fatal(err)
	}
	return ref
}

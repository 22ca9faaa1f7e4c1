package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/runtimes/container/docker"

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
	proxy := newProxy(t, strings.TrimPrefix(direct.Client().DaemonHost(), "unix://"))
	engine := open(t, docker.Options{Host: "unix://" + proxy.listener.Addr().String()})
	c := containertest.Start(t, engine, spec("echo ready; exec sleep 100000"))

	results := make(chan error)
	go func() {
		_, err := c.Wait(t.Context())
		results <- err
	}()
	go func() { results <- c.Logs(t.Context(), onWrite(proxy.cut)) }()
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

func errorOf[T any](_ T, err error) error { return err }

type onWrite func()

func (f onWrite) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// proxy stands between a client and the engine.
type proxy struct {
	listener net.Listener
	mu       sync.Mutex
	conns    []net.Conn
	running  sync.WaitGroup
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	if !filepath.IsAbs(target) {
		t.Skip("the engine has no Unix socket")
	}
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener}
	p.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			engine, err := net.Dial("unix", target)
			if err != nil {
				t.Errorf("dial the engine: %v", err)
				return
			}
			p.join(conn, engine)
		}
	})
	t.Cleanup(func() { p.cut(); p.running.Wait() })
	return p
}

func (p *proxy) join(a, b net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, a, b)
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		p.running.Go(func() {
			defer pair[0].Close()
			defer pair[1].Close()
			// Either end may be cut; the client is what is looked at.
			_, _ = io.Copy(pair[0], pair[1])
		})
	}
}

func (p *proxy) cut() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
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

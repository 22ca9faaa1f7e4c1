// Package containertest holds what every container engine must do, as a test
// suite, and what tests need that want a real engine.
package containertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"attune/runtimes/container"
)

// Fixture is what the suite must know about an engine.
type Fixture struct {
	// Image refers to an image with a shell and coreutils.
	Image string
	// MissingImage is the ID of an image that the engine has not; empty if the
	// engine knows no such thing.
	MissingImage string
	// Kill sends SIGKILL to a container's first process, from outside.
	Kill func(t *testing.T, c container.Container)
}

// Exercise runs the suite. newEngine is called once per test; the suite closes.
func Exercise(t *testing.T, newEngine func(t *testing.T) container.Engine, fixture Fixture) {
	for _, topic := range []struct {
		name string
		test func(t *testing.T, b *bench)
	}{
		{"images", exerciseImages},
		{"lifecycle", exerciseLifecycle},
		{"names", exerciseNames},
		{"environment", exerciseEnvironment},
		{"mounts", exerciseMounts},
		{"logs", exerciseLogs},
		{"wait", exerciseWait},
		{"find", exerciseFind},
		{"remove", exerciseRemove},
		{"cancel", exerciseCancel},
		{"concurrent", exerciseConcurrent},
	} {
		t.Run(topic.name, func(t *testing.T) {
			t.Parallel()
			engine := newEngine(t)
			t.Cleanup(func() {
				if err := engine.Close(); err != nil {
					t.Errorf("Close() = %v", err)
				}
			})
			image, err := engine.Image(t.Context(), fixture.Image)
			if err != nil {
				t.Fatalf("Image(%q): %v", fixture.Image, err)
			}
			topic.test(t, &bench{engine: engine, fixture: fixture, image: image, gateway: Gateway(t, engine)})
		})
	}
}

// bench is what the tests of one topic work at.
type bench struct {
	engine  container.Engine
	fixture Fixture
	image   container.Image
	gateway string
}

// spec is a container that runs a shell script and keeps its output.
func (b *bench) spec(script string) container.Spec {
	spec := Spec(b.image.ID, b.gateway, "/bin/sh", "-c", script)
	spec.KeepLogs = true
	return spec
}

// blocks is a script that runs until it is killed.
const blocks = "echo ready; exec sleep 100000"

// Spec is a small valid container, owned by a gateway.
func Spec(imageID, gateway string, entrypoint ...string) container.Spec {
	return container.Spec{
		Image:      imageID,
		Entrypoint: entrypoint,
		User:       "65533:65533",
		Dir:        "/",
		Env:        []string{"HOME=/tmp", "PATH=/usr/local/bin:/usr/bin:/bin"},
		Labels:     map[string]string{container.LabelGateway: gateway},
		Network:    container.NetworkNone,
		Limits:     container.Limits{Memory: 64 << 20, CPU: 1, Pids: 32, NoFile: 256, FileSize: 16 << 20},
	}
}

// Gateway returns a label value of this test alone, and removes every container
// that carries it when the test ends.
func Gateway(t testing.TB, engine container.Engine) string {
	id := "test-" + strings.ToLower(rand.Text()[:12])
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		left, err := engine.Find(ctx, map[string]string{container.LabelGateway: id})
		if err != nil {
			t.Errorf("find the containers of %s: %v", id, err)
		}
		for _, c := range left {
			if err := c.Remove(ctx); err != nil {
				t.Errorf("remove %s: %v", c.Name(), err)
			}
		}
	})
	return id
}

// Create makes a container or ends the test.
func Create(t *testing.T, engine container.Engine, spec container.Spec) container.Container {
	t.Helper()
	c, err := engine.Create(t.Context(), spec)
	if err != nil {
		t.Fatalf("Create(): %v", err)
	}
	return c
}

// Start makes a container and starts it, or ends the test.
func Start(t *testing.T, engine container.Engine, spec container.Spec) container.Container {
	t.Helper()
	c := Create(t, engine, spec)
	if err := c.Start(t.Context()); err != nil {
		t.Fatalf("Start(): %v", err)
	}
	return c
}

// Run runs a container to its end, removes it, and returns what it wrote.
func Run(t *testing.T, engine container.Engine, spec container.Spec) (container.Exit, string) {
	t.Helper()
	c := Start(t, engine, spec)
	output := logs(t, c)
	exit := wait(t, c)
	if err := c.Remove(t.Context()); err != nil {
		t.Errorf("Remove(): %v", err)
	}
	return exit, output
}

func wait(t *testing.T, c container.Container) container.Exit {
	t.Helper()
	exit, err := c.Wait(t.Context())
	if err != nil {
		t.Fatalf("Wait(): %v", err)
	}
	return exit
}

func logs(t *testing.T, c container.Container) string {
	t.Helper()
	var output bytes.Buffer
	if err := c.Logs(t.Context(), &output); err != nil {
		t.Fatalf("Logs(): %v", err)
	}
	return output.String()
}

package docker_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/runtimes/container/docker"

	api "github.com/docker/docker/api/types/container"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine(t *testing.T) {
	t.Parallel()
	probe := containertest.RequireDocker(t)
	containertest.Exercise(t, func(t *testing.T) container.Engine { return open(t, docker.Options{}) }, containertest.Fixture{
		Image:        containertest.RequireImage(t, probe).Ref,
		MissingImage: missingImage,
		Kill: func(t *testing.T, c container.Container) {
			if err := probe.Client().ContainerKill(t.Context(), c.ID(), "KILL"); err != nil {
				t.Fatal(err)
			}
		},
	})
}

const missingImage = "sha256:00000000000000000000000000000000000000000000000000000000deadbeef"

// open connects without closing.
func open(t *testing.T, options docker.Options) *docker.Engine {
	t.Helper()
	options.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	engine, err := docker.New(t.Context(), options)
	if err != nil {
		t.Fatalf("New(): %v", err)
	}
	return engine
}

// rig is an engine, and a small hardened container that runs a script on it.
func rig(t *testing.T) (*docker.Engine, func(script string) container.Spec) {
	t.Helper()
	engine := containertest.RequireDocker(t)
	image, gateway := containertest.RequireImage(t, engine), containertest.Gateway(t, engine)
	return engine, func(script string) container.Spec {
		spec := containertest.Spec(image.ID, gateway, "/bin/sh", "-c", script)
		spec.KeepLogs = true
		return spec
	}
}

func indented(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// inspect returns what the engine made of a container.
func inspect(ctx context.Context, t *testing.T, engine *docker.Engine, c container.Container) (config, host map[string]any, mounts []api.MountPoint) {
	t.Helper()
	found, raw, err := engine.Client().ContainerInspectWithRaw(ctx, c.ID(), false)
	if err != nil {
		t.Fatal(err)
	}
	var text struct{ Config, HostConfig map[string]any }
	if err := json.Unmarshal(raw, &text); err != nil {
		t.Fatal(err)
	}
	return text.Config, text.HostConfig, found.Mounts
}

package containertest

import (
	"log/slog"
	"os"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/docker"
)

// RequireDocker connects to the Docker engine for the time of a test. Without
// one the test is skipped, but fails where ATTUNE_REQUIRE_DOCKER or CI is set.
func RequireDocker(t testing.TB) *docker.Engine {
	t.Helper()
	engine, err := docker.New(t.Context(), docker.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		missing(t, "NO DOCKER ENGINE, so this is not tested: start one, or set DOCKER_HOST: %v", err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close docker engine: %v", err)
		}
	})
	return engine
}

// RequireImage returns the first image of the product that the engine has, or
// ATTUNE_TEST_IMAGE. Nothing is pulled.
func RequireImage(t testing.TB, engine container.Engine) container.Image {
	t.Helper()
	refs := []string{"attune/base", "attune/shell", "attune/python", "attune/full"}
	if ref := os.Getenv("ATTUNE_TEST_IMAGE"); ref != "" {
		refs = []string{ref}
	}
	for _, ref := range refs {
		if image, err := engine.Image(t.Context(), ref); err == nil {
			return image
		}
	}
	missing(t, "NO TEST IMAGE, so this is not tested: build one of %q, or set ATTUNE_TEST_IMAGE", refs)
	return container.Image{}
}

// RequireImages skips a test, loudly, where the engine lacks one of the images;
// it fails where ATTUNE_REQUIRE_DOCKER or CI is set.
func RequireImages(t testing.TB, engine container.Engine, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		if _, err := engine.Image(t.Context(), ref); err != nil {
			missing(t, "NO IMAGE %s, so this is not tested: %v", ref, err)
		}
	}
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("ATTUNE_REQUIRE_DOCKER") != "" || os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

package docker_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/runtimes/container/docker"
	"attune/tests/kit"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/volume"
)

// ownMounts are those of a gateway's container.
var ownMounts = []api.MountPoint{
	{Type: mount.TypeVolume, Name: "runtime_envs", Source: "/var/lib/docker/volumes/runtime_envs/_data", Destination: "/opt/attune/runtime_envs"},
	{Type: mount.TypeBind, Source: "/home/ada/packs", Destination: "/opt/attune/packs"},
	{Type: mount.TypeBind, Source: "/home/ada/other", Destination: "/opt/attune/packs/other/"},
	{Type: mount.TypeTmpfs, Destination: "/tmp"},
	{Type: mount.TypeVolume, Name: "remote", Destination: "/mnt/remote"},
}

func TestTranslate(t *testing.T) {
	t.Parallel()
	sources := []string{
		"/opt/attune/runtime_envs/.store/0123", // a directory of a volume
		"/opt/attune/runtime_envs",             // all of it
		"/opt/attune/packs/p",                  // a directory of the host
		"/opt/attune/packs/other/actions",      // the innermost mount wins
		"/opt/attune/packs/others",             // a name is no prefix
	}
	var mounts []container.Mount
	for n, source := range sources {
		mounts = append(mounts, container.Mount{Source: source, Target: fmt.Sprint("/", n), ReadOnly: n%2 == 0})
	}
	for name, paths := range map[string]docker.Paths{
		"mounts-host.json":     {},
		"mounts-api-1.41.json": {Contained: true, Mounts: ownMounts},
		"mounts-api-1.45.json": {Contained: true, Mounts: ownMounts, Subpath: true},
	} {
		got, err := docker.Translate(paths, mounts...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		kit.Golden(t, name, append(got, '\n'))
	}
}

func TestTranslateRefuses(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"/srv/packs":       "/srv/packs is in no mount of the gateway's own container gateway",
		"/opt/attune":      "/opt/attune is in no mount of the gateway's own container gateway",
		"/tmp/run":         "/tmp/run is in the tmpfs at /tmp of the gateway's own container gateway",
		"/mnt/remote/.run": "/mnt/remote/.run is in the volume at /mnt/remote of the gateway's own container gateway",
	} {
		_, err := docker.Translate(docker.Paths{Contained: true, Mounts: ownMounts}, container.Mount{Source: source, Target: "/x"})
		if !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("Translate(%s) = %v, want %s…", source, err, want)
		}
	}
}

// A gateway in a container shares a directory of its volume. What it must never
// share is the whole volume, which is what an engine below API 1.45 makes of a
// subpath, without a word.
func TestOnlyTheVolumesDirectoryIsShared(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	name, root := newVolume(t, engine)
	for _, file := range []string{filepath.Join(root, "mine", "a"), filepath.Join(root, "theirs", "b")} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The volume as the gateway sees it is another path than as the engine does.
	seen := t.TempDir()
	if err := os.Mkdir(filepath.Join(seen, "mine"), 0o755); err != nil {
		t.Fatal(err)
	}
	info, err := engine.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	engine.SetPaths(docker.Paths{Contained: true, Subpath: info.SubpathMounts, Mounts: []api.MountPoint{
		{Type: mount.TypeVolume, Name: name, Source: root, Destination: seen},
	}})
	s := spec("ls /shared && ! touch /shared/c 2>/dev/null")
	s.Mounts = []container.Mount{{Source: filepath.Join(seen, "mine"), Target: "/shared", ReadOnly: true}}
	if exit, output := containertest.Run(t, engine, s); exit.Code != 0 || output != "a\n" {
		t.Errorf("exit %+v, the container sees %q, want only a", exit, output)
	}
	if path, err := engine.VolumePath(t.Context(), name); err != nil || path != seen {
		t.Errorf("VolumePath() = %s, %v; want %s", path, err, seen)
	}
	if path, err := engine.VolumePath(t.Context(), "other"); err == nil {
		t.Errorf("VolumePath() of a volume that is not mounted = %s", path)
	}
}

// newVolume lets the engine under test create a volume.
func newVolume(t *testing.T, engine *docker.Engine) (name, root string) {
	t.Helper()
	name = containertest.Gateway(t, engine)
	t.Cleanup(func() {
		if err := engine.Client().VolumeRemove(context.WithoutCancel(t.Context()), name, true); err != nil {
			t.Errorf("remove volume: %v", err)
		}
	})
	root, err := engine.VolumePath(t.Context(), name)
	if err != nil {
		t.Skipf("the engine's volumes are out of reach here: %v", err)
	}
	if again, err := engine.VolumePath(t.Context(), name); err != nil || again != root {
		t.Errorf("VolumePath() again = %s, %v; want %s", again, err, root)
	}
	return name, root
}

func TestVolumePathRefuses(t *testing.T) {
	t.Parallel()
	engine := containertest.RequireDocker(t)
	name := containertest.Gateway(t, engine)
	_, err := engine.Client().VolumeCreate(t.Context(), volume.CreateOptions{
		Name: name, DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Client().VolumeRemove(context.WithoutCancel(t.Context()), name, true); err != nil {
			t.Errorf("remove volume: %v", err)
		}
	})
	if path, err := engine.VolumePath(t.Context(), name); err == nil {
		t.Errorf("VolumePath() of a file system that nobody mounts = %s", path)
	}
}

package tests

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// smallDisk puts the environments of a home on a file system of their own, until
// the test ends. Only root may mount one, and the engine has to see it.
func (h home) smallDisk(t testing.TB, options string) {
	t.Helper()
	containertest.RequireDocker(t)
	if err := os.MkdirAll(h.envs, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("attune-test", h.envs, "tmpfs", syscall.MS_NODEV|syscall.MS_NOSUID, options+",mode=755"); err != nil {
		lacking(t, "mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.envs, 0); err != nil {
			t.Errorf("unmount %s: %v", h.envs, err)
			syscall.Unmount(h.envs, syscall.MNT_DETACH) // or it would outlive the tests
		}
	})
	write(t, filepath.Join(h.envs, "seen"), "", 0o644)
	seen := dockerLines(t, "run", "--rm", "--network", "none", "-v", h.envs+":/envs:ro", "attune/shell", "sh", "-c", "[ ! -e /envs/seen ] || echo seen")
	if len(seen) == 0 {
		lacking(t, "the engine does not see what is mounted here: it is in another mount namespace")
	}
	if err := os.Remove(filepath.Join(h.envs, "seen")); err != nil {
		t.Fatal(err)
	}
}

// lacking skips a test that this machine can't run, and fails it where all must.
func lacking(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// usage is what a file system has left.
func (h home) usage(t testing.TB) (free, files int64) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(h.envs, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize, int64(fs.Ffree)
}

const mib = 1 << 20

// fill leaves so much space on the environments' file system, and returns how to
// give the rest back.
func (h home) fill(t testing.TB, leave int64) (empty func()) {
	t.Helper()
	free, _ := h.usage(t)
	path := filepath.Join(h.envs, "ballast")
	write(t, path, strings.Repeat("x", int(free-leave)), 0o644)
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// fillFiles takes all inodes.
func (h home) fillFiles(t testing.TB) (empty func()) {
	t.Helper()
	dir := filepath.Join(h.envs, "ballast")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		file, err := os.Create(filepath.Join(dir, fmt.Sprint(n)))
		if errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		file.Close() // it is empty
	}
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	}
}

// TestBuildThatFillsTheDisk: bytes, or inodes. It fails with a word about space,
// others are served, and all that it took is given back.
func TestBuildThatFillsTheDisk(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]struct{ options, greedy string }{
		"bytes":  {"size=64m", "head -c 100000000 /dev/zero >\"$1/big\"\n"},
		"inodes": {"size=64m,nr_inodes=200", "for n in $(seq 300); do echo >\"$1/$n\"; done\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			h.smallDisk(t, disk.options)
			modest := h.scriptedPack(t, "disk_modest_"+name, built)
			greedy := h.scriptedPack(t, "disk_greedy_"+name, "[ -e \"$2/mended\" ] || {\n"+disk.greedy+"}\n"+built)
			g := h.start(t, h.scripted(t), "ATTUNE__BUILD__FREE_SPACE=1MiB")
			modest.serves(t, g)
			free, files := h.usage(t)
			since := time.Now()
			a := g.invoke(t, greedy.ref+".run", "{}")
			a.refuses(t, 503, "environment-failed", "the installer failed with exit code 1")
			if log := a.problem(t).Log; !strings.Contains(log, "No space left on device") {
				t.Errorf("log = %q, want the reason", log)
			}
			modest.serves(t, g)
			h.atRest(t, nil, g)
			if left, leftFiles := h.usage(t); left < free-mib || leftFiles < files-20 {
				t.Errorf("%d bytes and %d inodes are free after the failure, want nearly the %d and %d of before", left, leftFiles, free, files)
			}
			if published := h.generations(t); len(published) != 1 {
				t.Errorf("published are %v, want the modest one alone", published)
			}
			failed := builtAt(t, greedy, since)
			greedy.open(t, "mended")
			g.retries(t, greedy, 20*time.Second)
			greedy.backedOff(t, since, failed, 4*time.Second, 2)
		})
	}
}

// TestFullDiskRefusesBuildsUntilThereIsSpace: nothing is begun that can't end
// well, and nobody has to tell the gateway when it can.
func TestFullDiskRefusesBuildsUntilThereIsSpace(t *testing.T) {
	t.Parallel()
	for name, disk := range map[string]struct {
		options string
		fill    func(home, testing.TB) (empty func())
	}{
		"less than free_space": {"size=64m", func(h home, t testing.TB) func() { return h.fill(t, 30*mib) }},
		"no byte":              {"size=64m", func(h home, t testing.TB) func() { return h.fill(t, 0) }},
		"no inode":             {"size=64m,nr_inodes=200", home.fillFiles},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, "shell_example")
			h.smallDisk(t, disk.options)
			ready := h.scriptedPack(t, "full_ready", built)
			p := h.scriptedPack(t, "full_"+strings.ReplaceAll(name, " ", "_"), built)
			g := h.start(t, h.scripted(t), "ATTUNE__BUILD__FREE_SPACE=40MiB")
			ready.serves(t, g)
			empty := disk.fill(h, t)
			since := time.Now()
			for range 3 {
				g.invoke(t, p.ref+".run", "{}").refuses(t, 507, "environment-storage-full", "there is not enough free space")
			}
			ready.serves(t, g)
			if got := builds(t, since, p.ref); got != 0 {
				t.Errorf("%d builders on a full disk, want none", got)
			}
			h.atRest(t, nil, g)
			empty()
			p.serves(t, g)
			p.builtOnce(t, since)
			h.atRest(t, nil, g)
		})
	}
}

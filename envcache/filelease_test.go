package envcache_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"attune/envcache"
	"attune/envcache/leasetest"
)

// I14: all kinds of leases pass one suite.
func TestI14FileLeaserConforms(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".locks")
	newLeaser := func(*testing.T) envcache.Leaser { return envcache.NewFileLeaser(dir) }
	leasetest.Exercise(t, newLeaser, leasetest.Options{Address: dir})
}

func TestFileLeaseLeavesItsFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".locks")
	lease, err := envcache.NewFileLeaser(dir).Acquire(t.Context(), "a.b", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(dir, "a.b.lock"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("Lstat(a.b.lock) = %v, %v, want a file of mode 0600", info, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("Stat(.locks) = %v, %v, want mode 0700", info, err)
	}
}

func TestFileLeaserRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	for name, plant := range map[string]func(path string) error{
		"symlink":   func(path string) error { return os.Symlink(target, path) },
		"fifo":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		if err := plant(filepath.Join(dir, name+".lock")); err != nil {
			t.Fatal(err)
		}
		lease, err := envcache.NewFileLeaser(dir).Acquire(t.Context(), name, time.Second)
		if err == nil || errors.Is(err, envcache.ErrLeaseTaken) {
			t.Errorf("Acquire on a %s = %v, %v", name, lease, err)
		}
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("Acquire made a file behind a symlink")
	}
}

func TestFileLeaserMakesNoParents(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone", ".locks")
	if lease, err := envcache.NewFileLeaser(dir).Acquire(t.Context(), "a", time.Second); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Acquire in a missing volume = %v, %v", lease, err)
	}
}

// A child that outlives its parent's lease must not keep it.
func TestFileLeaseIsNotInherited(t *testing.T) {
	t.Parallel()
	leaser := envcache.NewFileLeaser(t.TempDir())
	lease, err := leaser.Acquire(t.Context(), "a", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	child := startCat(t)
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := leaser.Acquire(t.Context(), "a", time.Second)
	if err != nil {
		t.Fatalf("Acquire while a child (%d) lives: error = %v", child, err)
	}
	if err := again.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// startCat starts a child that lives until the test ends.
func startCat(t *testing.T) (pid int) {
	t.Helper()
	child := exec.Command("cat")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), child.Wait()); err != nil {
			t.Error(err)
		}
	})
	return child.Process.Pid
}

func BenchmarkFileLease(b *testing.B) {
	leaser := envcache.NewFileLeaser(b.TempDir())
	for b.Loop() {
		lease, err := leaser.Acquire(b.Context(), "a", time.Second)
		if err != nil {
			b.Fatal(err)
		}
		if err := lease.Release(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Whoever was there first must be us.
func TestPrivateInMemory(t *testing.T) {
	t.Parallel()
	if _, err := privateInMemory(t.TempDir(), "x"); err == nil && !onTmpfs(t, t.TempDir()) {
		t.Error("a disk was taken for memory")
	}
	const base = "/dev/shm"
	if !onTmpfs(t, base) {
		t.Skip(base + " is no tmpfs here")
	}
	name := func(suffix string) string {
		return "attune-test-" + filepath.Base(t.TempDir()) + suffix + filepath.Base(os.Args[0])
	}
	mine, open, link := name("a"), name("b"), name("c")
	for _, made := range []string{mine, open, link} {
		t.Cleanup(func() { os.RemoveAll(filepath.Join(base, made)) })
	}
	for range 2 {
		if dir, err := privateInMemory(base, mine); err != nil || dir != filepath.Join(base, mine) {
			t.Errorf("privateInMemory() = %q, %v", dir, err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(base, open), 0o755), os.Symlink(base, filepath.Join(base, link))); err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []string{open, link} {
		if dir, err := privateInMemory(base, foreign); !errors.Is(err, syscall.EPERM) {
			t.Errorf("privateInMemory(%s) = %q, %v, want EPERM", foreign, dir, err)
		}
	}
}

func onTmpfs(t *testing.T, dir string) bool {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Type == unix.TMPFS_MAGIC
}

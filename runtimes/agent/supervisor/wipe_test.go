package supervisor

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestWipe(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "outside")
	script := []error{
		os.WriteFile(outside, nil, 0o600),
		os.Symlink(outside, filepath.Join(dir, "file")),
		os.Symlink(filepath.Dir(outside), filepath.Join(dir, "dir")),
		os.Symlink(".", filepath.Join(dir, "self")),
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.MkdirAll(filepath.Join(dir, "a", "b", "c"), 0o700),
		os.WriteFile(filepath.Join(dir, "a", "b", "c", "f"), nil, 0),
		os.Symlink(filepath.Dir(outside), filepath.Join(dir, "a", "b", "dir")),
		os.Chmod(filepath.Join(dir, "a", "b", "c"), 0),
		os.Chmod(filepath.Join(dir, "a", "b"), 0),
		os.Chmod(filepath.Join(dir, "a"), 0),
	}
	for i := range 3 * batch {
		script = append(script, os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0))
	}
	for _, err := range script {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := wipe(dir, 0, time.Now().Add(time.Minute)); err != nil {
		t.Fatalf("wipe() = %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("wipe() left %v, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("wipe() followed a symlink: %v", err)
	}
}

// A tree deeper than any path, stack or table of descriptors.
func TestWipeDeepTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		if err := root.Mkdir("d", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := root.OpenRoot("d")
		if err != nil {
			t.Fatal(err)
		}
		root.Close()
		root = next
	}
	root.Close()
	if err := wipe(dir, 0, time.Now().Add(time.Minute)); err != nil {
		t.Fatalf("wipe() = %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("wipe() left %v, %v", left, err)
	}
}

func TestWipeGivesUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := wipe(dir, 0, time.Now().Add(-time.Second)); err == nil {
		t.Error("wipe() beyond its limit = nil error")
	}
	if err := wipe(filepath.Join(dir, "missing"), 0, time.Now()); err != nil {
		t.Errorf("wipe() of what does not exist = %v", err)
	}
}

package runtimes

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func writeFile(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestInstallFileOnceForAll(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "built")
	writeFile(t, source, "content", 0o700)
	dir := filepath.Join(t.TempDir(), "volume", ".bin")
	places := make([]string, 20)
	var gateways sync.WaitGroup
	for i := range places {
		gateways.Go(func() {
			place, err := InstallFile(dir, source, "agent", 0o555)
			if err != nil {
				t.Errorf("InstallFile() error = %v", err)
			}
			places[i] = place
		})
	}
	gateways.Wait()
	for _, place := range places {
		if place != places[0] {
			t.Fatalf("places = %q", places)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%s holds %v, %v, want one copy", dir, left, err)
	}
	file := filepath.Join(places[0], "agent")
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o555 {
		t.Errorf("Stat() = %v, %v", info, err)
	}
	if parent, err := os.Stat(places[0]); err != nil || parent.Mode().Perm() != 0o755 {
		t.Errorf("Stat() of the directory = %v, %v", parent, err)
	}
	content, err := os.ReadFile(file)
	if err != nil || string(content) != "content" {
		t.Errorf("content = %q, %v", content, err)
	}
}

func TestInstallFileKeepsOldContent(t *testing.T) {
	t.Parallel()
	source, dir := filepath.Join(t.TempDir(), "built"), t.TempDir()
	writeFile(t, source, "one", 0o600)
	first, err := InstallFile(dir, source, "f", 0o444)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, source, "two", 0o600)
	second, err := InstallFile(dir, source, "f", 0o444)
	if err != nil || second == first {
		t.Errorf("InstallFile() of other content = %s, %v", second, err)
	}
	if content, err := os.ReadFile(filepath.Join(first, "f")); err != nil || string(content) != "one" {
		t.Errorf("the first copy is %q, %v", content, err)
	}
}

func TestInstallFileWithoutASource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if place, err := InstallFile(dir, filepath.Join(dir, "missing"), "f", 0o444); !os.IsNotExist(err) {
		t.Errorf("InstallFile() = %s, %v", place, err)
	}
}

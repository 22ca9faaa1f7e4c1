package containertest

import (
	"os"
	"path/filepath"
	"testing"

	"attune/runtimes/container"
)

func exerciseMounts(t *testing.T, b *bench) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("shared\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Run("a directory at its own path", func(t *testing.T) {
		spec := b.spec("cat " + dir + "/file")
		spec.Mounts = []container.Mount{{Source: dir, Target: dir, ReadOnly: true}}
		if _, output := Run(t, b.engine, spec); output != "shared\n" {
			t.Errorf("output = %q", output)
		}
	})
	t.Run("a missing source is refused and not created", func(t *testing.T) {
		missing := filepath.Join(dir, "missing")
		spec := b.spec("true")
		spec.Mounts = []container.Mount{{Source: missing, Target: missing}}
		if _, err := b.engine.Create(t.Context(), spec); err == nil {
			t.Error("Create() = nil, want an error")
		}
		if _, err := os.Lstat(missing); !os.IsNotExist(err) {
			t.Errorf("the source was created: %v", err)
		}
	})
	t.Run("a symbolic link is refused as a source", func(t *testing.T) {
		link := filepath.Join(dir, "evil")
		if err := os.Symlink("/etc", link); err != nil {
			t.Fatal(err)
		}
		spec := b.spec("true")
		spec.Mounts = []container.Mount{{Source: link, Target: link}}
		if _, err := b.engine.Create(t.Context(), spec); err == nil {
			t.Error("Create() = nil, want an error")
		}
	})
}

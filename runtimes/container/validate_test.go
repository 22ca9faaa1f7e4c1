package container_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes/container"
)

func valid() container.Spec {
	return container.Spec{
		Image: "sha256:1", Entrypoint: []string{"/bin/true"}, User: "1:1", Dir: "/", Network: container.NetworkNone,
		Limits: container.Limits{Memory: 1, CPU: 1, Pids: 1, NoFile: 1, FileSize: 1},
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := valid().Validate(); err != nil {
		t.Fatalf("Validate() of a valid spec: %v", err)
	}
	for want, change := range map[string]func(*container.Spec){
		"is not an image ID":       func(s *container.Spec) { s.Image = "python:3.13" },
		"begin with an absolute":   func(s *container.Spec) { s.Entrypoint = []string{"sh"} },
		"is not uid:gid":           func(s *container.Spec) { s.User = "root" },
		"is not absolute":          func(s *container.Spec) { s.Dir = "" },
		"network \"host\"":         func(s *container.Spec) { s.Network = "host" },
		"is not KEY=value":         func(s *container.Spec) { s.Env = []string{"PATH"} },
		"source \"a\" is not":      func(s *container.Spec) { s.Mounts = []container.Mount{{Source: "a", Target: "/a"}} },
		"target \"/\" is not":      func(s *container.Spec) { s.Mounts = []container.Mount{{Source: "/a", Target: "/"}} },
		"target \"/a/../b\" is":    func(s *container.Spec) { s.Mounts = []container.Mount{{Source: "/a", Target: "/a/../b"}} },
		"is used twice":            func(s *container.Spec) { s.Tmpfs = []container.Tmpfs{{Path: "/t", Size: 1}, {Path: "/t", Size: 1}} },
		"contains a separator":     func(s *container.Spec) { s.Tmpfs = []container.Tmpfs{{Path: "/t:exec", Size: 1}} },
		"tmpfs /t has no size":     func(s *container.Spec) { s.Tmpfs = []container.Tmpfs{{Path: "/t"}} },
		"no memory limit":          func(s *container.Spec) { s.Limits.Memory = 0 },
		"no CPU limit":             func(s *container.Spec) { s.Limits.CPU = 0 },
		"no limit of processes":    func(s *container.Spec) { s.Limits.Pids = -1 },
		"no limit of open files":   func(s *container.Spec) { s.Limits.NoFile = 0 },
		"no limit of file size":    func(s *container.Spec) { s.Limits.FileSize = 0 },
		"14 errors occurred":       func(s *container.Spec) { *s = container.Spec{Env: []string{"A", "=b"}, Tmpfs: []container.Tmpfs{{}}} },
		"variable \"=b\" is not K": func(s *container.Spec) { s.Env = []string{"=b"} },
	} {
		spec := valid()
		change(&spec)
		if err := spec.Validate(); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("Validate() = %v, want %q", err, want)
		}
	}
}

func TestCheckSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "evil")
	if err := os.Symlink("/etc", link); err != nil {
		t.Fatal(err)
	}
	if err := container.CheckSources([]container.Mount{{Source: dir}}); err != nil {
		t.Errorf("a directory: %v", err)
	}
	if err := container.CheckSources([]container.Mount{{Source: dir}, {Source: link}}); err == nil {
		t.Error("a symbolic link is accepted")
	}
	if err := container.CheckSources([]container.Mount{{Source: filepath.Join(dir, "none")}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing source: %v", err)
	}
}

func TestEnded(t *testing.T) {
	t.Parallel()
	if err := container.Ended(t.Context()); err != nil {
		t.Errorf("Ended() of a live context = %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the client left")
	cancel(cause)
	if err := container.Ended(ctx); !errors.Is(err, cause) || !errors.Is(err, context.Canceled) {
		t.Errorf("Ended() = %v, want the error and its cause", err)
	}
}

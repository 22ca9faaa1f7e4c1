package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/hashicorp/go-multierror"
)

var numericUser = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

// Validate reports every fault of a Spec. Adapters call it before they create.
func (s Spec) Validate() error {
	var faults *multierror.Error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			faults = multierror.Append(faults, fmt.Errorf(format, args...))
		}
	}
	must(strings.HasPrefix(s.Image, "sha256:"), "image %q is not an image ID", s.Image)
	must(len(s.Entrypoint) > 0 && path.IsAbs(s.Entrypoint[0]), "entrypoint %q does not begin with an absolute path", s.Entrypoint)
	must(numericUser.MatchString(s.User), "user %q is not uid:gid", s.User)
	must(path.IsAbs(s.Dir), "directory %q is not absolute", s.Dir)
	must(s.Network == NetworkNone || s.Network == NetworkOutbound, "network %q is unknown", s.Network)
	for _, v := range s.Env {
		must(strings.Index(v, "=") > 0, "variable %q is not KEY=value", v)
	}
	s.validatePaths(must)
	must(s.Limits.Memory > 0, "no memory limit")
	must(s.Limits.CPU > 0, "no CPU limit")
	must(s.Limits.Pids > 0, "no limit of processes")
	must(s.Limits.NoFile > 0, "no limit of open files")
	must(s.Limits.FileSize > 0, "no limit of file size")
	return faults.ErrorOrNil()
}

func (s Spec) validatePaths(must func(ok bool, format string, args ...any)) {
	taken := make(map[string]bool)
	target := func(p string) {
		must(path.IsAbs(p) && path.Clean(p) == p && p != "/", "target %q is not a clean absolute path", p)
		must(!taken[p], "target %q is used twice", p)
		taken[p] = true
	}
	for _, m := range s.Mounts {
		must(path.IsAbs(m.Source) && path.Clean(m.Source) == m.Source, "source %q is not a clean absolute path", m.Source)
		target(m.Target)
	}
	for _, t := range s.Tmpfs {
		target(t.Path)
		must(!strings.ContainsAny(t.Path, ":,"), "tmpfs path %q contains a separator", t.Path)
		must(t.Size > 0, "tmpfs %s has no size", t.Path)
	}
}

// CheckSources looks at the sources of mounts where the gateway sees them: each
// must exist and be no symbolic link. It is the second wall, after whoever chose
// the path, and not proof against a change afterwards.
func CheckSources(mounts []Mount) error {
	for _, m := range mounts {
		info, err := os.Lstat(m.Source)
		if err != nil {
			return fmt.Errorf("mount source: %w", err)
		}
		if info.Mode()&os.ModeSymlink != 0 {
			return fmt.Errorf("mount source %s is a symbolic link", m.Source)
		}
	}
	return nil
}

// Ended is the error of an operation whose ctx has ended; nil if it has not.
func Ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

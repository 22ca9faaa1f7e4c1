package docker

import (
	"fmt"
	"path"
	"strings"

	"attune/runtimes/container"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// paths translates what the gateway sees into what the engine sees.
type paths struct {
	self    *self // the gateway's own container; nil = it runs on the engine's machine
	subpath bool  // the engine mounts directories of volumes
}

// self is the container in which the gateway runs.
type self struct {
	name   string
	mounts []api.MountPoint
}

// translate is pure.
func (p paths) translate(mounts []container.Mount) ([]mount.Mount, error) {
	var translated []mount.Mount
	for _, m := range mounts {
		t, err := p.source(m.Source)
		if err != nil {
			return nil, err
		}
		t.Target, t.ReadOnly = m.Target, m.ReadOnly
		translated = append(translated, t)
	}
	return translated, nil
}

func (p paths) source(source string) (mount.Mount, error) {
	if p.self == nil {
		return bind(source), nil
	}
	own, rest, ok := p.self.holder(source)
	if !ok {
		return mount.Mount{}, fmt.Errorf("%s is in no mount of the gateway's own container %s, so the engine can't see it: "+
			"start that container with a volume or a directory of the host mounted at %s or above", source, p.self.name, source)
	}
	switch {
	case own.Type == mount.TypeBind:
		return bind(path.Join(own.Source, rest)), nil
	case own.Type == mount.TypeVolume && p.subpath:
		return volume(own.Name, rest), nil
	case own.Type == mount.TypeVolume && own.Source != "":
		// An engine without subpaths ignores one silently, and would show the
		// whole volume with every environment in it.
		return bind(path.Join(own.Source, rest)), nil
	}
	return mount.Mount{}, fmt.Errorf("%s is in the %s at %s of the gateway's own container %s, which other containers can't share: "+
		"mount a volume or a directory of the host there", source, own.Type, own.Destination, p.self.name)
}

// holder finds the innermost mount that a path is in, and the path below it.
func (s *self) holder(source string) (own api.MountPoint, rest string, ok bool) {
	for _, m := range s.mounts {
		below, inside := relative(path.Clean(m.Destination), source)
		if inside && (!ok || len(m.Destination) > len(own.Destination)) {
			own, rest, ok = m, below, true
		}
	}
	return own, rest, ok
}

func relative(dir, name string) (rest string, inside bool) {
	if name == dir {
		return "", true
	}
	return strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// bind shares a directory of the engine's machine. File systems mounted below
// it are left out, because before Linux 5.12 read-only would not reach them. The
// propagation is left to the engine: it takes rprivate, and rslave in its own
// directory, where the volumes are and where it refuses anything else.
func bind(source string) mount.Mount {
	return mount.Mount{
		Type:        mount.TypeBind,
		Source:      source,
		BindOptions: &mount.BindOptions{NonRecursive: true},
	}
}

func volume(name, rest string) mount.Mount {
	return mount.Mount{
		Type:          mount.TypeVolume,
		Source:        name,
		VolumeOptions: &mount.VolumeOptions{NoCopy: true, Subpath: rest},
	}
}

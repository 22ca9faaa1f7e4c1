package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/mount"
	volumes "github.com/docker/docker/api/types/volume"
)

// VolumePath returns where the gateway sees the volume of that name. On the
// engine's machine the volume is created if there is none; a gateway in a
// container must have it mounted.
func (e *Engine) VolumePath(ctx context.Context, name string) (string, error) {
	if self := e.paths.self; self != nil {
		return self.volumePath(name)
	}
	if host := e.client.DaemonHost(); !strings.HasPrefix(host, "unix://") {
		return "", fmt.Errorf("volume %s is on the machine of the engine at %s: configure a directory, or run the gateway there", name, host)
	}
	found, err := e.volume(ctx, name)
	if err != nil {
		return "", fmt.Errorf("find volume %s: %w", name, portError(ctx, err, nil))
	}
	return found.Mountpoint, usable(found)
}

// Shares tells whether containers can be shown what the gateway sees at a path;
// nil if they can.
func (e *Engine) Shares(path string) error {
	if host := e.client.DaemonHost(); e.paths.self == nil && !strings.HasPrefix(host, "unix://") {
		return fmt.Errorf("%s is not on the machine of the engine at %s", path, host)
	}
	_, err := e.paths.source(path)
	return err
}

func (s *self) volumePath(name string) (string, error) {
	for _, m := range s.mounts {
		if m.Type == mount.TypeVolume && m.Name == name {
			return m.Destination, nil
		}
	}
	return "", fmt.Errorf("volume %s is not mounted in the gateway's own container %s: mount it there", name, s.name)
}

func (e *Engine) volume(ctx context.Context, name string) (volumes.Volume, error) {
	found, err := e.client.VolumeInspect(ctx, name)
	if errdefs.IsNotFound(err) {
		return e.client.VolumeCreate(ctx, volumes.CreateOptions{Name: name})
	}
	return found, err
}

// usable says why a volume's directory can't be worked with, and what helps.
func usable(v volumes.Volume) error {
	if v.Mountpoint == "" {
		return fmt.Errorf("volume %s has no directory on this machine (driver %s): configure a directory, or run the gateway in a container with the volume mounted", v.Name, v.Driver)
	}
	_, err := os.ReadDir(v.Mountpoint)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("volume %s is not on this machine, so the engine runs in a virtual machine or elsewhere: run the gateway in a container with the volume mounted, or configure a directory: %w", v.Name, err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("volume %s can only be read by root: run the gateway as root or in a container with the volume mounted, or configure a directory: %w", v.Name, err)
	case err != nil:
		return fmt.Errorf("read volume %s: %w", v.Name, err)
	case v.Options["device"] != "":
		return fmt.Errorf("volume %s is a file system of its own, so its directory is empty while no container mounts it: run the gateway in a container with the volume mounted", v.Name)
	}
	return nil
}

package docker

import (
	"context"
	"encoding/json"

	"attune/runtimes/container"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
)

// Client gives tests what the port has not.
func (e *Engine) Client() *client.Client { return e.client }

// Request returns what a spec becomes for the engine's API.
func Request(spec container.Spec, p Paths, volumes, envKeys []string) ([]byte, error) {
	mounts, err := p.paths().translate(spec.Mounts)
	if err != nil {
		return nil, err
	}
	r := convert(spec, mounts, imageFacts{volumes: volumes, envKeys: envKeys})
	return json.MarshalIndent(api.CreateRequest{Config: r.config, HostConfig: r.host}, "", "  ")
}

// Paths is how a test describes the gateway's own container.
type Paths struct {
	Contained bool
	Mounts    []api.MountPoint
	Subpath   bool
}

func (p Paths) paths() paths {
	if !p.Contained {
		return paths{subpath: p.Subpath}
	}
	return paths{self: &self{name: "gateway", mounts: p.Mounts}, subpath: p.Subpath}
}

// Translate returns mounts as the engine's API wants them.
func Translate(p Paths, mounts ...container.Mount) ([]byte, error) {
	translated, err := p.paths().translate(mounts)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(translated, "", "  ")
}

// SetPaths lets an engine believe that the gateway is in a container.
func (e *Engine) SetPaths(p Paths) { e.paths = p.paths() }

// Recognize finds the container whose inside looks like this; "" if it is in none.
func (e *Engine) Recognize(ctx context.Context, mountinfo, cgroup, hostname string) (string, []api.MountPoint, error) {
	found, err := e.recognize(ctx, surroundings{parseMounts(mountinfo), cgroup, hostname})
	if found == nil {
		return "", nil, err
	}
	return found.name, found.mounts, err
}

// Candidates are the names that a container's inside suggests.
func Candidates(mountinfo, cgroup, hostname string) []string {
	return surroundings{parseMounts(mountinfo), cgroup, hostname}.candidates()
}

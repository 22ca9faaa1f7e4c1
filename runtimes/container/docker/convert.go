package docker

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"attune/runtimes/container"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

// request is a container as the engine's API wants it.
type request struct {
	config *api.Config
	host   *api.HostConfig
}

// convert is pure: everything that is decided about a container is in its
// arguments or written here, and golden files show the result.
func convert(spec container.Spec, mounts []mount.Mount, image imageFacts) request {
	return request{
		config: &api.Config{
			Image:       spec.Image,
			Entrypoint:  spec.Entrypoint,
			User:        spec.User,
			WorkingDir:  spec.Dir,
			Env:         environment(spec.Env, image.envKeys),
			Labels:      maps.Clone(spec.Labels),
			Healthcheck: &api.HealthConfig{Test: []string{"NONE"}},
		},
		host: &api.HostConfig{
			Mounts:      mounts,
			Tmpfs:       tmpfs(spec.Tmpfs, spec.User),
			NetworkMode: networkMode(spec.Network),
			LogConfig:   logConfig(spec.KeepLogs),
			Runtime:     spec.Runtime,
			CapAdd:      spec.CapAdd,
			Resources:   resources(spec.Limits),

			// The same for every container. MaskedPaths and ReadonlyPaths stay
			// nil: that means the engine's defaults, where an empty list means none.
			ReadonlyRootfs: true,
			CapDrop:        []string{"ALL"},
			SecurityOpt:    []string{"no-new-privileges"},
			IpcMode:        api.IPCModeNone,
			CgroupnsMode:   api.CgroupnsModePrivate,
			RestartPolicy:  api.RestartPolicy{Name: api.RestartPolicyDisabled},
			OomScoreAdj:    500,
			Init:           new(bool),
		},
	}
}

// environment makes the container's variables exactly those of the spec. The
// engine adds PATH, HOSTNAME and whatever the image declares, unless a bare key
// says that there shall be no such variable.
func environment(env, imageKeys []string) []string {
	set := make(map[string]bool)
	for _, variable := range env {
		key, _, _ := strings.Cut(variable, "=")
		set[key] = true
	}
	exact := slices.Clone(env)
	for _, key := range append([]string{"HOSTNAME", "PATH"}, imageKeys...) {
		if !set[key] {
			set[key] = true
			exact = append(exact, key)
		}
	}
	return exact
}

// tmpfs is not part of the mounts because there older engines can't limit inodes.
func tmpfs(list []container.Tmpfs, user string) map[string]string {
	options := make(map[string]string)
	for _, t := range list {
		exec := "noexec"
		if t.Exec {
			exec = "exec"
		}
		o := fmt.Sprintf("rw,nosuid,nodev,%s,size=%d,mode=%o", exec, t.Size, t.Mode)
		if t.Mode == 0 {
			// A mode alone would not do: where it covers a directory, runc gives it that one's.
			uid, gid, _ := strings.Cut(user, ":")
			o = fmt.Sprintf("rw,nosuid,nodev,%s,size=%d,mode=700,uid=%s,gid=%s", exec, t.Size, uid, gid)
		}
		if t.Inodes > 0 {
			o += fmt.Sprintf(",nr_inodes=%d", t.Inodes)
		}
		options[t.Path] = o
	}
	return options
}

func networkMode(n container.Network) api.NetworkMode {
	if n == container.NetworkOutbound {
		return "bridge"
	}
	return "none"
}

func logConfig(keep bool) api.LogConfig {
	if !keep {
		return api.LogConfig{Type: "none"}
	}
	return api.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "8m", "max-file": "1"}}
}

func resources(l container.Limits) api.Resources {
	return api.Resources{
		Memory:     l.Memory,
		MemorySwap: l.Memory, // memory and swap together: no swap
		NanoCPUs:   int64(math.Round(l.CPU * 1e9)),
		PidsLimit:  &l.Pids,
		Ulimits: []*api.Ulimit{
			ulimit("core", 0),
			ulimit("fsize", l.FileSize),
			ulimit("msgqueue", 0), // /dev/mqueue is writable even without an IPC namespace
			ulimit("nofile", l.NoFile),
		},
	}
}

func ulimit(name string, n int64) *api.Ulimit {
	return &api.Ulimit{Name: name, Soft: n, Hard: n}
}

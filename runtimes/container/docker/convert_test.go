package docker_test

import (
	"reflect"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/docker"
	"attune/tests/kit"
)

// full has every field set, so that the golden file shows each.
var full = container.Spec{
	Name:       "attune-x",
	Image:      "sha256:1",
	Entrypoint: []string{"/opt/attune/bin/agent", "--listen", "a b"},
	User:       "0:0",
	Dir:        "/opt/attune/packs/p",
	Env:        []string{"HOME=/tmp", "LANG=C.UTF-8"},
	Labels:     map[string]string{"attune.gateway": "g", "attune.pack": "p"},
	Network:    container.NetworkOutbound,
	CapAdd:     []string{"KILL", "SETGID", "SETUID"},
	Mounts: []container.Mount{
		{Source: "/srv/packs/p", Target: "/opt/attune/packs/p", ReadOnly: true},
		{Source: "/srv/envs/.run/1", Target: "/run/attune"},
	},
	Tmpfs: []container.Tmpfs{
		{Path: "/tmp", Size: 64 << 20, Inodes: 4096, Exec: true, Mode: 0o1777},
		{Path: "/run/secrets", Size: 1 << 20, Mode: 0o700},
	},
	Limits:   container.Limits{Memory: 256 << 20, CPU: 0.3, Pids: 64, NoFile: 1024, FileSize: 1 << 30},
	Runtime:  "runsc",
	KeepLogs: true,
}

func TestConvert(t *testing.T) {
	t.Parallel()
	wantEveryFieldSet(t, reflect.ValueOf(full))
	quiet := full
	quiet.KeepLogs, quiet.Network, quiet.CapAdd, quiet.Runtime, quiet.Mounts, quiet.Tmpfs = false, container.NetworkNone, nil, "", nil, nil
	for name, spec := range map[string]container.Spec{"full.json": full, "quiet.json": quiet} {
		got, err := docker.Request(spec, docker.Paths{}, nil, []string{"LANG", "PATH", "PYTHON_VERSION"})
		if err != nil {
			t.Fatal(err)
		}
		kit.Golden(t, name, append(got, '\n'))
	}
}

// wantEveryFieldSet looks also into structs and the first of each list: a field
// that is added to the port must be added here, and so to the golden file.
func wantEveryFieldSet(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		field := v.Field(i)
		if field.IsZero() {
			t.Errorf("%s.%s is not set", v.Type(), v.Type().Field(i).Name)
		}
		if field.Kind() == reflect.Slice && field.Len() > 0 {
			field = field.Index(0)
		}
		if field.Kind() == reflect.Struct {
			wantEveryFieldSet(t, field)
		}
	}
}

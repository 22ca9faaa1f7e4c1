package docker_test

import (
	"slices"
	"strings"
	"testing"

	"attune/runtimes/container/docker"
)

func TestCandidates(t *testing.T) {
	t.Parallel()
	id, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for name, tt := range map[string]struct {
		mountinfo, cgroup, hostname string
		want                        []string
	}{
		"the engine's files": {
			mountinfo: "136 117 254:0 /docker/containers/" + id + "/hosts /etc/hosts rw,relatime - ext4 /dev/vda rw\n",
			hostname:  "web",
			want:      []string{id, "web"},
		},
		"what the engine mounts for others": {
			mountinfo: "99 27 0:52 / /var/lib/docker/containers/" + other + "/mounts/shm rw - tmpfs shm rw\n",
			want:      nil,
		},
		"cgroup v1": {
			cgroup: "4:memory:/docker/" + id + "\n0::/system.slice/docker.service\n",
			want:   []string{id},
		},
		"cgroup by systemd": {
			cgroup: "0::/system.slice/docker-" + id + ".scope\n",
			want:   []string{id},
		},
		"no line of use": {mountinfo: "\nx\n1 2 3 - \n", cgroup: "0::/\n", want: nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := docker.Candidates(tt.mountinfo, tt.cgroup, tt.hostname); !slices.Equal(got, tt.want) {
				t.Errorf("Candidates() = %q, want %q", got, tt.want)
			}
		})
	}
}

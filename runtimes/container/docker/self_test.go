package docker_test

import (
	"strings"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"

	"github.com/docker/docker/api/types/mount"
)

// TestOwnContainer lets a real container describe its surroundings.
func TestOwnContainer(t *testing.T) {
	t.Parallel()
	engine, spec := rig(t)
	dir := t.TempDir()
	s := spec("cat /proc/self/mountinfo; echo ==; cat /proc/self/cgroup; echo ==; hostname; sleep 100000")
	s.Name = "attune-" + s.Labels[container.LabelGateway]
	s.Mounts = []container.Mount{{Source: dir, Target: "/opt/attune/packs", ReadOnly: true}}
	inside := make(chan string, 1)
	c := containertest.Start(t, engine, s)
	var output strings.Builder
	go func() {
		// Ends when the container is removed.
		_ = c.Logs(t.Context(), onText(func(text string) {
			if output.WriteString(text); strings.Count(output.String(), "==\n") == 2 && strings.HasSuffix(output.String(), "\n") && !strings.HasSuffix(output.String(), "==\n") {
				inside <- output.String()
			}
		}))
	}()
	parts := strings.Split(<-inside, "==\n")
	mountinfo, cgroup, hostname := parts[0], parts[1], strings.TrimSpace(parts[2])

	for what, lines := range map[string][3]string{
		"everything":   {mountinfo, cgroup, hostname},
		"its mounts":   {mountinfo, "", ""},
		"its hostname": {mountinfo, "", hostname},
	} {
		name, mounts, err := engine.Recognize(t.Context(), lines[0], lines[1], lines[2])
		if err != nil || name != s.Name || len(mounts) != 1 || mounts[0].Type != mount.TypeBind || mounts[0].Source != dir {
			t.Errorf("by %s: found %q with %+v, %v", what, name, mounts, err)
		}
	}
	// A machine that only happens to be called like a container is not in it.
	if name, _, err := engine.Recognize(t.Context(), "36 35 98:0 / / rw - ext4 /dev/sda rw\n", "", s.Name); err != nil || name != "" {
		t.Errorf("a namesake is taken for container %q, %v", name, err)
	}
	if err := c.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nor is one whose engine does not know the container.
	if name, _, err := engine.Recognize(t.Context(), mountinfo, cgroup, hostname); err != nil || name != "" {
		t.Errorf("a container that is gone is recognized as %q, %v", name, err)
	}
}

type onText func(string)

func (f onText) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

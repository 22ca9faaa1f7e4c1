package docker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"attune/runtimes/container"

	api "github.com/docker/docker/api/types/container"
)

// surroundings is what a process can tell about the container it is in.
type surroundings struct {
	mounts   []mountLine
	cgroup   string // of /proc/self/cgroup
	hostname string
}

// mountLine is a line of /proc/self/mountinfo.
type mountLine struct {
	root  string // what is mounted, within its file system
	point string // where
	super string // options of the file system
}

// findSelf returns the container that this process is in; nil if it is in none.
func (e *Engine) findSelf(ctx context.Context) (*self, error) {
	around, err := lookAround()
	if err != nil {
		return nil, err
	}
	return e.recognize(ctx, around)
}

// lookAround finds nothing on systems without /proc: no containers there.
func lookAround() (surroundings, error) {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if errors.Is(err, os.ErrNotExist) {
		return surroundings{}, nil
	}
	cgroup, cgroupErr := os.ReadFile("/proc/self/cgroup")
	hostname, hostErr := os.Hostname()
	if err := errors.Join(err, cgroupErr, hostErr); err != nil {
		return surroundings{}, err
	}
	return surroundings{parseMounts(string(mountinfo)), string(cgroup), hostname}, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// parseMounts reads "36 35 98:0 /root /point rw,noatime … - ext3 /dev/root rw,errors=continue".
func parseMounts(mountinfo string) []mountLine {
	var lines []mountLine
	for scanner := bufio.NewScanner(strings.NewReader(mountinfo)); scanner.Scan(); {
		mountPart, superPart, ok := strings.Cut(scanner.Text(), " - ")
		fields, super := strings.Fields(mountPart), strings.Fields(superPart)
		if !ok || len(fields) < 5 || len(super) < 1 {
			continue
		}
		lines = append(lines, mountLine{unescape.Replace(fields[3]), unescape.Replace(fields[4]), super[len(super)-1]})
	}
	return lines
}

// recognize asks the engine about each name that this container might have.
func (e *Engine) recognize(ctx context.Context, around surroundings) (*self, error) {
	candidates := around.candidates()
	for _, candidate := range candidates {
		found, err := e.client.ContainerInspect(ctx, candidate)
		err = portError(ctx, err, container.ErrNoContainer)
		if errors.Is(err, container.ErrNoContainer) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("inspect container %s: %w", candidate, err)
		}
		if around.within(found) {
			return &self{name: strings.TrimPrefix(found.Name, "/"), mounts: found.Mounts}, nil
		}
	}
	if around.contained() {
		e.log.WarnContext(ctx, "this gateway runs in a container that the docker engine does not know; its paths are taken to be the engine's")
	}
	return nil, nil
}

var (
	idInRoot   = regexp.MustCompile(`/containers/([0-9a-f]{64})/[^/]+$`)
	idInCgroup = regexp.MustCompile(`[/-]([0-9a-f]{64})(?:\.scope)?$`)
)

// candidates are container IDs and names, the surest first.
func (s surroundings) candidates() []string {
	var found []string
	add := func(candidate string) {
		if candidate != "" && !slices.Contains(found, candidate) {
			found = append(found, candidate)
		}
	}
	for _, line := range s.mounts {
		// Only what is mounted for us: the engine's machine sees mounts of all containers.
		if m := idInRoot.FindStringSubmatch(line.root); m != nil && engineFile(line.point) {
			add(m[1])
		}
	}
	for line := range strings.Lines(s.cgroup) {
		if m := idInCgroup.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			add(m[1])
		}
	}
	add(s.hostname)
	return found
}

// contained says that the engine's files are here, so this is some container.
func (s surroundings) contained() bool {
	return slices.ContainsFunc(s.mounts, func(l mountLine) bool {
		return engineFile(l.point) && idInRoot.MatchString(l.root)
	})
}

// engineFile is one of those that engines mount into each of their containers.
func engineFile(point string) bool {
	return point == "/etc/hostname" || point == "/etc/hosts" || point == "/etc/resolv.conf"
}

// within verifies that this process is in the container that was found under
// one of its names: any container may be called like our host.
func (s surroundings) within(found api.InspectResponse) bool {
	if found.State == nil || !found.State.Running || !s.seesMounts(found.Mounts) {
		return false
	}
	return s.ownsRoot(found.GraphDriver.Data["UpperDir"]) || s.ownsFile(found.HostnamePath) || s.ownsFile(found.ResolvConfPath)
}

func (s surroundings) seesMounts(mounts []api.MountPoint) bool {
	for _, m := range mounts {
		if !slices.ContainsFunc(s.mounts, func(l mountLine) bool { return l.point == path.Clean(m.Destination) }) {
			return false
		}
	}
	return true
}

// ownsRoot says that / is the overlay with that upper directory.
func (s surroundings) ownsRoot(upper string) bool {
	return upper != "" && slices.ContainsFunc(s.mounts, func(l mountLine) bool {
		return l.point == "/" && slices.Contains(strings.Split(l.super, ","), "upperdir="+upper)
	})
}

// ownsFile says that a file of the engine's is mounted here. The mount tells its
// path within a file system, which is the end of the path on the machine.
func (s surroundings) ownsFile(file string) bool {
	return file != "" && slices.ContainsFunc(s.mounts, func(l mountLine) bool {
		return engineFile(l.point) && idInRoot.MatchString(l.root) && strings.HasSuffix(file, l.root)
	})
}

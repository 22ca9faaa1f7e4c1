package tests

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// creation is a container that the engine has made.
type creation struct {
	at                        int64 // Unix nanoseconds
	name, role, pack, gateway string
}

// created are the containers that were made since the first gateway of this run
// started. We follow the engine's events instead of asking for past ones: of
// those it remembers the last 256 of all its containers, which is little while
// other packages are tested beside us.
var created struct {
	sync.Mutex
	sync.Once
	all  []creation
	stop func()
}

// followEngine begins to collect, once. Without a docker program nothing is
// collected: then no test asks.
func followEngine() {
	created.Do(func() {
		now := time.Now()
		events := exec.Command("docker", "events", "--since", fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond()),
			"--filter", "type=container", "--filter", "event=create", "--format",
			`{{.TimeNano}}|{{.Actor.Attributes.name}}|{{index .Actor.Attributes "attune.role"}}|{{index .Actor.Attributes "attune.pack"}}|{{index .Actor.Attributes "attune.gateway"}}`)
		out, err := events.StdoutPipe()
		if err != nil || events.Start() != nil {
			return
		}
		collected := make(chan struct{})
		go func() {
			defer close(collected)
			collect(out)
		}()
		created.stop = func() {
			events.Process.Kill()
			<-collected
			events.Wait() // was killed: its error says no more
		}
	})
}

func collect(events io.Reader) {
	for lines := bufio.NewScanner(events); lines.Scan(); {
		f := strings.Split(lines.Text(), "|")
		at, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || len(f) != 5 {
			continue
		}
		created.Lock()
		created.all = append(created.all, creation{at, f[1], f[2], f[3], f[4]})
		created.Unlock()
	}
}

// builds counts the builder containers of a pack that our gateways have created
// since a time. Other gateways don't count: the same tests may run beside us,
// from another work tree.
func builds(t testing.TB, since time.Time, pack string) int {
	t.Helper()
	followed(t)
	created.Lock()
	defer created.Unlock()
	builders := 0
	for _, c := range created.all {
		if c.at >= since.UnixNano() && c.role == "builder" && c.pack == pack && ours(c.gateway) {
			builders++
		}
	}
	return builders
}

// followed waits until all that the engine has created so far is collected.
func followed(t testing.TB) {
	t.Helper()
	followEngine()
	// Events come in order: when this one is here, all before it are.
	marker := fmt.Sprintf("attune-marker-%d", time.Now().UnixNano())
	dockerLines(t, "create", "--name", marker, "attune/shell", "true")
	defer dockerLines(t, "rm", marker)
	eventually(t, 10*time.Second, "the engine's events are here", func() bool {
		created.Lock()
		defer created.Unlock()
		return slices.ContainsFunc(created.all, func(c creation) bool { return c.name == marker })
	})
}

func ours(id string) bool {
	gateways.Lock()
	defer gateways.Unlock()
	return slices.Contains(gateways.ids, id)
}

// onVolume lists the containers that mount a volume, or a directory of it as
// with engines that can't mount one otherwise.
func onVolume(t testing.TB, volume string, filters ...string) []string {
	t.Helper()
	root := dockerLines(t, "volume", "inspect", "--format", "{{.Mountpoint}}", volume)[0]
	args := []string{"ps", "-a", "--no-trunc", "--format", "{{.ID}}|{{.Mounts}}"}
	for _, f := range filters {
		args = append(args, "--filter", f)
	}
	var found []string
	for _, line := range dockerLines(t, args...) {
		id, mounts, _ := strings.Cut(line, "|")
		for mount := range strings.SplitSeq(mounts, ",") {
			if mount == volume || strings.HasPrefix(mount+"/", root+"/") {
				found = append(found, id)
				break
			}
		}
	}
	return found
}

// dockerLines runs a docker command and returns the words that it prints.
func dockerLines(t testing.TB, args ...string) []string {
	t.Helper()
	out, err := dockerCommand(args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(out)
}

// dockerCommand runs a docker command and returns what it prints.
func dockerCommand(args ...string) (string, error) {
	cmd := exec.Command("docker", args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, errs.String())
	}
	return string(out), nil
}

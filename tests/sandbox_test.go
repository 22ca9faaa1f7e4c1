package tests

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// userCode is a uid or gid of user code: of the first slot, or of another place.
var userCode = regexp.MustCompile(`^(65533|61[0-9]{3})$`)

// TestSandbox: what an action sees, what it can do, and what is left of it.
func TestSandbox(t *testing.T) {
	h := newHome(t)
	spy(t, h)
	h.pack(t, "other", map[string]string{
		"actions/a.yaml": "ref: other.a\nentry_point: a.py\n", "actions/a.py": "print('other')\n",
	})
	g := h.start(t)
	g.mustInvoke(t, "other.a", "{}") // there is something to find
	const token = "parameter-77b1e0"
	a := g.mustInvoke(t, "spy.look", `{"token":"`+token+`"}`)
	var saw sighting
	decode(t, a.body, &saw)

	if len(saw.Writes) < 5 || len(saw.Tries) < 5 || len(saw.Connects) == 0 {
		t.Fatalf("the spy has tried too little: %s", a.body)
	}
	t.Run("writes nowhere but in tmp", func(t *testing.T) {
		for path, got := range saw.Writes {
			if want := path == "/tmp"; (got == "done") != want {
				t.Errorf("writing into %s: %s", path, got)
			}
		}
	})
	t.Run("is nobody", func(t *testing.T) {
		ids := slices.Compact(strings.Fields(saw.IDs))
		if len(ids) != 1 || !userCode.MatchString(ids[0]) || len(saw.Groups) > 0 {
			t.Errorf("real, effective and saved IDs %s, groups %v; want one of a slot or a waiting process, and no groups", saw.IDs, saw.Groups)
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
			if saw.Status[set] == "" || strings.Trim(saw.Status[set], "0") != "" {
				t.Errorf("%s = %s, want none", set, saw.Status[set])
			}
		}
		if saw.Status["NoNewPrivs"] != "1" || saw.Status["Seccomp"] != "2" {
			t.Errorf("NoNewPrivs %s, Seccomp %s; want 1 and 2", saw.Status["NoNewPrivs"], saw.Status["Seccomp"])
		}
	})
	t.Run("is refused", func(t *testing.T) {
		for what, got := range saw.Tries {
			if got == "done" {
				t.Errorf("%s was possible", what)
			}
		}
	})
	t.Run("has no network, and is told at once", func(t *testing.T) {
		if !slices.Equal(saw.Interfaces, []string{"lo"}) {
			t.Errorf("interfaces = %v", saw.Interfaces)
		}
		for address, got := range saw.Connects {
			if got.Result == "done" || got.Result == "TimeoutError" || got.Seconds > 1 {
				t.Errorf("connecting to %s: %s after %.1f s", address, got.Result, got.Seconds)
			}
		}
	})
	t.Run("sees no other pack and no store", func(t *testing.T) {
		want := map[string][]string{
			"/opt/attune/packs": {"spy"}, "/opt/attune/runtime_envs": {"spy"}, "/opt/attune/runtime_envs/spy": {"python"},
			"/opt/attune/bin": {"attune-agent", "commands", "node", "python"}, "/run/attune": {}, "/tmp": {}, "/opt/attune": {"bin", "packs", "runtime_envs"},
		}
		if diff := cmp.Diff(want, saw.Listings); diff != "" {
			t.Errorf("directories (-want +got):\n%s", diff)
		}
	})
	t.Run("the gateway's variables and other calls' parameters are nowhere", func(t *testing.T) {
		id := a.header.Get("Attune-Execution-Id")
		_, containers := inspect(t, g.containers(t)...)
		for where, text := range map[string]string{
			"an action's view":  a.body,
			"docker inspect":    containers,
			"the record":        g.get(t, "/api/v1/executions/"+id).body,
			"the gateway's log": g.text(),
		} {
			if strings.Contains(text, canary) {
				t.Errorf("the gateway's own environment shows in %s:\n%s", where, text)
			}
			if strings.Contains(text, token) {
				t.Errorf("a parameter shows in %s:\n%s", where, text)
			}
		}
		if len(saw.Environs) != 2 {
			t.Errorf("can read the environ of %d processes, want of itself and its child: %v", len(saw.Environs), saw.Environs)
		}
	})
	t.Run("leaves nothing to the next", func(t *testing.T) { leavesNothing(t, g) })
	t.Run("bombs harm nobody", func(t *testing.T) { bombs(t, g) })
	t.Run("standard streams open by name", func(t *testing.T) { streams(t, g) })
	t.Run("instances are hardened", func(t *testing.T) { hardened(t, g, 4) })
}

// sighting is what spy.look reports.
type sighting struct {
	Writes, Tries, Status map[string]string
	Listings              map[string][]string
	Environs              map[string]string
	IDs                   string
	Groups                []int
	Interfaces            []string
	Connects              map[string]struct {
		Result  string
		Seconds float64
	}
}

// leavesNothing calls one instance again and again.
func leavesNothing(t *testing.T, g *gateway) {
	first := g.mustInvoke(t, "spy.find", "{}").body
	instance := g.containers(t, "label=attune.pack=spy", "label=attune.runtime=shell")
	g.mustInvoke(t, "spy.leave", "{}")
	if again := g.mustInvoke(t, "spy.find", "{}").body; again != first || strings.Contains(first, "sleep") {
		t.Errorf("POST /invoke/spy.find after an action that left a file and a process of a session of its own:\n%s\nbefore:\n%s", again, first)
	}
	if now := g.containers(t, "label=attune.pack=spy", "label=attune.runtime=shell"); len(now) != 1 || !slices.Equal(now, instance) {
		t.Errorf("instances of spy's shell are %v, were %v: want the same one", now, instance)
	}
}

// bombs fills what an instance may have, and looks at the neighbours.
func bombs(t *testing.T, g *gateway) {
	if got := g.mustInvoke(t, "spy.forks", "{}").body; got != "BlockingIOError\n" {
		t.Errorf("POST /invoke/spy.forks = %q, want an end of forking", got)
	}
	if got := g.mustInvoke(t, "spy.fill", "{}").body; !strings.Contains(got, "No space left") {
		t.Errorf("POST /invoke/spy.fill = %q, want no space left in /tmp", got)
	}
	for action, want := range map[string]string{"other.a": "other\n", "spy.hello": "hello\n"} {
		if got := g.mustInvoke(t, action, "{}").body; got != want {
			t.Errorf("POST /invoke/%s after the bombs = %q", action, got)
		}
	}
}

func streams(t *testing.T, g *gateway) {
	for _, action := range []string{"spy.dev_shell", "spy.dev_node", "spy.dev_python"} {
		a := g.mustInvoke(t, action, `{"a":1}`)
		if a.body != "{\"a\":1}\n" {
			t.Errorf("POST /invoke/%s = %q, want what /dev/stdin holds", action, a.body)
		}
		log := g.get(t, "/api/v1/executions/"+a.header.Get("Attune-Execution-Id")+"/logs/stderr")
		if log.status != 200 || log.body != "note\n" {
			t.Errorf("GET logs/stderr of %s = %d %q, want what was written to /dev/stderr", action, log.status, log.body)
		}
	}
}

// inspected is the part of `docker inspect` that the sandbox promises.
type inspected struct {
	ID, Image string
	State     struct{ Running bool }
	Config    struct {
		Image, User string
		Env         []string
		Labels      map[string]string
	}
	HostConfig struct {
		NetworkMode, IpcMode, PidMode, UTSMode, UsernsMode, CgroupnsMode string
		ReadonlyRootfs, Privileged, AutoRemove                           bool
		CapAdd, CapDrop, SecurityOpt, GroupAdd, Binds, VolumesFrom       []string
		Memory, MemorySwap, PidsLimit, NanoCpus                          int64
		Devices                                                          []any
		RestartPolicy                                                    struct{ Name string }
		MaskedPaths, ReadonlyPaths                                       []string
	}
	Mounts []struct {
		Type, Source, Destination string
		RW                        bool
	}
}

// inspect describes containers, in all the engine's words too.
func inspect(t testing.TB, ids ...string) (all []inspected, text string) {
	t.Helper()
	out, err := exec.Command("docker", append([]string{"inspect"}, ids...)...).Output()
	if err != nil {
		t.Fatalf("docker inspect %v: %v", ids, err)
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("docker inspect %v: %v", ids, err)
	}
	return all, string(out)
}

// hardened checks every live instance of a gateway that was not granted the
// network, of which there are at least so many.
func hardened(t *testing.T, g *gateway, least int) {
	ids := g.containers(t, "label=attune.role=instance", "status=running", "network=none")
	if len(ids) < least {
		t.Fatalf("%d instances run, want at least %d", len(ids), least)
	}
	containers, _ := inspect(t, ids...)
	for _, c := range containers {
		host, name := c.HostConfig, c.Config.Labels["attune.pack"]+"/"+c.Config.Labels["attune.runtime"]
		if !host.ReadonlyRootfs || host.Privileged || host.NetworkMode != "none" || host.IpcMode != "none" || host.CgroupnsMode != "private" ||
			host.PidMode+host.UTSMode+host.UsernsMode != "" || host.RestartPolicy.Name != "no" || len(host.Devices) > 0 {
			t.Errorf("%s: host configuration = %+v", name, host)
		}
		if len(host.Binds)+len(host.VolumesFrom)+len(host.GroupAdd) > 0 || !slices.Equal(host.CapDrop, []string{"ALL"}) || len(host.MaskedPaths) == 0 ||
			len(host.ReadonlyPaths) == 0 || !slices.Equal(host.SecurityOpt, []string{"no-new-privileges"}) {
			t.Errorf("%s: host configuration = %+v", name, host)
		}
		for i, capability := range host.CapAdd { // newer engines add the prefix
			host.CapAdd[i] = strings.TrimPrefix(capability, "CAP_")
		}
		if want := []string{"KILL", "SETGID", "SETUID"}; !slices.Equal(slices.Sorted(slices.Values(host.CapAdd)), want) {
			t.Errorf("%s: capabilities added = %v, want %v", name, host.CapAdd, want)
		}
		if host.Memory != 256<<20 || host.MemorySwap != host.Memory || host.PidsLimit != 128 || host.NanoCpus != 1e9 {
			t.Errorf("%s: memory %d, with swap %d, pids %d, cpus %d; want the default limits", name, host.Memory, host.MemorySwap, host.PidsLimit, host.NanoCpus)
		}
		if !strings.HasPrefix(c.Config.Image, "sha256:") || c.Image != c.Config.Image {
			t.Errorf("%s: created from image %q, want the ID %s", name, c.Config.Image, c.Image)
		}
		if env := strings.Join(c.Config.Env, " "); strings.Contains(env, "=") { // a bare name means: no such variable
			t.Errorf("%s: variables = %s, want none", name, env)
		}
		mountsOnlyWhatIsItsOwn(t, g, name, c)
		labels := []string{"attune.digest", "attune.gateway", "attune.pack", "attune.role", "attune.runtime"}
		for _, label := range labels {
			if _, ok := c.Config.Labels[label]; !ok {
				t.Errorf("%s: no label %s in %v", name, label, c.Config.Labels)
			}
		}
	}
}

// mountsOnlyWhatIsItsOwn: read-only, and never a directory that holds others'.
func mountsOnlyWhatIsItsOwn(t *testing.T, g *gateway, name string, c inspected) {
	t.Helper()
	if len(c.Mounts) < 3 {
		t.Errorf("%s: mounts = %+v", name, c.Mounts)
	}
	for _, m := range c.Mounts {
		if m.RW || m.Type != "bind" {
			t.Errorf("%s: %s is mounted from %s as %s, writable %v", name, m.Destination, m.Source, m.Type, m.RW)
		}
		below := func(dir string) bool {
			rest, err := filepath.Rel(dir, m.Source)
			return err == nil && rest != "." && !strings.HasPrefix(rest, "..")
		}
		own := m.Source == filepath.Join(g.packs, c.Config.Labels["attune.pack"]) || below(filepath.Join(g.envs, ".store")) ||
			below(filepath.Join(g.envs, ".bin")) || below(filepath.Join(g.envs, ".run", g.id))
		if !own {
			t.Errorf("%s: %s is mounted from %s, which is not the pack's own", name, m.Destination, m.Source)
		}
	}
}

// TestExampleInstancesAreHardened looks at what the README's calls start.
func TestExampleInstancesAreHardened(t *testing.T) {
	g := examples(t)
	for _, pack := range []string{"python_example", "nodejs_example", "shell_example"} {
		g.mustInvoke(t, pack+".hello", "{}")
	}
	hardened(t, g, 3)
}

package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inside is where every container sees environments, whatever the directory is
// outside.
const inside = "/opt/attune/runtime_envs/"

// isolation is a gateway with small packs, and what was there before any call.
type isolation struct {
	*gateway
	tree   string // of the packs
	states map[string]string
}

// TestDependencyIsolation holds the seventeen promises about a pack's
// dependencies, each in real containers.
func TestDependencyIsolation(t *testing.T) {
	h := newHome(t)
	isolationPacks(t, h)
	i := &isolation{tree: treeOf(t, h.packs)}
	i.gateway = h.start(t)
	i.states = i.environments(t)
	for _, promise := range []struct {
		name  string
		holds func(*isolation, *testing.T)
	}{
		{"1 made outside the pack", (*isolation).outside},
		{"2 idempotent", (*isolation).idempotent},
		{"3 dependencies installed", (*isolation).installed},
		{"4 none for shell", (*isolation).noneForShell},
		{"5 manifest detected", (*isolation).manifest},
		{"6 absent before, ready after, by pack ref", (*isolation).exists},
		{"7 two packs are apart and clean", (*isolation).apart},
		{"8 python runs from the environment", (*isolation).python},
		{"9 shell runs without one", (*isolation).shell},
		{"10 working directory is the pack", (*isolation).directory},
		{"11 no interpreter before, the environment's after", (*isolation).interpreter},
		{"12 no manifest, an environment without install", (*isolation).noManifest},
		{"13 extensions of full paths", (*isolation).extensions},
		{"14 a declaration keeps its parts", (*isolation).declaration},
		{"15 set up for shell and python", (*isolation).usable},
		{"16 a runtime's name is authoritative", (*isolation).named},
		{"17 without a name the extension decides", (*isolation).unnamed},
	} {
		t.Run(promise.name, func(t *testing.T) { promise.holds(i, t) })
	}
	if diff := cmp.Diff(i.tree, treeOf(t, h.packs)); diff != "" {
		t.Errorf("the packs have changed (-before +after):\n%s", diff)
	}
}

// environments lists the state of each by "pack/runtime".
func (i *isolation) environments(t *testing.T) map[string]string {
	t.Helper()
	var list struct {
		Items []struct{ Pack, Runtime, State, Path string }
	}
	decode(t, i.get(t, "/api/v1/environments").body, &list)
	states := map[string]string{}
	for _, e := range list.Items {
		states[e.Pack+"/"+e.Runtime] = e.State
		if e.Path != inside+e.Pack+"/"+e.Runtime {
			t.Errorf("GET /api/v1/environments says path %s of %s/%s", e.Path, e.Pack, e.Runtime)
		}
	}
	return states
}

// prints calls an action and compares what it printed.
func (i *isolation) prints(t *testing.T, action, want string) {
	t.Helper()
	if got := i.mustInvoke(t, action, "{}").body; got != want {
		t.Errorf("POST /invoke/%s = %q, want %q", action, got, want)
	}
}

func (i *isolation) clean(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff(i.tree, treeOf(t, i.packs)); diff != "" {
		t.Errorf("the packs have changed (-before +after):\n%s", diff)
	}
}

// log is an environment's build log.
func (i *isolation) log(t *testing.T, environment string) string {
	t.Helper()
	a := i.get(t, "/api/v1/environments/"+environment+"/log")
	if a.status != http.StatusOK {
		t.Errorf("GET /api/v1/environments/%s/log = %d %s", environment, a.status, a.body)
	}
	return a.body
}

func (i *isolation) outside(t *testing.T) {
	i.mustInvoke(t, "plain.where", "{}")
	if _, err := os.Stat(filepath.Join(i.envs, "plain", "python", "bin", "python3")); err != nil {
		t.Error(err)
	}
	i.clean(t)
}

func (i *isolation) idempotent(t *testing.T) {
	pointer := filepath.Join(i.envs, "plain", "python")
	before, err := os.Readlink(pointer)
	if err != nil {
		t.Fatal(err)
	}
	status := i.get(t, "/api/v1/environments/plain/python").body
	i.mustInvoke(t, "plain.where", "{}")
	i.hangup(t) // registers the pack again
	i.mustInvoke(t, "plain.where", "{}")
	if after, err := os.Readlink(pointer); after != before {
		t.Errorf("the environment moved from %q to %q (%v)", before, after, err)
	}
	if now := i.get(t, "/api/v1/environments/plain/python").body; now != status {
		t.Errorf("GET /api/v1/environments/plain/python = %s, was %s: it was built again", now, status)
	}
}

func (i *isolation) installed(t *testing.T) {
	if got := i.mustInvoke(t, "deps.parts", "{}").body; !strings.Contains(got, "pygments==2.19.1") {
		t.Errorf("POST /invoke/deps.parts = %q, want pygments==2.19.1 in it", got)
	}
}

func (i *isolation) noneForShell(t *testing.T) {
	i.mustInvoke(t, "scripts.pwd", "{}")
	if _, err := os.Lstat(filepath.Join(i.envs, "scripts")); err == nil {
		t.Error("a pack of shell scripts has an environment")
	}
	if a := i.get(t, "/api/v1/environments/scripts/shell"); a.status != http.StatusNotFound {
		t.Errorf("GET /api/v1/environments/scripts/shell = %d %s", a.status, a.body)
	}
}

func (i *isolation) manifest(t *testing.T) {
	if log := i.log(t, "deps/python"); !strings.Contains(log, "==> install:") || !strings.Contains(log, "/deps/requirements.txt") {
		t.Errorf("the log of deps/python says nothing of its manifest:\n%s", log)
	}
}

func (i *isolation) exists(t *testing.T) {
	now := i.environments(t)
	for environment, want := range map[string][2]string{
		"plain/python": {"absent", "ready"}, "deps/python": {"absent", "ready"}, "pack_a/python": {"absent", "absent"}, "scripts/shell": {"", ""},
	} {
		if got := [2]string{i.states[environment], now[environment]}; got != want {
			t.Errorf("GET /api/v1/environments: %s before and after = %q, want %q", environment, got, want)
		}
	}
	if got := i.get(t, "/api/v1/environments/plain/python").value(t); got["state"] != "ready" {
		t.Errorf("GET /api/v1/environments/plain/python = %v", got)
	}
	for path, want := range map[string]int{"nobody/python": 404, "plain/nothing": 404, "..%2fplain/python": 400, ".store/python": 400} {
		if a := i.get(t, "/api/v1/environments/"+path); a.status != want {
			t.Errorf("GET /api/v1/environments/%s = %d %s, want %d", path, a.status, a.body, want)
		}
	}
}

func (i *isolation) apart(t *testing.T) {
	var both sync.WaitGroup
	for n := range 8 { // first calls of both, at once
		pack := []string{"pack_a", "pack_b"}[n%2]
		both.Go(func() {
			want := map[string]string{"pack_a": "3.7\n", "pack_b": "3.10\n"}[pack]
			if a := i.invoke(t, pack+".v", "{}"); a.status != http.StatusOK || a.body != want {
				t.Errorf("POST /invoke/%s.v = %d %q, want %q", pack, a.status, a.body, want)
			}
		})
	}
	both.Wait()
	a, _ := os.Readlink(filepath.Join(i.envs, "pack_a", "python"))
	b, _ := os.Readlink(filepath.Join(i.envs, "pack_b", "python"))
	if a == b || a == "" || b == "" {
		t.Errorf("environments of pack_a and pack_b are %q and %q", a, b)
	}
	i.clean(t)
}

func (i *isolation) python(t *testing.T) {
	i.prints(t, "deps.where", inside+"deps/python/bin/python3 /opt/attune/packs/deps\n")
}

func (i *isolation) shell(t *testing.T) {
	i.prints(t, "scripts.pwd", "bash 5 /opt/attune/packs/scripts\n")
}

func (i *isolation) directory(t *testing.T) {
	for _, action := range []string{"plain.where", "plain.deep", "plain.bash", "scripts.pwd"} {
		pack, _, _ := strings.Cut(action, ".")
		if got := i.mustInvoke(t, action, "{}").body; !strings.HasSuffix(got, " /opt/attune/packs/"+pack+"\n") {
			t.Errorf("POST /invoke/%s = %q, want its pack's directory at the end", action, got)
		}
	}
}

// interpreter: an action never falls back to the image's own python.
func (i *isolation) interpreter(t *testing.T) {
	const where = "import sys\nprint(sys.executable)\n"
	i.pack(t, "late", map[string]string{"actions/where.yaml": "ref: late.where\nentry_point: where.py\n", "actions/where.py": where})
	defer func() {
		os.RemoveAll(filepath.Join(i.packs, "late"))
		i.hangup(t)
	}()
	i.hangup(t)
	a := i.invoke(t, "late.where?timeout=100ms", "{}")
	if p := a.problem(t); (a.status != 504 && a.status != 503) || p.Started || strings.Contains(a.body, "/usr/bin") {
		t.Errorf("POST /invoke/late.where?timeout=100ms without an environment = %d %s", a.status, a.body)
	}
	i.prints(t, "late.where", inside+"late/python/bin/python3\n")
}

func (i *isolation) noManifest(t *testing.T) {
	if log := i.log(t, "plain/python"); strings.Contains(log, "==> install:") || !strings.Contains(log, "==> create:") {
		t.Errorf("a pack without manifest: want a creation and no installation:\n%s", log)
	}
}

func (i *isolation) extensions(t *testing.T) {
	i.prints(t, "plain.deep", inside+"plain/python/bin/python3 /opt/attune/packs/plain\n")
	i.prints(t, "by_extension.sh", "bash 5 /opt/attune/packs/by_extension\n")
	broken := i.get(t, "/api/v1/packs/no_extension").body
	if !strings.Contains(broken, "runner_type is missing") {
		t.Errorf("GET /api/v1/packs/no_extension = %s, want the fault that no runtime has .unknown", broken)
	}
}

// declaration: ranges, exclusions, extras and markers mean what they mean to pip.
func (i *isolation) declaration(t *testing.T) {
	got := strings.Fields(i.mustInvoke(t, "deps.parts", "{}").body)
	if !slices.Contains(got, "idna==3.7") || !slices.Contains(got, "pygments==2.19.1") {
		t.Errorf("installed = %q, want idna==3.7 (>=3.6, !=3.8, <3.9) and pygments==2.19.1", got)
	}
	if joined := strings.Join(got, " "); !strings.Contains(joined, "colorama==") || strings.Contains(joined, "six==") {
		t.Errorf("installed = %q, want the extra's colorama and not the marker's six", got)
	}
}

// usable: the packages' own commands work, by PATH and by their path; a shell
// needs no set-up to be ready.
func (i *isolation) usable(t *testing.T) {
	if got := i.mustInvoke(t, "deps.tool", "{}").body; strings.Count(got, "Pygments version 2.19.1") != 2 {
		t.Errorf("POST /invoke/deps.tool = %q, want pygmentize's version twice", got)
	}
	i.prints(t, "scripts.pwd", "bash 5 /opt/attune/packs/scripts\n")
}

func (i *isolation) named(t *testing.T) {
	i.prints(t, "plain.bash", "bash 5 /opt/attune/packs/plain\n")
	i.prints(t, "plain.snake", inside+"plain/python/bin/python3 /opt/attune/packs/plain\n")
	i.prints(t, "plain.hash", "bash 5 /opt/attune/packs/plain\n")
	for action, want := range map[string]string{"bash": "shell", "snake": "python", "hash": "native"} {
		if got := i.get(t, "/api/v1/actions/plain."+action).value(t)["runtime"]; got != want {
			t.Errorf("GET /api/v1/actions/plain.%s: runtime = %v, want %s", action, got, want)
		}
	}
}

func (i *isolation) unnamed(t *testing.T) {
	for action, want := range map[string]string{"js": "v /opt/attune/packs/by_extension/actions\n", "mjs": "v /opt/attune/packs/by_extension/actions\n"} {
		i.prints(t, "by_extension."+action, want)
	}
	for action, want := range map[string]string{"by_extension.sh": "shell", "by_extension.mjs": "node", "deps.where": "python"} {
		if got := i.get(t, "/api/v1/actions/"+action).value(t)["runtime"]; got != want {
			t.Errorf("GET /api/v1/actions/%s: runtime = %v, want %s", action, got, want)
		}
	}
}

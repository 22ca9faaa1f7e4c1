package tests

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// spy is a pack whose actions look around and try what they may not.
func spy(t *testing.T, h home) {
	h.pack(t, "spy", map[string]string{
		"actions/look.yaml": "ref: spy.look\nentry_point: look.py\noutput_format: json\n",
		"actions/look.py": `import json, os, socket
def attempt(f):
    try:
        f()
        return "done"
    except OSError as e:
        return type(e).__name__
def create(path):
    return attempt(lambda: open(os.path.join(path, "x"), "w"))
def connect(host, port):
    s = socket.socket(); s.settimeout(2)
    return attempt(lambda: s.connect((host, port)))
status = dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
print(json.dumps({
    "writes": {p: create(p) for p in ["/opt/attune/packs/spy", "/opt/attune/packs/spy/actions", "/opt/attune/packs",
        "/opt/attune/runtime_envs/spy/python", "/opt/attune/runtime_envs", "/opt/attune/bin", "/run/attune", "/", "/etc", "/usr/bin", "/dev", "/dev/mqueue/..", "/sys", "/proc"]},
    "tmp": create("/tmp"), "listing": sorted(os.listdir("/opt/attune/runtime_envs")) + sorted(os.listdir("/opt/attune/packs")),
    "environ": dict(os.environ), "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(),
    "caps": [status[k] for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")][2], "nnp": status["NoNewPrivs"], "seccomp": status["Seccomp"],
    "interfaces": [n for _, n in socket.if_nameindex()], "metadata": connect("169.254.169.254", 80),
    "init": attempt(lambda: open("/proc/1/environ").read()), "kill": attempt(lambda: os.kill(1, 9)),
    "sockets": os.listdir("/run/attune") if os.access("/run/attune", os.R_OK) else "closed",
}))
`,
		"actions/leave.yaml": "ref: spy.leave\nentry_point: leave.sh\n",
		"actions/leave.sh": `mkdir -p /tmp/a/b && echo secret >/tmp/a/b/c && chmod 000 /tmp/a/b
setsid sleep 1000 </dev/null >/dev/null 2>&1 &
echo left`,
		"actions/find.yaml": "ref: spy.find\nentry_point: find.sh\n",
		"actions/find.sh":   "ls -A /tmp\nls /proc | grep -c '^[0-9]'\nhostname\n",
		"actions/dev.yaml":  "ref: spy.dev\nentry_point: dev.sh\n",
		"actions/dev.sh":    "cat /dev/stdin >/dev/stdout\necho note >/dev/stderr\n",
	})
}

func TestSandboxHolds(t *testing.T) {
	h := newHome(t)
	spy(t, h)
	g := h.start(t)
	a := g.mustInvoke(t, "spy.look", "{}")
	var saw struct {
		Writes              map[string]string
		Tmp, Caps, Nnp      string
		Seccomp, Metadata   string
		Init, Kill          string
		Listing, Interfaces []string
		Environ             map[string]string
		UID, GID            int
		Groups              []int
		Sockets             any
	}
	if err := json.Unmarshal([]byte(a.body), &saw); err != nil {
		t.Fatal(err)
	}
	for path, got := range saw.Writes {
		if got == "done" {
			t.Errorf("wrote into %s", path)
		}
	}
	if saw.Tmp != "done" {
		t.Errorf("writing into /tmp: %s", saw.Tmp)
	}
	if saw.UID != 65533 || saw.GID != 65533 || len(saw.Groups) > 0 {
		t.Errorf("uid %d gid %d groups %v, want 65533 and no groups", saw.UID, saw.GID, saw.Groups)
	}
	if strings.Trim(saw.Caps, "0") != "" || saw.Nnp != "1" || saw.Seccomp != "2" {
		t.Errorf("CapEff %s NoNewPrivs %s Seccomp %s, want 0, 1, 2", saw.Caps, saw.Nnp, saw.Seccomp)
	}
	if len(saw.Interfaces) != 1 || saw.Interfaces[0] != "lo" || saw.Metadata == "done" {
		t.Errorf("interfaces %v, metadata service %s", saw.Interfaces, saw.Metadata)
	}
	if saw.Init != "PermissionError" || saw.Kill != "PermissionError" {
		t.Errorf("reading PID 1: %s, killing it: %s", saw.Init, saw.Kill)
	}
	if got := strings.Join(saw.Listing, " "); got != "spy spy" {
		t.Errorf("sees %q beside itself", got)
	}
	if list, ok := saw.Sockets.([]any); ok && len(list) > 0 {
		t.Errorf("sees sockets %v", list)
	}
	checkEnviron(t, saw.Environ)
	if strings.Contains(a.body, canary) || strings.Contains(g.text(), canary) {
		t.Error("the gateway's own environment shows")
	}
}

// checkEnviron compares with the documented list.
func checkEnviron(t *testing.T, environ map[string]string) {
	t.Helper()
	want := "ATTUNE_ACTION ATTUNE_DEADLINE ATTUNE_EXEC_ID ATTUNE_PACK ATTUNE_PACK_DIR ATTUNE_PARAMETER_DELIVERY ATTUNE_PARAMETER_FORMAT " +
		"HOME LANG PATH PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONUNBUFFERED TMPDIR TZ VIRTUAL_ENV"
	for _, name := range strings.Fields(want) {
		if environ[name] == "" {
			t.Errorf("%s is not set", name)
		}
		delete(environ, name)
	}
	delete(environ, "LC_CTYPE") // Python's own
	if len(environ) > 0 {
		t.Errorf("undocumented variables: %v", environ)
	}
}

func TestExecutionsLeaveNothingToTheNext(t *testing.T) {
	h := newHome(t)
	spy(t, h)
	g := h.start(t)
	first := strings.Fields(g.mustInvoke(t, "spy.find", "{}").body)
	g.mustInvoke(t, "spy.leave", "{}")
	again := strings.Fields(g.mustInvoke(t, "spy.find", "{}").body)
	// The same instance (its hostname), the same few processes, an empty /tmp.
	if len(again) != 2 || strings.Join(again, " ") != strings.Join(first, " ") {
		t.Errorf("after an execution that left things: %v, before: %v", again, first)
	}
	if instances := g.containers(t); len(instances) != 1 {
		t.Errorf("%d instances, want one that is reused", len(instances))
	}
}

func TestStandardStreamsOpenByName(t *testing.T) {
	h := newHome(t)
	spy(t, h)
	g := h.start(t)
	a := g.mustInvoke(t, "spy.dev", `{"a":1}`)
	if a.body != "{\"a\":1}\n" {
		t.Errorf("cat /dev/stdin >/dev/stdout = %q", a.body)
	}
	log := g.get(t, "/api/v1/executions/"+a.header.Get("Attune-Execution-Id")+"/logs/stderr")
	if log.body != "note\n" {
		t.Errorf("stderr = %q", log.body)
	}
}

// inspected is the part of `docker inspect` that the sandbox promises.
type inspected struct {
	Image  string
	Config struct {
		Image, User string
		Env         []string
		Labels      map[string]string
	}
	HostConfig struct {
		NetworkMode, IpcMode string
		ReadonlyRootfs       bool
		Privileged           bool
		CapAdd, CapDrop      []string
		SecurityOpt          []string
		Memory, MemorySwap   int64
		PidsLimit, NanoCpus  int64
		Binds                []string
	}
	Mounts []struct {
		Destination string
		RW          bool
	}
}

func TestInstancesAreHardened(t *testing.T) {
	g := examples(t)
	for _, pack := range []string{"python_example", "nodejs_example", "shell_example"} {
		g.mustInvoke(t, pack+".hello", "{}")
	}
	instances := g.containers(t, "label=attune.role=instance", "status=running")
	if len(instances) < 3 {
		t.Fatalf("%d instances after three packs were called", len(instances))
	}
	out, err := exec.Command("docker", append([]string{"inspect"}, instances...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []inspected
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		host := c.HostConfig
		if !host.ReadonlyRootfs || host.Privileged || host.NetworkMode != "none" || host.IpcMode != "none" || len(host.Binds) > 0 ||
			strings.Join(host.CapDrop, " ") != "ALL" || len(host.CapAdd) != 3 || strings.Join(host.SecurityOpt, " ") != "no-new-privileges" ||
			host.Memory == 0 || host.Memory != host.MemorySwap || host.PidsLimit == 0 || host.NanoCpus == 0 {
			t.Errorf("host configuration = %+v", host)
		}
		if !strings.HasPrefix(c.Config.Image, "sha256:") {
			t.Errorf("created from %q, want an ID", c.Config.Image)
		}
		for _, m := range c.Mounts {
			if m.RW {
				t.Errorf("%s is writable", m.Destination)
			}
		}
		for _, label := range []string{"role", "gateway", "pack", "runtime", "digest"} {
			if _, ok := c.Config.Labels["attune."+label]; !ok {
				t.Errorf("no label attune.%s in %v", label, c.Config.Labels)
			}
		}
		if strings.Contains(string(out), canary) {
			t.Error("the gateway's environment shows in docker inspect")
		}
	}
}

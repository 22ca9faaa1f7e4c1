package tests

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/agent"
)

// TestEscapes: whatever an action tries against the agent, its siblings, the
// container, the host and the network is refused, and the next call is as any.
func TestEscapes(t *testing.T) {
	h := newHome(t)
	program, err := os.ReadFile(impostor(t))
	if err != nil {
		t.Fatal(err)
	}
	var raised []string
	for _, isolation := range attackIsolations {
		slots := "output_format: json\ntimeout: 60\n"
		if isolation != "container" {
			slots += fmt.Sprintf("concurrency: %d\n", attackConcurrency)
		}
		ref := h.attacks(t, "python", isolation, "", map[string]attack{
			"escape": {escape, slots},
			"fine":   python("import os\nreturn sorted(os.listdir(os.environ['HOME']))", slots),
			"victim": python(`
import os, time
with open(os.environ['HOME'] + '/diary', 'w') as diary:
    diary.write('mine')
while not os.path.exists(os.path.dirname(__file__) + '/../gate'):
    time.sleep(0.02)
found = os.listdir(os.environ['HOME'])
with open(os.environ['HOME'] + '/diary') as diary:
    os.unlink(diary.name)
    return {'uid': os.getuid(), 'pid': os.getpid(), 'diary': diary.read(), 'files': found, 'nice': os.nice(0)}`, slots),
		})
		raised = append(raised, filepath.Join(h.packs, ref, "raised"))
		write(t, raised[len(raised)-1], string(program), 0o755)
	}
	h.pack(t, "treasure", map[string]string{"actions/a.yaml": "ref: treasure.a\nentry_point: a.sh\n", "actions/a.sh": "echo mine\n"})
	g := h.start(t)
	g.mustInvoke(t, "treasure.a", "{}")
	for _, file := range raised {
		// A set-uid program of root's, as an image may hold one. A pack with one is
		// refused, so it comes afterwards.
		if err := os.Chmod(file, 0o755|os.ModeSetuid|os.ModeSetgid); err != nil {
			t.Fatal(err)
		}
	}
	gateway := strings.TrimPrefix(g.url, "http://127.0.0.1:")
	bridge := bridgeAddress(t)
	sandboxed(t, func(t *testing.T, _, isolation string) {
		ref := "python_" + isolation
		victim := make(chan answer, 1)
		go func() { victim <- g.invoke(t, ref+".victim", "{}") }()
		eventually(t, 20*time.Second, "a sibling runs", func() bool { return len(g.instances(t, ref)) > 0 })
		normal := g.mustInvoke(t, ref+".fine", "{}").body
		before := g.instances(t, ref)
		a := g.mustInvoke(t, ref+".escape", `{"port":`+gateway+`,"bridge":"`+bridge+`"}`)
		var saw struct {
			Tried    map[string]string
			Writable []string
			UID      string
			Own      int
			Looked   struct {
				Directories, Files int
				Processes          map[string]int // their uids
			}
		}
		decode(t, a.body, &saw)
		if len(saw.Tried) < 60 || saw.Looked.Directories < 500 || saw.Looked.Files < 100 {
			t.Fatalf("too little was tried: %s", a.body)
		}
		for what, got := range saw.Tried {
			if got == "done" {
				t.Errorf("%s was possible", what)
			}
		}
		if len(saw.Writable) != 1 || saw.Writable[0] != "/tmp" && filepath.Dir(saw.Writable[0]) != "/tmp" {
			t.Errorf("writable are %v, want the slot's own directory", saw.Writable)
		}
		if strings.HasPrefix(saw.UID, "0") || saw.UID == "" {
			t.Errorf("a set-uid program runs as %q", saw.UID)
		}
		write(t, filepath.Join(h.packs, ref, "gate"), "", 0o644)
		a = <-victim
		if a.status != 200 {
			t.Fatalf("a sibling of the attack = %d %s", a.status, a.body)
		}
		sibling := a.value(t)
		if want := map[string]any{"uid": sibling["uid"], "pid": sibling["pid"], "diary": "mine", "files": []any{"diary"}, "nice": 0.0}; !cmp.Equal(sibling, want) {
			t.Errorf("a sibling of the attack = %v, want %v", sibling, want)
		}
		attacked(t, isolation, saw.Looked.Processes, saw.Own, sibling)
		if got := g.mustInvoke(t, ref+".fine", "{}").body; got != normal {
			t.Errorf("the next call = %s, before: %s", got, normal)
		}
		if after := g.instances(t, ref); isolation != "container" && !slices.Equal(before, after) {
			t.Errorf("instances before: %v, after: %v", before, after)
		}
	}, "python")
	if got := g.mustInvoke(t, "treasure.a", "{}").body; got != "mine\n" {
		t.Errorf("POST /invoke/treasure.a = %q", got)
	}
}

// attacked checks that nobody was left out: the agent, and in an instance that
// is shared the sibling, the forking parent and the processes that wait.
func attacked(t *testing.T, isolation string, processes map[string]int, own int, sibling map[string]any) {
	t.Helper()
	uids := map[int]int{}
	for _, uid := range processes {
		uids[uid]++
	}
	victim := int(sibling["uid"].(float64))
	waiting := 0
	for uid, n := range uids {
		if uid >= 61000 && uid != victim && uid != own && uid < 65000 {
			waiting += n
		}
	}
	shared := isolation != "container"
	switch {
	case uids[0] != 1 || uids[own] > 0:
		t.Errorf("of other users were the processes %v, want the agent among them and none of the attack's own uid %d", processes, own)
	case shared && (victim == own || processes[fmt.Sprint(sibling["pid"])] != victim):
		t.Errorf("the sibling %v is not among the attacked %v", sibling, processes)
	case isolation == "process" && (uids[agent.ParentUID] == 0 || waiting == 0):
		t.Errorf("the attacked %v lack the parent, or those that wait", processes)
	}
}

// bridgeAddress is where the host stands on the engine's own network.
func bridgeAddress(t *testing.T) string {
	t.Helper()
	words := dockerLines(t, "network", "inspect", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}", "bridge")
	if len(words) == 0 || net.ParseIP(words[0]) == nil {
		return "172.17.0.1"
	}
	return words[0]
}

const escape = `import ctypes, errno, os, signal, socket, stat, subprocess

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    """Call a function of libc; an error is raised."""
    result = getattr(libc, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result

def attempt(f):
    try:
        f()
        return "done"
    except OSError as e:
        return errno.errorcode.get(e.errno, type(e).__name__)
    except ValueError:  # what the resource module makes of EPERM
        return "ValueError"

def read(path):
    def f():
        with open(path, "rb") as file:
            file.read(1)
    return f

def write(path, text="x"):
    def f():
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    return f

def connect(family, address):
    def f():
        with socket.socket(family) as s:
            s.settimeout(2)
            s.connect(address)
    return f

def listen(path):
    def f():
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen()
    return f

def send(address):
    def f():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", address)
    return f

def processes():
    """Everybody else of another user."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                # What can't be dumped belongs to root there, whoever it is.
                with open(f"/proc/{entry}/status") as status:
                    uid = int(status.read().partition("\nUid:\t")[2].split()[0])
                if uid != os.getuid():
                    yield int(entry), uid
            except OSError:
                pass

def against(tried, pid):
    who = f"process {pid}: "
    for name in ["environ", "maps", "mem", "auxv", "io", "syscall", "stack", "personality", "smaps"]:
        tried[who + "reading " + name] = attempt(read(f"/proc/{pid}/{name}"))
    for name in ["fd", "root", "cwd", "map_files", "fdinfo", "task/%d/fd" % pid]:
        tried[who + "listing " + name] = attempt(lambda: os.listdir(f"/proc/{pid}/{name}"))
    for name in ["exe", "root", "cwd", "ns/mnt", "ns/net", "ns/pid"]:
        tried[who + "following " + name] = attempt(lambda: os.readlink(f"/proc/{pid}/{name}"))
    for name in ["mem", "oom_score_adj", "comm", "coredump_filter", "clear_refs", "timerslack_ns", "setgroups", "uid_map"]:
        tried[who + "writing " + name] = attempt(write(f"/proc/{pid}/{name}", "1"))
    for number in [signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL, signal.SIGUSR1]:
        tried[who + "signal %d" % number] = attempt(lambda: os.kill(pid, number))
    if pid != 1:  # kill(-1) would mean everybody we may
        tried[who + "its group"] = attempt(lambda: os.killpg(pid, signal.SIGKILL))
    tried[who + "PTRACE_ATTACH"] = attempt(lambda: call("ptrace", 16, pid, 0, 0))
    tried[who + "PTRACE_SEIZE"] = attempt(lambda: call("ptrace", 0x4206, pid, 0, 0))
    def steal():
        class Vector(ctypes.Structure):
            _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
        room = ctypes.create_string_buffer(8)
        call("process_vm_readv", pid, ctypes.byref(Vector(ctypes.addressof(room), 8)), 1, ctypes.byref(Vector(0x400000, 8)), 1, 0)
    tried[who + "process_vm_readv"] = attempt(steal)
    tried[who + "its priority"] = attempt(lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    tried[who + "its limits"] = attempt(lambda: __import__("resource").prlimit(pid, 7, (3, 3)))
    tried[who + "its processors"] = attempt(lambda: os.sched_setaffinity(pid, {0}))
    def descriptor():
        call("syscall", 438, os.pidfd_open(pid), 0, 0)  # pidfd_getfd
    tried[who + "one of its descriptors"] = attempt(descriptor)
    tried[who + "its namespaces"] = attempt(lambda: call("setns", os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0))

def writable():
    """Where in the whole tree something can be made."""
    found, looked = [], 0
    for root, directories, _ in os.walk("/"):
        directories[:] = [d for d in directories if os.path.join(root, d) not in ("/proc", "/sys")]
        looked += 1
        path = os.path.join(root, ".attune-attack")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.unlink(path)
            found.append(root)
        except OSError:
            pass
    return sorted(found), looked

def kernel(tried):
    """Which files of the kernel's can be opened for writing."""
    looked = 0
    for top in ["/proc/sys", "/sys", "/proc/fs", "/proc/irq", "/proc/bus", "/proc/acpi", "/proc/scsi", "/proc/driver"]:
        for root, _, files in os.walk(top):
            for name in files:
                looked += 1
                path = os.path.join(root, name)
                try:
                    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                    tried["opening " + path + " for writing"] = "done"
                except OSError:
                    pass
            if looked > 20000:
                break
    for path in ["/proc/sysrq-trigger", "/proc/kcore", "/proc/kmsg", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/vm/overcommit_memory",
            "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/ns_last_pid", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent"]:
        tried["writing " + path] = attempt(write(path))
    return looked

def main(params, context):
    tried = {}
    control = "/run/attune/agent.sock"
    tried["connecting to the agent"] = attempt(connect(socket.AF_UNIX, control))
    tried["unlinking its socket"] = attempt(lambda: os.unlink(control))
    tried["a socket in its place"] = attempt(listen(control))
    tried["a link in its place"] = attempt(lambda: os.symlink("/var/run/docker.sock", control))
    tried["its directory away"] = attempt(lambda: os.rename("/run/attune", "/run/away"))
    tried["its directory open"] = attempt(lambda: os.chmod("/run/attune", 0o777))
    for path in ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"]:
        tried["connecting to " + path] = attempt(connect(socket.AF_UNIX, path))

    looked = dict(processes())
    for pid in looked:
        against(tried, pid)
    for name in os.listdir("/tmp"):
        if "/tmp/" + name != os.environ["HOME"]:
            tried["a sibling's files"] = attempt(lambda: os.listdir("/tmp/" + name))
    for uid in {0, 1000, 65532, 65533, 65534, *range(61000, 61008)} - {os.getuid()}:
        tried["becoming uid %d" % uid] = attempt(lambda: os.setresuid(uid, uid, uid))
        tried["becoming gid %d" % uid] = attempt(lambda: os.setresgid(uid, uid, uid))

    pack = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    env = "/opt/attune/runtime_envs/" + os.path.basename(pack) + "/python"
    for path in [__file__, pack + "/pack.yaml", env + "/pyvenv.cfg", "/opt/attune/bin/attune-agent", "/etc/passwd", "/etc/resolv.conf", "/etc/hosts", "/etc/ld.so.preload"]:
        tried["writing " + path] = attempt(write(path))
        tried["removing " + path] = attempt(lambda: os.unlink(path))
        tried["the mode of " + path] = attempt(lambda: os.chmod(path, 0o777))
    for path in ["/opt/attune/packs/treasure", "/opt/attune/runtime_envs/treasure", "/opt/attune/runtime_envs/.store", "/opt/attune/runtime_envs/.run", pack + "/../treasure"]:
        tried["listing " + path] = attempt(lambda: os.listdir(path))

    remount, bind, readonly = 32, 4096, 1
    for path in ["/", pack, env, "/opt/attune/bin", "/run/attune", "/tmp", "/proc", "/sys"]:
        tried["remounting " + path] = attempt(lambda: call("mount", b"none", path.encode(), None, remount | bind, None))
        tried["unmounting " + path] = attempt(lambda: call("umount2", path.encode(), 2))
    for kind in ["tmpfs", "proc", "sysfs", "overlay", "cgroup", "mqueue", "devpts", "fuse"]:
        tried["mounting " + kind] = attempt(lambda: call("mount", b"none", b"/tmp", kind.encode(), 0, None))
    tried["pivot_root"] = attempt(lambda: call("pivot_root", b"/tmp", b"/tmp"))
    tried["chroot"] = attempt(lambda: os.chroot("/tmp"))
    for name, mode, device in [("memory", stat.S_IFCHR, (1, 1)), ("disk", stat.S_IFBLK, (8, 0)), ("null", stat.S_IFCHR, (1, 3))]:
        tried["mknod " + name] = attempt(lambda: os.mknod("/tmp/" + name, mode | 0o666, os.makedev(*device)))
    for name, flag in [("user", 0x10000000), ("mount", 0x20000), ("network", 0x40000000), ("process", 0x20000000), ("UTS", 0x4000000), ("IPC", 0x8000000)]:
        tried["a new %s namespace" % name] = attempt(lambda: os.unshare(flag))
    tried["the host name"] = attempt(lambda: socket.sethostname("x"))
    tried["the clock"] = attempt(lambda: __import__("time").clock_settime(0, 0))
    tried["a reboot"] = attempt(lambda: call("reboot", 0x01234567))
    tried["a module"] = attempt(lambda: call("syscall", {"x86_64": 175}.get(os.uname().machine, 105), 0, 0, b""))
    tried["open_by_handle_at"] = attempt(lambda: call("open_by_handle_at", 0, b"\x08\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0", 0))
    tried["more descriptors"] = attempt(lambda: __import__("resource").setrlimit(7, (1 << 20, 1 << 20)))
    tried["a core dump"] = attempt(lambda: __import__("resource").setrlimit(4, (1, 1)))

    tried["the metadata service"] = attempt(connect(socket.AF_INET, ("169.254.169.254", 80)))
    tried["the gateway on the bridge"] = attempt(connect(socket.AF_INET, (params["bridge"], params["port"])))
    tried["the host on the bridge"] = attempt(connect(socket.AF_INET, (params["bridge"], 22)))
    tried["the gateway on loopback"] = attempt(connect(socket.AF_INET, ("127.0.0.1", params["port"])))
    tried["the internet"] = attempt(connect(socket.AF_INET, ("192.0.2.1", 443)))
    tried["the internet by IPv6"] = attempt(connect(socket.AF_INET6, ("2001:db8::1", 443)))
    tried["a datagram"] = attempt(send(("192.0.2.1", 53)))
    tried["a broadcast"] = attempt(send(("255.255.255.255", 67)))
    tried["the engine by TCP"] = attempt(connect(socket.AF_INET, (params["bridge"], 2375)))
    tried["a name"] = attempt(lambda: socket.getaddrinfo("localhost.invalid", 80))
    tried["a raw socket"] = attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    tried["a packet socket"] = attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))

    opened = kernel(tried)
    places, directories = writable()
    uid = subprocess.run([pack + "/raised", "uid"], capture_output=True, text=True).stdout
    return {"tried": tried, "writable": places, "uid": uid, "own": os.getuid(),
            "looked": {"directories": directories, "files": opened, "processes": looked}}
`

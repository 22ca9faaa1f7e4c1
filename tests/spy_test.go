package tests

import "testing"

// spy is a pack whose actions look around and try what they may not.
func spy(t *testing.T, h home) {
	files := map[string]string{
		"actions/look.yaml": "ref: spy.look\nentry_point: look.py\noutput_format: json\n",
		"actions/look.py":   look,
		"actions/forks.py": `import os, signal
children = []
try:
    for _ in range(500):
        pid = os.fork()
        if not pid:
            signal.pause()
        children.append(pid)
except OSError as e:
    print(type(e).__name__)
`,
		"actions/fill.sh":  "for n in 1 2; do cat /dev/zero 2>&1 >/tmp/$n; done; true\n",
		"actions/hello.sh": "echo hello\n",
		"actions/leave.sh": "mkdir -p /tmp/a/b ~/c && echo secret | tee /tmp/a/b/c ~/c/d >/dev/null && chmod 000 /tmp/a/b\n" +
			"setsid sh -c 'trap \"\" TERM HUP; sleep 1000' </dev/null >/dev/null 2>&1 &\necho left\n",
		"actions/find.sh":       "find /tmp ~ -mindepth 1\nall=$(for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; echo; done)\nsort <<<\"$all\"\n",
		"actions/dev_shell.sh":  "cat /dev/stdin >/dev/stdout\necho note >/dev/stderr\n",
		"actions/dev_node.js":   "const fs = require('fs');\nfs.writeFileSync('/dev/stdout', fs.readFileSync('/dev/stdin'));\nfs.writeFileSync('/dev/stderr', 'note\\n');\n",
		"actions/dev_python.py": "open('/dev/stdout', 'w').write(open('/dev/stdin').read())\nopen('/dev/stderr', 'w').write('note\\n')\n",
	}
	for name, file := range map[string]string{
		"forks": "forks.py", "fill": "fill.sh", "hello": "hello.sh", "leave": "leave.sh", "find": "find.sh",
		"dev_shell": "dev_shell.sh", "dev_node": "dev_node.js", "dev_python": "dev_python.py",
	} {
		files["actions/"+name+".yaml"] = "ref: spy." + name + "\nentry_point: " + file + "\ntimeout: 20\n"
	}
	h.pack(t, "spy", files)
}

const look = `import ctypes, glob, json, os, socket, subprocess, time

def attempt(f):
    try:
        f()
        return "done"
    except OSError as e:
        return type(e).__name__

def create(directory):
    def touch():
        path = os.path.join(directory, "x")
        open(path, "w").close()
        os.unlink(path)
    return attempt(touch)

def connect(family, address):
    s = socket.socket(family)
    s.settimeout(5)
    begun = time.monotonic()
    return {"result": attempt(lambda: s.connect(address)), "seconds": time.monotonic() - begun}

def ptrace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, 1, 0, 0) < 0:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")

def mount():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) < 0:
        raise OSError(ctypes.get_errno(), "mount")

child = subprocess.Popen(["sleep", "1000"])  # its environ can be read; its parent's can't
until = time.monotonic() + 5
while not os.access(f"/proc/{child.pid}/environ", os.R_OK) and time.monotonic() < until:
    pass  # it is on its way through exec
environs = {}
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        environs[path] = open(path).read().replace("\0", "\n")
    except OSError:
        pass
child.kill()
child.wait()
pack, env = "/opt/attune/packs/spy", "/opt/attune/runtime_envs/spy/python"
print(json.dumps({
    "listings": {p: sorted(os.listdir(p)) for p in ["/opt/attune", "/opt/attune/packs", "/opt/attune/runtime_envs",
        "/opt/attune/runtime_envs/spy", "/opt/attune/bin", "/tmp"]} | {"/run/attune": sorted(os.listdir("/run/attune")) if os.access("/run/attune", os.R_OK) else []},
    "writes": {p: create(p) for p in [pack, pack + "/actions", "/opt/attune/packs", env, env + "/bin", env + "/lib/python3.13/site-packages",
        "/opt/attune/runtime_envs", "/opt/attune/bin", "/opt/attune", "/run/attune", "/run", "/", "/etc", "/usr/bin", "/usr/local/lib", "/var/tmp",
        "/root", "/dev", "/dev/shm", "/dev/mqueue", "/sys/fs/cgroup", "/proc/sys/kernel", "/tmp"]},
    "tries": {
        "reading PID 1's environ": attempt(lambda: open("/proc/1/environ").read()),
        "reading PID 1's files": attempt(lambda: os.listdir("/proc/1/fd")),
        "reading PID 1's memory": attempt(lambda: open("/proc/1/mem").read(1)),
        "walking PID 1's root": attempt(lambda: os.listdir("/proc/1/root")),
        "killing PID 1": attempt(lambda: os.kill(1, 9)),
        "tracing PID 1": attempt(ptrace),
        "becoming root": attempt(lambda: os.setuid(0)),
        "becoming another slot": attempt(lambda: os.setuid(65534)),
        "changing groups": attempt(lambda: os.setgroups([0])),
        "a user namespace": attempt(lambda: os.unshare(os.CLONE_NEWUSER)),
        "a device": attempt(lambda: os.mknod("/tmp/device", 0o600 | 0o020000, os.makedev(1, 1))),
        "changing root": attempt(lambda: os.chroot("/tmp")),
        "mounting": attempt(mount),
        "another nice value": attempt(lambda: os.nice(-5)),
        "the kernel's log": attempt(lambda: open("/dev/kmsg").read(1)),
        "the kernel's memory": attempt(lambda: open("/proc/kcore", "rb").read(1) or (_ for _ in ()).throw(OSError("masked"))),
        "shadow passwords": attempt(lambda: open("/etc/shadow").read()),
        "a raw socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        "the engine's socket": attempt(lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock")),
        "the agent's socket": attempt(lambda: socket.socket(socket.AF_UNIX).connect("/run/attune/agent.sock")),
    },
    "connects": {
        "169.254.169.254": connect(socket.AF_INET, ("169.254.169.254", 80)), "a host": connect(socket.AF_INET, ("192.0.2.1", 443)),
        "the engine's bridge": connect(socket.AF_INET, ("172.17.0.1", 22)), "IPv6": connect(socket.AF_INET6, ("2001:db8::1", 443)),
    },
    "status": dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l),
    "ids": " ".join(map(str, os.getresuid() + os.getresgid())), "groups": os.getgroups(),
    "interfaces": [n for _, n in socket.if_nameindex()], "environs": environs,
}))
`

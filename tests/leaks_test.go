package tests

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestLeaks: what one execution plants, wherever it can, the next one doesn't
// find, though it has the same instance. A worker's own memory is the exception
// that its author asked for, and another pack doesn't find that either.
func TestLeaks(t *testing.T) {
	h := newHome(t)
	for _, isolation := range attackIsolations {
		for language, all := range map[string]map[string]attack{
			"python": {"plant": {leakPython, "output_format: json\n"}, "find": {leakPython, "output_format: json\n"}},
			"node":   {"plant": {leakNode, "output_format: json\n"}, "find": {leakNode, "output_format: json\n"}},
			"shell":  {"plant": {plantShell, ""}, "find": {findShell, ""}},
		} {
			if runs(language, isolation) {
				h.attacks(t, language, isolation, "", all)
			}
		}
	}
	h.pack(t, "stranger", map[string]string{
		"actions/find.yaml": "ref: stranger.find\nentry_point: find.py\noutput_format: json\n",
		"actions/find.py":   leakPython + languages["python"].script,
	})
	g := h.start(t)
	elsewhere := g.mustInvoke(t, "stranger.find", `{"find":true}`).body
	sandboxed(t, func(t *testing.T, language, isolation string) {
		ref := language + "_" + isolation
		before := g.mustInvoke(t, ref+".find", `{"find":true}`).body
		instance := g.instances(t, ref)
		planted := g.mustInvoke(t, ref+".plant", `{"plant":true}`)
		if language != "shell" {
			for what, result := range planted.value(t) {
				if strings.HasPrefix(what, "a key of") {
					continue // whether there are any is the engine's choice; none may be found
				}
				if result != "done" && !slices.Contains(unreachable, what) {
					t.Errorf("could not plant %s: %v", what, result)
				}
				if result == "done" && slices.Contains(unreachable, what) {
					t.Errorf("could plant %s", what)
				}
			}
		}
		after := g.mustInvoke(t, ref+".find", `{"find":true}`).body
		if isolation == "worker" {
			was, is := map[string]any{}, map[string]any{}
			decode(t, before, &was)
			decode(t, after, &is)
			if cmp.Equal(was["memory"], is["memory"]) {
				t.Errorf("a worker's memory is new: %v; the documentation says otherwise", is["memory"])
			}
		} else if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("POST /invoke/%s.find before and after plant (-before +after):\n%s", ref, diff)
		}
		if language != "shell" { // what is planted can be found, as long as it lives
			all, clean := map[string]any{}, map[string]any{}
			if isolation == "worker" { // where it still lives
				decode(t, after, &all)
			} else {
				all = g.mustInvoke(t, ref+".find", `{"plant":true,"find":true}`).value(t)
			}
			decode(t, before, &clean)
			for what, found := range all {
				if cmp.Equal(found, clean[what]) && !slices.Contains([]string{"descriptors", "keys", "mounts"}, what) {
					t.Errorf("%s are the same though something was planted: %v", what, found)
				}
			}
		}
		if now := g.instances(t, ref); isolation == "container" == slices.Equal(now, instance) {
			t.Errorf("instances before: %v, after: %v", instance, now)
		}
		if got := g.mustInvoke(t, "stranger.find", `{"find":true}`).body; got != elsewhere {
			t.Errorf("another pack finds of it:\n%s", cmp.Diff(elsewhere, got))
		}
	}, "python", "node", "shell")
}

// unreachable is what the sandbox keeps from being planted at all.
var unreachable = []string{"a file in /dev/shm", "a file in /dev/mqueue", "a message queue"}

// TestLeaksOfTheKernel: System V objects belong to no process and to no
// directory. An instance that has one is not used again.
func TestLeaksOfTheKernel(t *testing.T) {
	h := newHome(t)
	kinds := []string{"shm", "sem", "msg"}
	for _, isolation := range attackIsolations {
		all := map[string]attack{"find": python("return {k: len(open('/proc/sysvipc/' + k).readlines()) - 1 for k in ('shm', 'sem', 'msg')}", "output_format: json\n")}
		for _, kind := range kinds {
			all[kind] = python("import ctypes\nc = ctypes.CDLL(None)\nassert c."+map[string]string{
				"shm": "shmget(4711, 4096, 0o1666)", "sem": "semget(4711, 1, 0o1666)", "msg": "msgget(4711, 0o1666)",
			}[kind]+" >= 0\nreturn open('/proc/sysvipc/"+kind+"').read()", "output_format: json\n")
		}
		h.attacks(t, "python", isolation, "", all)
	}
	g := h.start(t)
	sandboxed(t, func(t *testing.T, language, isolation string) {
		if isolation == "worker" {
			t.Skip("a worker's objects stay as long as it")
		}
		ref := language + "_" + isolation
		for _, kind := range kinds {
			before := g.instances(t, ref)
			if got := g.mustInvoke(t, ref+"."+kind, "{}").body; !strings.Contains(got, "4711") {
				t.Errorf("%s was not made: %s", kind, got)
			}
			if got := g.mustInvoke(t, ref+".find", "{}").body; strings.ContainsAny(got, "123456789") {
				t.Errorf("after %s there are left: %s", kind, got)
			}
			if after := g.instances(t, ref); len(before) > 0 && slices.Equal(before, after) {
				t.Errorf("after %s instances are %v still", kind, after)
			}
		}
	}, "python")
}

// leakPython plants wherever something could stay, or tells what it finds.
const leakPython = `import builtins, ctypes, errno, gc, json, os, resource, signal, socket, subprocess, sys, tempfile, time

libc = ctypes.CDLL(None, use_errno=True)
KEEP = []

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")

def file(path):
    def f():
        with open(path, "w") as out:
            out.write("leak")
    return f

def hidden():
    os.makedirs("/tmp/.h/deep/deeper")
    file("/tmp/.h/deep/deeper/leak")()
    os.chmod("/tmp/.h/deep", 0)
    os.mkfifo("/tmp/fifo")
    os.symlink("/etc/passwd", "/tmp/link")
    os.mkdir(tempfile.gettempdir() + "/locked", 0)

def special():
    s = socket.socket(socket.AF_UNIX)
    s.bind("/tmp/socket")
    s.listen()
    KEEP.append(s)

def session():
    """A process that has left everything: session, parent, streams, signals."""
    code = '''
import os, signal, socket, time
os.setsid()
for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(n, signal.SIG_IGN)
if os.fork(): os._exit(0)
keep = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
keep[0].bind("\\0leak")
keep[1].bind(("127.0.0.1", 4711))
keep[2].bind(("127.0.0.1", 4712))
keep[0].listen()
keep[1].listen()
print("ready", flush=True)
null = os.open("/dev/null", os.O_RDWR)
for fd in range(3): os.dup2(null, fd)
while True: time.sleep(1)
'''
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"ready\n"
    child.wait()

def thread():
    import threading
    threading.Thread(target=time.sleep, args=(1000,), daemon=True, name="leak").start()

def memory():
    builtins.leak = json.leak = True
    global LEAK
    LEAK = True
    sys.modules["leak"] = json
    sys.path.append("/tmp/leak")
    json.dumps_of_old, json.loads = json.loads, lambda *a, **k: {"patched": True, **json.dumps_of_old(*a, **k)}
    import random
    random.seed(1)

def process():
    os.environ["LEAK"] = "leak"
    os.umask(0)
    os.chdir("/tmp")
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    os.nice(5)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    check(libc.prctl(15, b"leak"))

def stopped():
    """A process that is stopped does not take SIGTERM."""
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    child.send_signal(signal.SIGSTOP)

def queue():
    check(libc.mq_open(b"/leak", os.O_CREAT | os.O_RDWR, 0o666, None))

def key(ring):
    number = {"x86_64": 248}.get(os.uname().machine, 217)
    return lambda: check(libc.syscall(number, b"user", b"leak", b"leak", 4, ring))

def attempt(f):
    try:
        f()
        return "done"
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))

def plant():
    return {what: attempt(f) for what, f in {
        "a file in /tmp": file("/tmp/leak"), "a file in HOME": file(os.path.expanduser("~/.leak")), "hidden files": hidden, "a socket": special,
        "a file in /dev/shm": file("/dev/shm/leak"), "a file in /dev/mqueue": file("/dev/mqueue/leak"), "a message queue": queue,
        "a session": session, "a stopped process": stopped, "a thread": thread, "a changed module": memory,
        "a key of the session": key(-3), "a key of the user": key(-4), "a changed process": process,
    }.items()}

def reach(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        try:
            s.connect(address)
            if kind == socket.SOCK_DGRAM:
                s.send(b"x")
                time.sleep(0.05)  # for the refusal to come
                s.send(b"x")
            return "reached"
        except OSError as e:
            return errno.errorcode.get(e.errno, str(e))

def listing(directory):
    try:
        return sorted(os.listdir(directory))
    except OSError as e:
        return errno.errorcode[e.errno]

def others():
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and int(entry) != os.getpid() and os.stat("/proc/" + entry).st_uid == os.getuid():
                found.append(open(f"/proc/{entry}/cmdline").read().replace("\0", " "))
        except OSError:
            pass
    return sorted(found)

def find():
    return {
        "files": {d: listing(d) for d in ["/tmp", os.path.expanduser("~"), tempfile.gettempdir(), "/dev/shm", "/dev/mqueue", "/var/tmp", "/run"]},
        "processes": others(),
        "sockets": [reach(socket.AF_UNIX, "\0leak"), reach(socket.AF_INET, ("127.0.0.1", 4711)), reach(socket.AF_INET, ("127.0.0.1", 4712), socket.SOCK_DGRAM),
            "leak" in open("/proc/net/unix").read(), len(open("/proc/net/tcp").readlines()), len(open("/proc/net/udp").readlines())],
        "memory": [hasattr(builtins, "leak"), hasattr(json, "leak"), "LEAK" in globals(), "leak" in sys.modules, "/tmp/leak" in sys.path, "patched" in json.loads("{}")],
        "environment": sorted(k + "=" + v for k, v in os.environ.items() if k not in ("ATTUNE_EXEC_ID", "ATTUNE_DEADLINE", "ATTUNE_ACTION")),
        "process": [os.umask(0o022), os.getcwd(), os.nice(0), sorted(os.sched_getaffinity(0)), str(signal.getsignal(signal.SIGUSR1)), open("/proc/self/comm").read()],
        "limits": {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT_")},
        "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd")),
        "keys": open("/proc/keys").read().count("leak") if os.access("/proc/keys", os.R_OK) else "masked",
        "mounts": len(open("/proc/self/mountinfo").readlines()),
    }

def main(params, context):
    planted = plant() if params.get("plant") else None
    return find() if params.get("find") else planted
`

// leakNode is the same for what is Node's own.
const leakNode = `
const fs = require('fs'), net = require('net'), child = require('child_process');

function plant() {
  fs.writeFileSync('/tmp/leak', 'leak');
  fs.mkdirSync(process.env.HOME + '/.leak/deep', {recursive: true});
  globalThis.leak = Object.prototype.leak = true;
  fs.leak = require.cache['/tmp/leak.js'] = {};
  require('module')._load = (old => (...a) => old(...a))(require('module')._load);
  require('module')._load.leak = true;
  process.env.LEAK = 'leak';
  process.umask(0);
  process.chdir('/tmp');
  child.spawn('sleep', ['1000'], {detached: true, stdio: 'ignore'}).unref();
  net.createServer().listen('\0leak').unref();
  return {everything: 'done'};
}

function find() {
  const others = fs.readdirSync('/proc').filter(p => /^\d+$/.test(p) && p !== String(process.pid)).map(p => {
    try { return fs.statSync('/proc/' + p).uid === process.getuid() ? fs.readFileSync('/proc/' + p + '/cmdline', 'utf8') : null } catch { return null }
  }).filter(Boolean);
  const found = {
    tmp: fs.readdirSync('/tmp'), home: fs.readdirSync(process.env.HOME), others,
    memory: ['leak' in globalThis, 'leak' in {}, 'leak' in fs, '/tmp/leak.js' in require.cache, 'leak' in require('module')._load],
    env: Object.keys(process.env).sort(), umask: process.umask(0o22), cwd: process.cwd(),
    sockets: fs.readFileSync('/proc/net/unix', 'utf8').includes('leak'),
  };
  return found;
}

async function main(params, context) {
  const planted = params.plant && plant();
  return params.find ? find() : planted;
}
`

const plantShell = `cd /tmp; umask 0; ulimit -n 64; export LEAK=leak; alias ls=leak; leak() { :; }; export -f leak
echo leak >leak; echo 'echo leak' >~/.bashrc; echo 'echo leak' >~/.profile; echo leak | tee .hidden >/dev/null; mkfifo fifo; mkdir -p a/b; chmod 0 a
trap '' TERM HUP INT
(setsid sleep 1000 </dev/null >/dev/null 2>&1 &)
(exec -a leak sleep 1000) </dev/null >/dev/null 2>&1 & disown
coproc sleep 1000
echo planted
`

const findShell = `find /tmp ~ -mindepth 1; pwd; umask; ulimit -a; env | grep -v '^ATTUNE_' | sort; alias; declare -F; ls /proc/self/fd
all=$(for p in /proc/[0-9]*; do tr '\0' ' ' <$p/cmdline; echo; done); sort <<<"$all"
`

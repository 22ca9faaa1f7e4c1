package tests

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tables is a module that takes its time and has state, as numpy does.
const tables = `
import os, random
STATE = {'calls': 0}
MADE = random.random()
WHERE = os.getpid()
`

const countTables = `
import os, random, tables, uuid
def main(params, context):
    tables.STATE['calls'] += 1
    tables.extra = getattr(tables, 'extra', 0) + 1
    with open(os.environ['HOME'] + '/calls', 'a') as file:
        file.write('x')
        return {'calls': tables.STATE['calls'], 'extra': tables.extra, 'files': len(os.listdir(os.environ['HOME'])), 'written': file.tell() or 1,
            'made': tables.MADE, 'here': tables.WHERE == os.getpid(), 'random': random.random(), 'uuid': str(uuid.uuid4()), 'pid': os.getpid()}
`

// TestPreloadedModulesAreNotShared: what is imported once is seen by every
// execution as it was then, whatever others do to theirs, at the same time too.
// Only a worker keeps what was done.
func TestPreloadedModulesAreNotShared(t *testing.T) {
	h := newHome(t)
	for _, isolation := range attackIsolations {
		more := "output_format: json\npreload: [tables]\nmax_instances: 1\n"
		if isolation != "container" {
			more += fmt.Sprintf("concurrency: %d\n", attackConcurrency)
		}
		ref := h.attacks(t, "python", isolation, "", map[string]attack{"count": {countTables, more}})
		write(t, h.packs+"/"+ref+"/lib/tables.py", tables, 0o644)
	}
	g := h.start(t)
	sandboxed(t, func(t *testing.T, _, isolation string) {
		ref := "python_" + isolation + ".count"
		g.mustInvoke(t, ref, "{}")
		const calls = 8
		all := make([]map[string]any, calls)
		var running sync.WaitGroup
		for n := range all {
			running.Go(func() { all[n] = g.mustInvoke(t, ref, "{}").value(t) })
			if n%attackConcurrency == attackConcurrency-1 {
				running.Wait()
			}
		}
		made, random, kept := map[any]int{}, map[any]int{}, 0
		for _, saw := range all {
			made[saw["made"]]++
			random[saw["random"]]++
			random[saw["uuid"]]++
			if saw["calls"] != 1.0 {
				kept++
				continue
			}
			if saw["extra"] != 1.0 || saw["files"] != 1.0 || saw["written"] != 1.0 {
				t.Errorf("an execution saw another's state: %v", saw)
			}
			if isolation == "process" && saw["here"] != false {
				t.Errorf("an execution has imported the module itself: %v", saw)
			}
		}
		if len(random) != 2*calls {
			t.Errorf("of %d random numbers and UUIDs there were %d different ones: %v", 2*calls, len(random), all)
		}
		switch isolation {
		case "worker":
			if kept == 0 {
				t.Errorf("no worker kept its module: %v", all)
			}
		case "process":
			if kept > 0 || len(made) != 1 {
				t.Errorf("%d executions saw others' calls; the module was imported %d times, want once: %v", kept, len(made), all)
			}
		default:
			if kept > 0 || len(made) != calls {
				t.Errorf("%d executions saw others' calls; the module was imported %d times by %d instances: %v", kept, len(made), calls, all)
			}
		}
	}, "python")
}

// lookAfterPoison tells in what it runs and what it finds, and leaves something.
const lookAfterPoison = `
import json, os, subprocess, time
def status(pid):
    with open(f'/proc/{pid}/status') as file:
        return dict(line.split(':\t', 1) for line in file.read().splitlines())
others = []
for pid in os.listdir('/proc'):
    try:
        if pid.isdigit() and int(pid) != os.getpid() and status(pid)['Uid'].split()[0] == str(os.getuid()):
            others.append(open(f'/proc/{pid}/cmdline').read())
    except OSError:
        pass
own, home = status('self'), os.environ['HOME']
print(json.dumps({
    'uid': os.getuid(), 'uids': sorted(set(own['Uid'].split() + own['Gid'].split())), 'groups': own['Groups'].split(), 'others': others,
    'files': os.listdir(home), 'caps': sorted({own[c] for c in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb')}), 'nnp': own['NoNewPrivs'],
    'fds': sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:4],
}), flush=True)
os.close(os.open(home + '/leak', os.O_CREAT))
subprocess.Popen(['sleep', '4321'], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep(json.loads(input()).get('sleep', 0))
`

// becomesRoot does what it likes in a child of the parent's, which may take any
// uid, and tells of all that was possible.
const becomesRoot = `
import ctypes, os, sys
from escape import attempt, call, connect, read, write
import socket
def attack():
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    tried = {}
    for name in ['mem', 'maps', 'environ', 'auxv', 'syscall', 'stack', 'io']:
        tried['reading ' + name] = attempt(read('/proc/1/' + name))
    for name in ['fdinfo', 'root', 'cwd', 'map_files']:
        tried['listing ' + name] = attempt(lambda: os.listdir('/proc/1/' + name))
    for name in ['exe', 'root', 'ns/mnt', 'ns/net', 'ns/pid']:
        tried['following ' + name] = attempt(lambda: os.readlink('/proc/1/' + name))
    tried['writing mem'] = attempt(write('/proc/1/mem'))
    for request in (16, 0x4206):
        tried['ptrace %d' % request] = attempt(lambda: call('ptrace', request, 1, 0, 0))
    for fd in range(16):
        tried['following fd/%d' % fd] = attempt(lambda: os.readlink('/proc/1/fd/%d' % fd))
        tried['opening fd/%d' % fd] = attempt(lambda: os.close(os.open('/proc/1/fd/%d' % fd, os.O_RDWR | os.O_NONBLOCK)))
        tried['descriptor %d' % fd] = attempt(lambda: call('syscall', 438, os.pidfd_open(1), fd, 0))
    for kind in ['tmpfs', 'proc', 'sysfs', 'cgroup', 'overlay']:
        tried['mounting ' + kind] = attempt(lambda: call('mount', b'none', b'/tmp', kind.encode(), 0, None))
    for path in ['/', '/opt/attune/bin', '/run/attune', '/proc', '/sys']:
        tried['remounting ' + path] = attempt(lambda: call('mount', b'none', path.encode(), None, 32, None))
        tried['unmounting ' + path] = attempt(lambda: call('umount2', path.encode(), 2))
    for path in ['/etc/passwd', '/opt/attune/bin/attune-agent', __file__, '/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/hostname']:
        tried['writing ' + path] = attempt(write(path))
        tried['removing ' + path] = attempt(lambda: os.unlink(path))
    for path in ['/run/attune', '/opt/attune/bin', '/opt/attune/runtime_envs', '/opt/attune/packs', '/dev/shm', '/dev/mqueue', '/var/tmp', '/root']:
        tried['a file in ' + path] = attempt(lambda: os.close(os.open(path + '/x', os.O_CREAT | os.O_WRONLY)))
    tried['chroot'] = attempt(lambda: os.chroot('/tmp'))
    tried['mknod'] = attempt(lambda: os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0)))
    for flag in [0x10000000, 0x20000, 0x40000000, 0x20000000]:
        tried['unshare %x' % flag] = attempt(lambda: os.unshare(flag))
    tried['the host name'] = attempt(lambda: socket.sethostname('x'))
    tried['a reboot'] = attempt(lambda: call('reboot', 0x01234567))
    tried['a raw socket'] = attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
    tried['the internet'] = attempt(connect(socket.AF_INET, ('192.0.2.1', 443)))
    tried['the engine'] = attempt(connect(socket.AF_UNIX, '/var/run/docker.sock'))
    tried['the agent'] = attempt(connect(socket.AF_UNIX, '/run/attune/agent.sock'))
    done = sorted(what for what, got in tried.items() if got == 'done')
    print('as root tried', len(tried), 'and could', done, file=sys.stderr, flush=True)
if os.fork() == 0:
    try:
        attack()
    finally:
        os._exit(0)
os.wait()
`

// poison is a module that is preloaded, and does harm.
type poison struct {
	module string
	notice string // in the gateway's log
	// The processes that it breaks while they are handed over fail their calls.
	fails bool
}

// TestPoisonedPreload: a module that kills the parent, or says rubbish in its
// name, costs the speed of forking. The executions are confined, and leave
// nothing to the next.
func TestPoisonedPreload(t *testing.T) {
	poisons := map[string]poison{
		"dies":         {"import os\nos.kill(os.getpid(), 9)\n", "the forking parent is gone", false},
		"exits":        {"import os\nos._exit(0)\n", "the forking parent is gone", false},
		"hangs_up":     {"import os\nos.close(3)\n", "the forking parent is gone", false},
		"rubbish":      {"import os\nos.write(3, b'\\xff\\x00 no JSON')\n", "the forking parent is gone", false},
		"long_rubbish": {"import os\nos.write(3, b'[' * 100_000)\n", "the forking parent is gone", false},
		"ready_twice":  {"import os\nos.write(3, b'{\"ready\": true, \"forks\": true, \"notices\": []}')\n", "the forking parent is gone", false},
		"no_child":     {"import os\nos.write(3, b'{\"id\": 1, \"pid\": 1}')\n", "the forking parent is gone", false},
		"foreign_pid":  {"import json, os, socket\nask = json.dumps\njson.dumps = lambda m, **k: ask(dict(m, pid=1) if 'pid' in m else m, **k)\n", "the forking parent is gone", false},
		"no_status":    {"import json\nask = json.dumps\njson.dumps = lambda m, **k: ask(dict(m, status='x') if 'status' in m else m, **k)\n", "the forking parent is gone", true},
		"no_fork":      {"import os\ndef fork(): raise OSError(11, 'no more')\nos.fork = fork\n", "no process is kept ready", false},
		"no_uid":       {"import os\ndef no(*a): raise OSError(1, 'no')\nos.setresuid = no\n", "no process is kept ready", true},
		"dead_child":   {"import os\nfork = os.fork\ndef forks():\n    pid = fork()\n    if pid == 0: os.kill(os.getpid(), 9)\n    return pid\nos.fork = forks\n", "no process is kept ready", true},
		"becomes_root": {becomesRoot, "and could []", false},
	}
	h := newHome(t)
	h.pack(t, "neighbour", map[string]string{"actions/a.yaml": "ref: neighbour.a\nentry_point: a.sh\ntimeout: 10\n", "actions/a.sh": "echo here\n"})
	for name, p := range poisons {
		h.pack(t, "poison_"+name, map[string]string{
			"actions/look.yaml": "ref: poison_" + name + ".look\nentry_point: look.py\noutput_format: json\npreload: [poison]\ntimeout: 20\n",
			"actions/look.py":   lookAfterPoison, "lib/poison.py": p.module, "lib/escape.py": escape,
		})
	}
	g := h.start(t)
	g.mustInvoke(t, "neighbour.a", "{}")
	for name, p := range poisons {
		t.Run(name, func(t *testing.T) {
			ref := "poison_" + name
			served := g.meanwhile(t, "neighbour.a", "here\n")
			defer served()
			for range 3 {
				a := g.invoke(t, ref+".look", "{}")
				if a.status == 200 {
					confined(t, a)
				} else if p := a.problem(t); !poisons[name].fails || a.status != 502 || !p.Started || p.Retryable {
					t.Errorf("POST /invoke/%s.look = %d %s", ref, a.status, a.body)
				}
			}
			if left := strings.Count(top(t, g), "sleep 4321"); left > 0 {
				t.Errorf("%d processes are left", left)
			}
			if p.notice == "" {
				return
			}
			eventually(t, 10*time.Second, "the log says so", func() bool {
				return slices.ContainsFunc(strings.Split(g.text(), "\n"), func(line string) bool {
					return strings.Contains(line, `"pack":"`+ref+`"`) && strings.Contains(line, p.notice)
				})
			})
		})
	}
}

// confined checks what lookAfterPoison tells.
func confined(t *testing.T, a answer) {
	t.Helper()
	var saw struct {
		UID                               int
		Uids, Groups, Others, Files, Caps []string
		NNP                               string
		FDs                               []int
	}
	decode(t, a.body, &saw)
	own := fmt.Sprint(saw.UID)
	if saw.UID < 61000 || saw.UID > 65533 || saw.UID == 65532 || !slices.Equal(saw.Uids, []string{own}) || len(saw.Groups) > 0 {
		t.Errorf("an execution is uid %d, among %v, in groups %v", saw.UID, saw.Uids, saw.Groups)
	}
	if !slices.Equal(saw.Caps, []string{"0000000000000000"}) || saw.NNP != "1" {
		t.Errorf("an execution has the capabilities %v, no_new_privs %s", saw.Caps, saw.NNP)
	}
	if len(saw.Others) > 0 || len(saw.Files) > 0 || !slices.Equal(saw.FDs, []int{0, 1, 2, 3}) { // the last is of the listing
		t.Errorf("an execution found processes %q, files %v and descriptors %v", saw.Others, saw.Files, saw.FDs)
	}
}

// TestPreloadThatCostsTheInstance: what the parent takes with it is the execution
// that it runs, or the whole instance, or half of a call's time. The call is answered
// with the truth, in time, and is not run again.
func TestPreloadThatCostsTheInstance(t *testing.T) {
	h := newHome(t)
	h.pack(t, "neighbour", map[string]string{"actions/a.yaml": "ref: neighbour.a\nentry_point: a.sh\ntimeout: 10\n", "actions/a.sh": "echo here\n"})
	for name, module := range map[string]string{
		// A timer isn't inherited by children.
		"dies_later": "import signal\nsignal.setitimer(signal.ITIMER_REAL, 2)\n",
		"hangs":      "import time\ntime.sleep(1000)\n",
		"kills_all":  "import os, signal\nif os.fork() == 0:\n    os.setresuid(0, 0, 0)\n    os.kill(1, signal.SIGTERM)\n    os._exit(0)\nos.wait()\n",
	} {
		h.pack(t, "poison_"+name, map[string]string{
			"actions/look.yaml": "ref: poison_" + name + ".look\nentry_point: look.py\noutput_format: json\npreload: [poison]\ntimeout: 4\n",
			"actions/look.py":   lookAfterPoison, "lib/poison.py": module,
		})
	}
	g := h.start(t)
	g.mustInvoke(t, "neighbour.a", "{}")
	bounded := func(t *testing.T, action, body string) (a answer) {
		t.Helper()
		defer g.meanwhile(t, "neighbour.a", "here\n")()
		begun := time.Now()
		a = g.invoke(t, action, body)
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("POST /invoke/%s took %s", action, took)
		}
		if left := strings.Count(top(t, g), "sleep 4321"); left > 0 {
			t.Errorf("%d processes are left", left)
		}
		return a
	}
	t.Run("the parent dies while it serves", func(t *testing.T) {
		a := bounded(t, "poison_dies_later.look", `{"sleep": 3}`)
		if p := a.problem(t); a.status != 502 || p.Type != "/problems/instance-lost" || !p.Started || p.Retryable {
			t.Errorf("an execution whose parent died = %d %s", a.status, a.body)
		}
		if x := record(t, g, a); x["status"] != "failed" {
			t.Errorf("record = %v", x)
		}
		confined(t, g.mustInvoke(t, "poison_dies_later.look", "{}"))
	})
	t.Run("the parent is never ready", func(t *testing.T) {
		// Half of its time it waits for it, and then it starts an interpreter of its own.
		if a := bounded(t, "poison_hangs.look", "{}"); a.status != 200 {
			t.Errorf("an execution whose parent hangs = %d %s", a.status, a.body)
		}
	})
	t.Run("the agent is killed", func(t *testing.T) {
		since := time.Now()
		a := bounded(t, "poison_kills_all.look", "{}")
		if p := a.problem(t); a.status != 502 && a.status != 503 || p.Component != "engine" && p.Type != "/problems/instance-lost" {
			t.Errorf("an execution whose agent is killed = %d %s", a.status, a.body)
		}
		if n := g.started(t, since); n > 3 {
			t.Errorf("%d instances were started for it", n)
		}
	})
}

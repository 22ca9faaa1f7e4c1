package runtimes

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/agent"
)

// parentRig is a running Python parent and its socket.
type parentRig struct {
	conn  *net.UnixConn
	ready struct {
		Ready, Forks bool
		Notices      []string
	}
}

// parentMessage is what a parent says of a request.
type parentMessage struct {
	ID     string
	Pid    int
	Status syscall.WaitStatus
	Error  string
}

func startParent(t *testing.T, python, preload string, env []string, attr *syscall.SysProcAttr) *parentRig {
	t.Helper()
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-u", installedProgram(t, "python/parent.py"))
	cmd.Env, cmd.Dir, cmd.SysProcAttr = append([]string{"ATTUNE_PRELOAD=" + preload}, env...), "/", attr
	cmd.ExtraFiles, cmd.Stderr = []*os.File{theirs}, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() {
		conn.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the parent's end: %v", err)
		}
	})
	r := &parentRig{conn: conn.(*net.UnixConn)}
	r.receive(t, &r.ready)
	if !r.ready.Ready {
		t.Fatalf("the parent says %+v", r.ready)
	}
	return r
}

// installedProgram copies a program to where every user can read it.
func installedProgram(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.Base(name))
	writeFile(t, path, string(content), 0o644)
	return path
}

func (r *parentRig) receive(t *testing.T, message any) {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := r.conn.Read(buf)
	if err != nil {
		t.Fatalf("read from the parent: %v", err)
	}
	if err := json.Unmarshal(buf[:n], message); err != nil {
		t.Fatalf("the parent says %q: %v", buf[:n], err)
	}
}

// start asks for an execution; uid 0 keeps the parent's.
func (r *parentRig) start(t *testing.T, id string, argv []string, dir string, env []string, uid int) (*pipes, int) {
	t.Helper()
	vars := map[string]string{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	request := map[string]any{"id": id, "scripts": argv[:1]}
	if uid != 0 {
		request["uid"] = uid
	}
	text, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	order, err := json.Marshal(map[string]any{"argv": argv, "dir": dir, "env": vars})
	if err != nil {
		t.Fatal(err)
	}
	waits, orders, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	p := newPipes(t)
	rights := syscall.UnixRights(int(p.theirs[0].Fd()), int(p.theirs[1].Fd()), int(p.theirs[2].Fd()), int(waits.Fd()))
	if _, _, err := r.conn.WriteMsgUnix(text, rights, nil); err != nil {
		t.Fatal(err)
	}
	var started parentMessage
	r.receive(t, &started)
	if started.ID != id || started.Pid <= 0 {
		t.Fatalf("the parent says %+v of a request", started)
	}
	if _, err := orders.Write(order); err != nil {
		t.Fatal(err)
	}
	if err := orders.Close(); err != nil {
		t.Fatal(err)
	}
	return p, started.Pid
}

func (r *parentRig) run(t *testing.T, argv []string, dir string, env []string, uid int, stdin string) outcome {
	t.Helper()
	p, _ := r.start(t, "x", argv, dir, env, uid)
	stdout, stderr := p.exchange(stdin)
	var ended parentMessage
	r.receive(t, &ended)
	return outcome{stdout, stderr, ended.Status}
}

// TestParentRunsScriptsAsPythonDoes runs every script of testdata/python both
// ways, twice by one parent: the first compiles it.
func TestParentRunsScriptsAsPythonDoes(t *testing.T) {
	t.Parallel()
	python := interpreter(t, "python3")
	env := []string{
		"HOME=/tmp", "LANG=C.UTF-8", "ONE=1", "PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "TMPDIR=/tmp",
	}
	parent := startParent(t, python, "[]", append(env, "TZ=UTC"), nil)
	env = append(env, "TZ=America/New_York")
	all := scripts(t, "python/*.py", "python/shadow/shadowed.py")
	if len(all) < 60 {
		t.Fatalf("%d scripts", len(all))
	}
	for _, script := range all {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".py"), func(t *testing.T) {
			const stdin = "{\"name\":\"Ada\"}\nsecond line\n"
			dir := filepath.Dir(script)
			want := plain(t, []string{python, "-u", script, "one"}, dir, env, stdin)
			for range 2 {
				same(t, want, parent.run(t, []string{script, "one"}, dir, env, 0, stdin))
			}
		})
	}
}

func TestParentTakesAChangedScript(t *testing.T) {
	t.Parallel()
	parent := startParent(t, interpreter(t, "python3"), "[]", nil, nil)
	script := filepath.Join(t.TempDir(), "a.py")
	for _, text := range []string{"one", "two", "three"} {
		writeFile(t, script, "print('"+text+"')", 0o644)
		if got := parent.run(t, []string{script}, "/", nil, 0, ""); got.Stdout != text+"\n" {
			t.Errorf("the script printed %q, want %q", got.Stdout, text)
		}
	}
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	if got := parent.run(t, []string{script}, "/", nil, 0, ""); got.Status.ExitStatus() != 2 {
		t.Errorf("a script that is gone: %+v, want exit code 2", got)
	}
}

// TestParentServesConcurrently checks that a long execution keeps no other.
func TestParentServesConcurrently(t *testing.T) {
	t.Parallel()
	parent := startParent(t, interpreter(t, "python3"), "[]", nil, nil)
	script := filepath.Join(t.TempDir(), "a.py")
	writeFile(t, script, "import sys; sys.exit(int(sys.stdin.read()))", 0o644)
	var started []*pipes
	pids := map[int]bool{}
	for i := range 5 {
		p, pid := parent.start(t, fmt.Sprint(i), []string{script}, "/", nil, 0)
		started, pids[pid] = append(started, p), true
	}
	if len(pids) != 5 {
		t.Fatalf("processes = %v", pids)
	}
	for _, i := range []int{3, 0, 4, 1, 2} {
		if stdout, stderr := started[i].exchange(fmt.Sprint(i)); stdout+stderr != "" {
			t.Errorf("execution %d printed %q, %q", i, stdout, stderr)
		}
		var ended parentMessage
		parent.receive(t, &ended)
		if ended.ID != fmt.Sprint(i) || ended.Status.ExitStatus() != i {
			t.Errorf("the parent says %+v, want the end of %d", ended, i)
		}
	}
}

// TestParentSharesNothing checks what executions must not inherit from each
// other or from the parent.
func TestParentSharesNothing(t *testing.T) {
	t.Parallel()
	lib := t.TempDir()
	writeFile(t, filepath.Join(lib, "preloaded.py"), "import random, tempfile\nTHERE = tempfile.gettempdir()\n", 0o644)
	script := filepath.Join(lib, "a.py")
	writeFile(t, script, `
import os, random, sys, tempfile, uuid
import preloaded
print(random.random(), uuid.uuid4(), id(preloaded) and getattr(preloaded, "touched", None), tempfile.gettempdir(), os.environ.get("ATTUNE_PRELOAD"))
preloaded.touched = True
`, 0o644)
	env := []string{"PYTHONPATH=" + lib, "TMPDIR=" + lib}
	parent := startParent(t, interpreter(t, "python3"), `["preloaded"]`, env, nil)
	if !parent.ready.Forks || len(parent.ready.Notices) != 0 {
		t.Fatalf("the parent says %+v", parent.ready)
	}
	seen := map[string]bool{}
	for range 3 {
		got := parent.run(t, []string{script}, "/", []string{"TMPDIR=/var/tmp"}, 0, "")
		fields := strings.Fields(got.Stdout)
		if len(fields) != 5 || fields[2] != "None" || fields[3] != "/var/tmp" || fields[4] != "None" {
			t.Fatalf("an execution sees %+v", got)
		}
		seen[fields[0]], seen[fields[1]] = true, true
	}
	if len(seen) != 6 {
		t.Errorf("random numbers of 3 executions = %v", seen)
	}
}

// TestParentNotices checks that modules that don't survive a fork, or can't be
// imported, are named.
func TestParentNotices(t *testing.T) {
	t.Parallel()
	python := interpreter(t, "python3")
	modules := map[string]string{
		"threaded":  "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
		"opened":    "FILE = open('/dev/null')\n",
		"spawned":   "import subprocess\nCHILD = subprocess.Popen(['sleep', '0.2'])\n",
		"broken":    "1 / 0\n",
		"exits":     "raise SystemExit(3)\n",
		"harmless":  "open('/dev/null').close()\n",
		"joins":     "import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()\n",
		"allowance": "import os\nONE = os.environ['OMP_NUM_THREADS']\n",
	}
	lib := t.TempDir()
	for name, text := range modules {
		writeFile(t, filepath.Join(lib, name+".py"), text, 0o644)
	}
	tests := map[string]struct {
		forks bool
		want  []string
	}{
		"threaded":     {false, []string{"preload threaded started with threads: executions don't fork"}},
		"opened":       {false, []string{"preload opened started with files that it keeps open: executions don't fork"}},
		"spawned":      {false, []string{"preload spawned started with processes: executions don't fork"}},
		"broken":       {true, []string{"preload broken: ZeroDivisionError: division by zero"}},
		"exits":        {true, []string{"preload exits: SystemExit: 3"}},
		"not_there":    {true, []string{"preload not_there: ModuleNotFoundError: No module named 'not_there'"}},
		"harmless":     {true, []string{}},
		"joins":        {true, []string{}},
		"allowance":    {true, []string{}},
		"json.decoder": {true, []string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := startParent(t, python, fmt.Sprintf("[%q]", name), []string{"PYTHONPATH=" + lib, "PATH=/usr/bin:/bin"}, nil)
			if diff := cmp.Diff(test.want, parent.ready.Notices); diff != "" || parent.ready.Forks != test.forks {
				t.Errorf("forks = %t, want %t; notices (-want +got):\n%s", parent.ready.Forks, test.forks, diff)
			}
		})
	}
}

// TestParentConfinesExecutions starts a parent with the rights that an agent
// leaves it, and looks at what an execution has of them.
func TestParentConfinesExecutions(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give a parent its rights")
	}
	python := "/usr/bin/python3" // another user must be able to execute it
	if _, err := os.Stat(python); err != nil {
		python = interpreter(t, "python3")
	}
	const setgid, setuid = 6, 7
	parent := startParent(t, python, "[]", []string{"FROM=parent"}, &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: agent.ParentUID, Gid: agent.ParentUID},
		AmbientCaps: []uintptr{setgid, setuid},
	})
	script := installedProgram(t, "testdata/confined/status.py")
	got := parent.run(t, []string{script}, "/", []string{"OWN=1"}, agent.UID(3), "")
	var seen map[string]string
	if err := json.Unmarshal([]byte(got.Stdout), &seen); err != nil || got.Stderr != "" {
		t.Fatalf("the script printed %+v: %v", got, err)
	}
	want := map[string]string{
		"Uid": "61003 61003 61003 61003", "Gid": "61003 61003 61003 61003", "Groups": "",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "dumpable": "1", "session": "own", "descriptors": "0 1 2",
		"setuid": "PermissionError", "kill the parent": "PermissionError", "read the parent": "PermissionError",
		"become another": "PermissionError", "env": "OWN",
	}
	if diff := cmp.Diff(want, maps.Clone(seen)); diff != "" {
		t.Errorf("an execution (-want +got):\n%s", diff)
	}
}

package agent_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent"
)

func TestParent(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Run("one after the other", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{Parent: pythonParent()}})
		t.Run("lives", c.forkedLives)
		t.Run("privileges", c.forkedPrivileges)
		t.Run("leftovers", c.forkedLeftovers)
		t.Run("ends", c.forkedEnds)
		t.Run("large requests", c.largeRequests)
		t.Run("files", c.forkedFiles)
		t.Run("secrets", c.secrets)
		t.Run("small", c.small)
		t.Run("no leaks", func(t *testing.T) {
			c.leaks(t, 200, func() { run(t, c, script(agent.ViaParent, "life.py", "0")) })
		})
		noNotice(t, c.Conn)
	})
	t.Run("two slots", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{Slots: 2, Parent: pythonParent()}})
		t.Run("files", c.forkedFiles)
		t.Run("side by side", c.forkedSideBySide)
		noNotice(t, c.Conn)
	})
	t.Run("is killed beside who waits", b.parentIsKilled)
	t.Run("that leaves files", b.parentLeavesFiles)
	t.Run("with threads", b.parentWithThreads)
}

func (c *contained) forkedLives(t *testing.T) {
	for _, code := range []int{0, 7, 255} {
		for _, via := range []agent.Via{agent.ViaExec, agent.ViaParent} {
			r := script(via, "life.py", strconv.Itoa(code), "ä b", "")
			r.Stdin, r.Env = []byte("in"), append([]string{"GREETING=hello"}, warmEnv...)
			got := run(t, c, r)
			if want := fmt.Sprintf("out in %d ä b  hello\n", code); got.Via != via || got.Code != code || !got.Reusable || got.stdout != want || got.stderr != "err\n" {
				t.Errorf("via %v: %+v, want %q", via, got, want)
			}
		}
	}
	if got := run(t, c, script(agent.ViaParent, "life.py", "-15")); got.Code != 143 || got.Signal != 15 || got.Via != agent.ViaParent {
		t.Errorf("by signal: %+v", got)
	}
	missing := script(agent.ViaParent, "missing.py")
	if got := run(t, c, missing); got.Code != 2 || !strings.Contains(got.stderr, "No such file") {
		t.Errorf("a missing script: %+v", got)
	}
}

// A forked process has the rights of an executed one, and a uid of its own.
func (c *contained) forkedPrivileges(t *testing.T) {
	want := `Groups: CapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapAmb:0000000000000000 NoNewPrivs:1
True True 1000
['0', '1', '2']
0o22 / ['HOME', 'PATH', 'TMPDIR']
`
	for _, via := range []agent.Via{agent.ViaExec, agent.ViaParent} {
		got := run(t, c, script(via, "privileges.py"))
		ids, rest, _ := strings.Cut(got.stdout, "\n")
		var uid int
		fmt.Sscanf(ids, "(%d", &uid)
		if forked := uid == agent.UID(1) || uid == agent.UID(2); via == agent.ViaExec && uid != agent.SlotUID || via == agent.ViaParent && !forked {
			t.Errorf("via %v: uid %d", via, uid)
		}
		if all := fmt.Sprintf("(%[1]d, %[1]d, %[1]d) (%[1]d, %[1]d, %[1]d) []", uid); ids != all || rest != want || got.Via != via {
			t.Errorf("via %v: %+v, want\n%s\n%s", via, got, all, want)
		}
	}
}

func (c *contained) forkedLeftovers(t *testing.T) {
	for _, arg := range []string{"session", "files", "parent"} {
		if got := run(t, c, script(agent.ViaParent, "leave.py", arg)); !ok(got) || got.Via != agent.ViaParent {
			t.Errorf("%s: %+v", arg, got)
		}
		got := run(t, c, script(agent.ViaParent, "processes.py"))
		others, waiting := 0, 0
		for line := range strings.Lines(got.stdout) {
			f := strings.Fields(line)
			switch {
			case f[0] == "1" || f[1] == strconv.Itoa(agent.ParentUID) && f[2] == "1": // the agent and the parent
			case f[2] != "1" && strings.HasSuffix(strings.TrimSpace(line), "/parent.py"): // an orphan's parent is the agent
				waiting++
			default:
				others++
			}
		}
		if others > 0 || waiting > 1 || !ok(got) {
			t.Errorf("%s: the next execution sees %+v", arg, got)
		}
		if got := run(t, c, inside("ls -A /tmp")); got.stdout != "" || !ok(got) {
			t.Errorf("%s: %+v", arg, got)
		}
	}
}

func (c *contained) forkedEnds(t *testing.T) {
	r := script(agent.ViaParent, "stay.py")
	r.Timeout = 200 * time.Millisecond
	if got := run(t, c, r); !got.TimedOut || got.Signal != 15 || !got.Reusable || got.Via != agent.ViaParent {
		t.Errorf("timeout: %+v", got)
	}
	stays := begin(t, c, script(agent.ViaParent, "stay.py"))
	stays.out.line(t)
	stays.stop()
	if got := stays.wait(t); !got.Cancelled || got.Signal != 15 || !got.Reusable {
		t.Errorf("cancelled: %+v", got)
	}
	if got := run(t, c, script(agent.ViaParent, "life.py", "-9")); got.Signal != 9 || !got.Reusable {
		t.Errorf("killed: %+v", got)
	}
}

func (c *contained) largeRequests(t *testing.T) {
	for _, size := range []int{30 << 10, 60 << 10, 66 << 10} { // twice that is more than a pipe holds
		r := script(agent.ViaParent, "life.py", "0")
		r.Env = append([]string{"A=" + strings.Repeat("x", size), "B=" + strings.Repeat("y", size)}, warmEnv...)
		if got := run(t, c, r); got.Via != agent.ViaParent || !ok(got) {
			t.Errorf("twice %d bytes: %+v, want it forked", size, got.Exit)
		}
	}
}

// forkedFiles has files made in the place of a child that waits already.
func (c *contained) forkedFiles(t *testing.T) {
	r := script(agent.ViaParent, "files.py")
	r.Env = append([]string{agent.ParameterFile + "=parameters"}, warmEnv...)
	for n := range 5 { // every place, and some again
		content := fmt.Sprintf(`{"n":%d}`, n)
		r.Files = []agent.File{{Name: "parameters", Data: []byte(content)}}
		want := content + " True 0o400 ['parameters'] True\n"
		if got := run(t, c, r); got.stdout != want || !ok(got) || got.Via != agent.ViaParent {
			t.Errorf("Execute() = %+v, want %q", got, want)
		}
	}
	if got := run(t, c, inside("ls -A $HOME; find /tmp -name parameters 2>/dev/null; true")); got.stdout != "" {
		t.Errorf("left: %q", got.stdout)
	}
}

// forkedSideBySide has more executions than slots in the queue: all are forked.
func (c *contained) forkedSideBySide(t *testing.T) {
	inLine(t, c, 2, 16, func(n string) agent.Request { return script(agent.ViaParent, "life.py", n) })
}

// inLine runs executions, as many at once as there are slots, which all must be
// forked, and each itself.
func inLine(t *testing.T, c executor, slots, count int, request func(n string) agent.Request) {
	t.Helper()
	free := make(chan struct{}, slots)
	var all sync.WaitGroup
	for n := range count {
		all.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			var out strings.Builder
			exit, err := c.Execute(t.Context(), request(strconv.Itoa(n)), agent.Output{Stdout: &out})
			if err != nil || exit.Code != n || !exit.Reusable || exit.Via != agent.ViaParent || out.String() != fmt.Sprintf("out  %d None\n", n) {
				t.Errorf("execution %d = %+v, %v, %q", n, exit, err, out.String())
			}
		})
	}
	all.Wait()
}

// With the parent's end nobody would learn how who waits ends: it is killed, and
// executions are executed.
func (b *bench) parentIsKilled(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can kill what runs in a container")
	}
	c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{Parent: pythonParent(), StockCount: 2}})
	pid, err := c.PeerPID()
	if err != nil {
		t.Fatal(err)
	}
	parent := waitForChild(t, pid, "parent.py", 1)[0]
	waitForChild(t, parent, "parent.py", 2)
	if err := syscall.Kill(parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantNotice(t, c.Conn, "the forking parent is gone (EOF)")
	for limit := time.Now().Add(10 * time.Second); ; {
		got := run(t, c, script(agent.ViaParent, "processes.py"))
		if got.Via != agent.ViaExec || !ok(got) {
			t.Fatalf("Execute() = %+v, want it executed", got)
		}
		if strings.Count(got.stdout, "\n") == 1 { // the agent
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("who waited is left: %s", got.stdout)
		}
	}
	noNotice(t, c.Conn)
}

func (c *contained) secrets(t *testing.T) {
	r := script(agent.ViaParent, "secrets.py")
	r.Secrets = map[string]string{"key": "value"}
	got := run(t, c, r)
	if got.Via != agent.ViaExec || got.stdout != "{'key': 'value'}\n" || !ok(got) {
		t.Errorf("Execute() = %+v, want the secrets by exec", got)
	}
}

// What modules leave in the scratch directory when they are imported is no
// execution's, and doesn't spend the instance.
func (b *bench) parentLeavesFiles(t *testing.T) {
	c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{Parent: pythonParent(`ATTUNE_PRELOAD=["slow", "none"]`, "PYTHONPATH="+warmDir)}})
	if got := run(t, c, script(agent.ViaExec, "life.py", "0")); !ok(got) {
		t.Errorf("before the parent is ready: %+v", got)
	}
	for range 2 {
		got := run(t, c, script(agent.ViaParent, "life.py", "0"))
		if !ok(got) || got.Via != agent.ViaParent {
			t.Errorf("Execute() = %+v", got)
		}
	}
	if got := run(t, c, inside("ls -A /tmp")); got.stdout != "" {
		t.Errorf("left in /tmp: %q", got.stdout)
	}
	wantNotice(t, c.Conn, "preload none: ModuleNotFoundError")
}

func (b *bench) parentWithThreads(t *testing.T) {
	c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{Parent: pythonParent(`ATTUNE_PRELOAD=["threads"]`, "PYTHONPATH="+warmDir)}})
	if got := run(t, c, script(agent.ViaParent, "life.py", "0")); !ok(got) || got.Via != agent.ViaExec {
		t.Errorf("Execute() = %+v, want it executed", got)
	}
	wantNotice(t, c.Conn, "preload threads started with threads: executions don't fork")
}

// leaks checks that something done often leaves neither descriptors nor threads nor
// memory in the agent.
func (c *contained) leaks(t *testing.T, times int, do func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can look into the agent")
	}
	pid, err := c.PeerPID()
	if err != nil {
		t.Fatal(err)
	}
	measure := func() (fds, threads, rss int) {
		t.Helper()
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(status)) {
			fmt.Sscanf(line, "Threads: %d", &threads)
			fmt.Sscanf(line, "VmRSS: %d", &rss)
		}
		return len(open), threads, rss
	}
	settled := func() (fds, threads, rss int) { // what is kept ready is there again
		t.Helper()
		fds, threads, rss = measure()
		for same := 0; same < 20; same++ {
			time.Sleep(20 * time.Millisecond)
			before := fds
			if fds, threads, rss = measure(); fds != before {
				same = 0
			}
		}
		return fds, threads, rss
	}
	for range 10 {
		do()
	}
	fds, threads, rss := settled()
	for range times {
		do()
	}
	fds2, threads2, rss2 := settled()
	t.Logf("agent: %d → %d descriptors, %d → %d threads, %d → %d KiB", fds, fds2, threads, threads2, rss, rss2)
	if fds2 > fds || threads2 > threads+4 || rss2 > rss+4<<10 {
		t.Errorf("after %d times: %d → %d descriptors, %d → %d threads, %d → %d KiB", times, fds, fds2, threads, threads2, rss, rss2)
	}
}

// hostPython is an interpreter for agents that are plain children.
func hostPython(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no Python on this machine")
	return ""
}

// hostPrograms are warmPrograms for a plain child, whose requests run a script
// there.
func hostPrograms(t *testing.T) (dir string, script func(via agent.Via, name string, args ...string) agent.Request) {
	t.Helper()
	dir, python := warmPrograms(t), hostPython(t)
	return dir, func(via agent.Via, name string, args ...string) agent.Request {
		r := request("")
		r.Via, r.Script = via, append([]string{filepath.Join(dir, name)}, args...)
		r.Argv = append([]string{python, "-u"}, r.Script...)
		return r
	}
}

// A parent that is no good costs a notice; executions are executed.
func TestParentThatIsNoGood(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	for mode, notice := range map[string]string{
		"dies": "gone (EOF)", "forks not": "a reason", "never ready": "not ready in 3s", "no JSON": "gone (unexpected end of JSON",
		"a list": "gone (json", "another type": "gone (json", "too long": "gone (unexpected end", "ready twice": "ready twice",
		"a child that there is not": "message of a child that there is not", "closes": "gone (EOF)", "refuses": "no process is kept ready: no room",
		"no number": "gone (json", "PID 1": "message out of turn", "PID -1": "message out of turn", "end before the beginning": "message out of turn",
		"neither": "message out of turn", "silence": "no answer in 5s", "dies in a fork": "gone (EOF)",
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			i := startAgentWith(t, agent.Setup{Parent: program(hostPython(t), dir+"/fakeparent.py", mode)})
			for range 2 {
				if got := run(t, i, script(agent.ViaParent, "life.py", "5")); got.Via != agent.ViaExec || got.Code != 5 || !got.Reusable {
					t.Errorf("Execute() = %+v, want it executed", got)
				}
			}
			wantNotice(t, i.Conn, notice)
		})
	}
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		i := startAgentWith(t, agent.Setup{Parent: program("/no/such/program")})
		if got := run(t, i, script(agent.ViaParent, "life.py", "5")); got.Via != agent.ViaExec || got.Code != 5 {
			t.Errorf("Execute() = %+v, want it executed", got)
		}
		wantNotice(t, i.Conn, "no forking parent: exec /no/such/program")
	})
}

// faults are those of a parent that has forked a child.
var faults = []string{"dies", "closes", "no JSON", "begins twice", "stopped is no end", "no signal", "a huge status"}

// A parent that fails while its child waits loses the child, and no execution.
func TestParentThatLosesWhoWaits(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			i := startAgentWith(t, agent.Setup{Parent: program(hostPython(t), dir+"/fakeparent.py", "unused: "+fault)})
			wantNotice(t, i.Conn, "the forking parent is gone")
			for range 2 {
				if got := run(t, i, script(agent.ViaParent, "life.py", "5")); got.Via != agent.ViaExec || got.Code != 5 || !got.Reusable {
					t.Errorf("Execute() = %+v, want it executed", got)
				}
			}
		})
	}
}

// A parent that fails once its child has an order loses that execution and spends
// the instance.
func TestParentThatLosesAnExecution(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	for _, fault := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			i := startAgentWith(t, agent.Setup{Parent: program(hostPython(t), dir+"/fakeparent.py", "used: "+fault)})
			got, err := i.Execute(t.Context(), script(agent.ViaParent, "life.py", "5"), agent.Output{})
			wantErr(t, err, agent.ErrLost)
			if got.Reusable || got.Reason != "the forking parent died" || got.Via != agent.ViaParent {
				t.Errorf("Execute() = %+v, want it lost", got)
			}
			wantNotice(t, i.Conn, "the forking parent is gone")
			_, err = i.Execute(t.Context(), script(agent.ViaParent, "life.py", "5"), agent.Output{})
			wantErr(t, err, agent.ErrNotStarted)
		})
	}
}

// As many executions at once as there are slots are all forked, however few wait.
func TestParentOfMany(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	i := startAgentWith(t, agent.Setup{Slots: 16, StockCount: 2, Parent: program(hostPython(t), dir+"/parent.py")})
	i.slots = true
	inLine(t, i, 16, 48, func(n string) agent.Request { return script(agent.ViaParent, "life.py", n) })
	noNotice(t, i.Conn)
}

// A child that is killed while it waits is replaced, and nothing of who runs is
// touched.
func TestWaitingChildIsKilled(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	i := startAgentWith(t, agent.Setup{Slots: 2, Parent: program(hostPython(t), dir+"/parent.py")})
	i.slots = true
	runs := begin(t, i, request("echo mine > $HOME/f; setsid sleep 1000 >/dev/null 2>&1 & echo $!; wait"))
	orphan := atoi(t, runs.out.line(t))
	parent := waitForChild(t, i.command.Process.Pid, "parent.py", 1)[0]
	for killed := 0; killed < 3; {
		pid := waitForChild(t, parent, "parent.py", 1)[0]
		if err := syscall.Kill(pid, syscall.SIGKILL); err == nil {
			killed++
		}
	}
	wantNotice(t, i.Conn, "no process is kept ready: it ended by itself")
	waitForChild(t, parent, "parent.py", 1)
	for limit := time.Now().Add(10 * time.Second); ; {
		got := run(t, i, script(agent.ViaParent, "life.py", "5"))
		late := got.Signal == 9 && time.Now().Before(limit) // the agent had not heard of its end yet
		if got.Code != 5 && !late || !got.Reusable {
			t.Fatalf("Execute() = %+v", got)
		}
		if got.Via == agent.ViaParent && !late {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("Execute() = %+v, want it forked", got)
		}
	}
	if err := syscall.Kill(orphan, 0); err != nil {
		t.Errorf("what another execution has started: %v", err)
	}
	runs.runs(t, "the end of who waits")
	runs.stop()
	runs.wait(t)
}

// A parent that is killed takes what it forked with it.
func TestParentIsKilled(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	i := startAgentWith(t, agent.Setup{Slots: 2, Parent: program(hostPython(t), dir+"/parent.py")})
	i.slots = true
	forked := begin(t, i, script(agent.ViaParent, "stay.py"))
	child := pids(t, forked.out.line(t))
	executed := begin(t, i, script(agent.ViaExec, "stay.py"))
	executed.out.line(t)
	if err := syscall.Kill(parentOf(t, child), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	got := forked.end(t)
	wantErr(t, forked.err, agent.ErrLost)
	if got.Reusable || got.Reason != "the forking parent died" || got.Via != agent.ViaParent {
		t.Errorf("Execute() = %+v, want it lost", got)
	}
	if err := syscall.Kill(child, 0); err != syscall.ESRCH {
		t.Errorf("what was forked: %v, want it gone", err)
	}
	executed.runs(t, "the parent's end")
	_, err := i.Execute(t.Context(), request("true"), agent.Output{})
	wantErr(t, err, agent.ErrNotStarted)
	executed.stop()
	if got := executed.wait(t); !got.Cancelled || got.Signal != 15 {
		t.Errorf("the one that was executed: %+v", got)
	}
}

// parentOf returns a process' parent.
func parentOf(t *testing.T, pid int) (parent int) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	return parentIn(t, string(stat))
}

// parentIn returns what /proc/PID/stat says of it.
func parentIn(t *testing.T, stat string) (parent int) {
	t.Helper()
	var state string
	if _, err := fmt.Sscan(stat[strings.LastIndexByte(stat, ')')+1:], &state, &parent); err != nil {
		t.Fatal(err)
	}
	return parent
}

// The first execution waits for a parent that takes its time, but not longer than
// it may.
func TestSlowParent(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	parent := program(hostPython(t), dir+"/parent.py")
	parent.Env = append([]string{`ATTUNE_PRELOAD=["slow"]`, "PYTHONPATH=" + dir}, parent.Env...)
	slow := func(t *testing.T) *instance {
		t.Parallel()
		return startAgentWith(t, agent.Setup{Parent: parent})
	}
	t.Run("is waited for", func(t *testing.T) {
		i := slow(t)
		if got := run(t, i, script(agent.ViaParent, "life.py", "5")); got.Code != 5 || got.Via != agent.ViaParent {
			t.Errorf("Execute() = %+v, want it forked", got)
		}
	})
	t.Run("the deadline comes first", func(t *testing.T) {
		i := slow(t)
		r := script(agent.ViaParent, "stay.py")
		r.Timeout = 50 * time.Millisecond
		if got := run(t, i, r); !got.TimedOut || !got.Reusable || got.Via != agent.ViaExec {
			t.Errorf("Execute() = %+v, want it timed out", got)
		}
		if got := run(t, i, script(agent.ViaParent, "life.py", "5")); got.Code != 5 || got.Via != agent.ViaParent {
			t.Errorf("the next = %+v, want it forked", got)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		i := slow(t)
		e := begin(t, i, script(agent.ViaParent, "stay.py"))
		time.AfterFunc(50*time.Millisecond, e.stop)
		if got := e.wait(t); !got.Cancelled || !got.Reusable {
			t.Errorf("Execute() = %+v, want it cancelled", got)
		}
		if got := run(t, i, script(agent.ViaParent, "life.py", "5")); got.Code != 5 || got.Via != agent.ViaParent {
			t.Errorf("the next = %+v, want it forked", got)
		}
	})
}

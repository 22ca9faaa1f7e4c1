package agent_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent"
)

func TestSlots(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Run("apart", b.slotsApart)
	t.Run("one after the other", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{Slots: 2}})
		t.Run("leftovers", c.slotLeftovers)
		t.Run("ends", c.slotEnds)
		t.Run("side by side", c.sideBySide)
		t.Run("workers and executions share them", c.workersInSlots)
	})
}

// Executions at once, the forking parent and who waits: nobody can touch another.
func (b *bench) slotsApart(t *testing.T) {
	t.Run("parent", func(t *testing.T) {
		b.apart(t, agent.ViaParent, "parent.py", agent.Setup{Slots: 3, Parent: pythonParent(), StockCount: 2})
	})
	t.Run("stock", func(t *testing.T) {
		b.apart(t, agent.ViaStock, "stock.py", agent.Setup{Slots: 3, Stock: program("python3", "-u", warmDir+"/stock.py"), StockCount: 2})
	})
}

func (b *bench) apart(t *testing.T, via agent.Via, program string, setup agent.Setup) {
	c := b.startWith(t, setting{image: "attune/python", memory: 256 << 20, setup: setup})
	executed := begin(t, c, script(agent.ViaExec, "stay.py"))
	first := fmt.Sprint(pids(t, executed.out.line(t)))
	c.whoIsThere(t, program, first, "")
	kept := begin(t, c, script(via, "stay.py"))
	second := fmt.Sprint(pids(t, kept.out.line(t)))
	there := c.whoIsThere(t, program, first, second)
	want := map[string]string{"agent": "0", "executed": "65533", "kept": "61003", "waits": "61004", "waits, too": "61005"}
	if via == agent.ViaParent {
		want["parent"] = "65532"
	}
	targets := []string{"/tmp", "/tmp/0", "/tmp/0/secret", "/tmp/3", "/tmp/3/secret", "/tmp/5"}
	uids := map[string]string{}
	for what, who := range there {
		uids[what], targets = who.uid, append(targets, who.pid)
	}
	if !maps.Equal(uids, want) {
		t.Errorf("uids = %v, want %v", uids, want)
	}
	targets = append(targets, "self")
	for _, via := range []agent.Via{agent.ViaExec, via} { // the second is one of those that wait
		got := run(t, c, script(via, "attack.py", targets...))
		if got.Via != via || !ok(got) {
			t.Errorf("via %v: %+v", via, got)
		}
		for line := range strings.Lines(got.stdout) {
			if line = strings.TrimSpace(line); line != "end" && line != "read /tmp" && !strings.HasSuffix(line, " self") {
				t.Errorf("via %v: success with %s", via, line)
			}
		}
		if n := strings.Count(got.stdout, " self\n"); n < 15 && via != agent.ViaParent || !strings.HasSuffix(got.stdout, "end\n") {
			t.Errorf("via %v: only %d attacks succeed against a process of its own: %s %s", via, n, got.stdout, got.stderr)
		}
	}
	executed.runs(t, "attacks")
	kept.runs(t, "attacks")
}

// who is a process in a container.
type who struct{ pid, uid string }

// whoIsThere tells who runs once two wait. executed and kept are numbers of those
// that are known, kept may be none.
func (c *contained) whoIsThere(t *testing.T, program, executed, kept string) map[string]who {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; {
		there, waiting := map[string]who{}, []who{}
		got := run(t, c, script(agent.ViaExec, "processes.py"))
		for line := range strings.Lines(got.stdout) {
			f := strings.Fields(line)
			is := who{f[0], f[1]}
			switch {
			case is.pid == "1":
				there["agent"] = is
			case is.pid == executed:
				there["executed"] = is
			case is.pid == kept: // with its parent's command line
				there["kept"] = is
			case !strings.HasSuffix(strings.TrimSpace(line), "/"+program):
				t.Fatalf("unknown process %s", line)
			case is.uid != strconv.Itoa(agent.ParentUID):
				waiting = append(waiting, is)
			case f[2] == "1":
				there["parent"] = is
			default: // it is just being forked
			}
		}
		if len(waiting) == 2 {
			slices.SortFunc(waiting, func(a, b who) int { return strings.Compare(a.uid, b.uid) })
			there["waits"], there["waits, too"] = waiting[0], waiting[1]
			return there
		}
		if len(waiting) > 2 || time.Now().After(limit) {
			t.Fatalf("%d wait: %s", len(waiting), got.stdout)
		}
	}
}

// What an execution leaves dies with it, and nothing of another slot does.
func (c *contained) slotLeftovers(t *testing.T) {
	for name, leave := range map[string]string{
		"processes": `setsid sh -c 'trap "" TERM HUP; while :; do sleep 1; done' & (setsid sleep 1000 &) ; sleep 1000 &`,
		"files":     `cd "$HOME"; mkdir -p a/b; echo x > a/b/c; mkfifo p; ln -s / root; chmod 000 a/b a`,
		"both":      `for i in 1 2 3; do setsid sh -c 'while :; do mkdir -p $HOME/$$/x; done' & done`,
		"a bomb":    `bomb() { bomb & bomb; }; (sleep 0.3; kill -9 $$) & bomb 2>/dev/null`,
	} {
		for _, first := range []bool{true, false} { // in which slot the other is
			var hold *execution
			if !first {
				hold = begin(t, c, inside("echo; sleep 1000"))
				hold.out.line(t)
			}
			other := begin(t, c, inside(`echo secret > $HOME/f; echo; exec sleep 1000`)) // forks nothing, which a bomb would prevent
			other.out.line(t)
			if hold != nil {
				hold.stop()
				hold.wait(t)
			}
			if got := run(t, c, inside(leave)); !got.Reusable {
				t.Errorf("%s: %+v, want reusable", name, got)
			}
			other.runs(t, name)
			got := run(t, c, inside(`ls -A $HOME; for p in /proc/[0-9]*; do [ $(stat -c %u $p) = $(id -u) ] && [ $p != /proc/$$ ] && cat $p/cmdline 2>/dev/null; done; true`))
			if got.stdout != "" {
				t.Errorf("%s: the next execution finds %q", name, got.stdout)
			}
			other.runs(t, name)
			other.stop()
			if got := other.wait(t); !got.Cancelled || !got.Reusable {
				t.Errorf("%s: the other execution = %+v", name, got)
			}
		}
	}
}

// Each slot's timeout and cancellation is its own, and a third execution too many.
func (c *contained) slotEnds(t *testing.T) {
	stays := begin(t, c, inside("trap 'echo hit' TERM; echo; while :; do sleep 0.02; done"))
	stays.out.line(t)
	late := inside("sleep 1000")
	late.Timeout = 200 * time.Millisecond
	if got := run(t, c, late); !got.TimedOut || got.Cancelled || !got.Reusable {
		t.Errorf("timeout: %+v", got)
	}
	cancelled := begin(t, c, inside("echo; sleep 1000"))
	cancelled.out.line(t)
	_, err := c.Execute(t.Context(), inside("true"), agent.Output{})
	wantErr(t, err, agent.ErrBusy)
	_, err = c.StartWorker(t.Context(), *program("true"))
	wantErr(t, err, agent.ErrBusy)
	cancelled.stop()
	if got := cancelled.wait(t); got.TimedOut || !got.Cancelled || !got.Reusable {
		t.Errorf("cancelled: %+v", got)
	}
	if got := run(t, c, inside("kill -9 $$")); got.Signal != 9 || !got.Reusable {
		t.Errorf("killed: %+v", got)
	}
	stays.runs(t, "three ends")
	stays.stop()
	if got := stays.wait(t); got.stdout != "\nhit\n" || got.Signal != 9 || !got.Reusable {
		t.Errorf("the one that stayed: %+v", got)
	}
}

// Many short executions at once: none dies of another's cleaning.
func (c *contained) sideBySide(t *testing.T) {
	var both sync.WaitGroup
	for slot := range 2 {
		both.Go(func() {
			for n := range 150 {
				r := inside(fmt.Sprintf("echo %d.%d > $TMPDIR/f; cat $TMPDIR/f", slot, n))
				var out strings.Builder
				exit, err := c.Execute(t.Context(), r, agent.Output{Stdout: &out})
				if err != nil || exit.Code != 0 || !exit.Reusable || out.String() != fmt.Sprintf("%d.%d\n", slot, n) {
					t.Errorf("execution %d of slot %d = %+v, %v, %q", n, slot, exit, err, out.String())
					return
				}
			}
		})
	}
	both.Wait()
}

func (c *contained) workersInSlots(t *testing.T) {
	w, err := c.StartWorker(t.Context(), *pythonWorker())
	if err != nil {
		t.Fatalf("StartWorker() = %v", err)
	}
	run(t, c, inside("setsid sleep 1000 &"))
	if reply, err := w.Call(t.Context(), call("echo.py", `{"a":1}`), agent.Output{}); err != nil || string(reply.Result) != `{"a":1}` {
		t.Errorf("Call() after an execution of another slot = %s, %v", reply.Result, err)
	}
	stays := begin(t, c, inside("echo; sleep 1000"))
	stays.out.line(t)
	if exit, err := w.Close(t.Context()); err != nil || !exit.Reusable {
		t.Errorf("Close() = %+v, %v", exit, err)
	}
	stays.runs(t, "the end of a worker")
	stays.stop()
	stays.wait(t)
}

// Without a container slots are directories.
func TestSlotsOfAChild(t *testing.T) {
	t.Parallel()
	i := startAgentWith(t, agent.Setup{Slots: 2})
	i.slots = true
	first := begin(t, i, request(`echo $HOME; stat -c %a $HOME; touch $HOME/mine; sleep 1000`))
	home := first.out.line(t)
	// An orphan in a session of its own may be another's until nobody runs.
	got := run(t, i, request(`echo $TMPDIR; touch $HOME/x; sleep 1000 & setsid sleep 1000 >/dev/null 2>&1 & echo $!`))
	if strings.HasPrefix(got.stdout, home+"\n") || !ok(got) {
		t.Errorf("both executions have %s; %+v", home, got)
	}
	first.runs(t, "another's end")
	second := begin(t, i, request("echo; sleep 1000"))
	second.out.line(t)
	_, err := i.Execute(t.Context(), request("true"), agent.Output{})
	wantErr(t, err, agent.ErrBusy)
	second.stop()
	second.wait(t)
	first.stop()
	if got := first.wait(t); !got.Cancelled || !got.Reusable || !strings.Contains(got.stdout, "\n700\n") {
		t.Errorf("Execute() = %+v", got)
	}
	if _, orphan, _ := strings.Cut(strings.TrimSpace(got.stdout), "\n"); syscall.Kill(atoi(t, orphan), 0) != syscall.ESRCH {
		t.Errorf("orphan %s is left when nobody runs", orphan)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

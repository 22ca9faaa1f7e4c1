package agent_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent"
)

func TestStock(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	t.Run("node", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/node", memory: 400 << 20, setup: agent.Setup{Stock: nodeStock(), StockCount: 2}})
		t.Run("lives", c.stockedLives)
		noNotice(t, c.Conn)
	})
	t.Run("two slots", func(t *testing.T) {
		c := b.startWith(t, setting{image: "attune/python", setup: agent.Setup{
			Slots: 2, Stock: program("python3", "-u", warmDir+"/stock.py"), StockCount: 2,
		}})
		t.Run("privileges", c.stockedPrivileges)
		t.Run("files", c.stockedFiles)
		t.Run("side by side", c.stockedSideBySide)
		t.Run("leftovers", c.stockedLeftovers)
		t.Run("secrets", c.stockedSecrets)
		t.Run("no leaks", func(t *testing.T) {
			c.leaks(t, 100, func() { c.runStocked(t, script(agent.ViaStock, "life.py", "0")) })
		})
		noNotice(t, c.Conn)
	})
}

// runStocked runs a request once there is something in stock, which is filled up
// only while nobody asks.
func (c *contained) runStocked(t *testing.T, r agent.Request) result {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); ; {
		got := run(t, c, r)
		if got.Via == agent.ViaStock {
			return got
		}
		if got.Via != agent.ViaExec || time.Now().After(limit) {
			t.Fatalf("Execute() = %+v, want it from the stock", got)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (c *contained) stockedLives(t *testing.T) {
	r := script(agent.ViaStock, "short.js", "7", "ä b")
	r.Argv = append([]string{"node"}, r.Script...)
	r.Stdin, r.Env = []byte("in"), append([]string{"GREETING=hello"}, warmEnv...)
	for range 8 { // faster than they are started, maybe
		if got := run(t, c, r); got.Code != 7 || !got.Reusable || got.stdout != "out in 7 ä b hello /\n" || got.stderr != "err\n" {
			t.Fatalf("via %v: %+v", got.Via, got)
		}
	}
	if got := c.runStocked(t, r); got.Code != 7 {
		t.Errorf("refilled: %+v", got)
	}
}

func (c *contained) stockedPrivileges(t *testing.T) {
	got := c.runStocked(t, script(agent.ViaStock, "privileges.py"))
	uid, rest, _ := strings.Cut(got.stdout, "\n")
	if !strings.HasPrefix(uid, "(6100") || !strings.HasSuffix(uid, " []") {
		t.Errorf("uids = %s", uid)
	}
	want := `Groups: CapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapAmb:0000000000000000 NoNewPrivs:1
True True 1000
['0', '1', '2']
0o22 / ['HOME', 'PATH', 'TMPDIR']
`
	if rest != want || !got.Reusable {
		t.Errorf("script printed %s, want\n%s", got.stdout, want)
	}
}

func (c *contained) stockedFiles(t *testing.T) {
	r := script(agent.ViaStock, "life.py", "0")
	r.Files = []agent.File{{Name: "parameters", Data: []byte("{}")}}
	if got := c.runStocked(t, r); !ok(got) {
		t.Errorf("Execute() = %+v", got)
	}
	if got := run(t, c, inside("ls /tmp/*/* 2>/dev/null")); got.stdout != "" {
		t.Errorf("left: %q", got.stdout)
	}
}

func (c *contained) stockedSideBySide(t *testing.T) {
	var mu sync.Mutex
	vias := map[agent.Via]int{}
	var both sync.WaitGroup
	for slot := range 2 {
		both.Go(func() {
			for range 25 {
				var out strings.Builder
				exit, err := c.Execute(t.Context(), script(agent.ViaStock, "life.py", strconv.Itoa(slot)), agent.Output{Stdout: &out})
				if err != nil || exit.Code != slot || !exit.Reusable || !strings.HasPrefix(out.String(), "out  "+strconv.Itoa(slot)) {
					t.Errorf("Execute() = %+v, %v, %q", exit, err, out.String())
					return
				}
				mu.Lock()
				vias[exit.Via]++
				mu.Unlock()
			}
		})
	}
	both.Wait()
	if vias[agent.ViaStock] == 0 || vias[agent.ViaParent] != 0 {
		t.Errorf("ways: %v", vias)
	}
}

func (c *contained) stockedLeftovers(t *testing.T) {
	stays := begin(t, c, inside("echo; sleep 1000"))
	stays.out.line(t)
	for _, what := range []string{"session", "files", "orphans"} {
		if got := c.runStocked(t, script(agent.ViaStock, "leave.py", what)); !ok(got) {
			t.Errorf("%s: %+v", what, got)
		}
		got := run(t, c, script(agent.ViaExec, "processes.py"))
		if strings.Contains(got.stdout, "leave.py") {
			t.Errorf("%s: the next execution sees %s", what, got.stdout)
		}
	}
	r := script(agent.ViaStock, "stay.py")
	r.Timeout = 300 * time.Millisecond
	if got := c.runStocked(t, r); !got.TimedOut || !got.Reusable {
		t.Errorf("timeout: %+v", got)
	}
	stays.runs(t, "leftovers")
	stays.stop()
	stays.wait(t)
}

func (c *contained) stockedSecrets(t *testing.T) {
	r := script(agent.ViaStock, "secrets.py")
	r.Secrets = map[string]string{"key": "value"}
	if got := run(t, c, r); got.Via != agent.ViaExec || got.stdout != "{'key': 'value'}\n" {
		t.Errorf("Execute() = %+v, want the secrets by exec", got)
	}
}

// Stocked processes that die are reported once and started ever more seldom;
// executions are executed.
func TestStockThatDies(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	record := filepath.Join(t.TempDir(), "starts")
	i := startAgentWith(t, agent.Setup{Stock: program(dir+"/mortal.sh", record), StockCount: 2})
	wantNotice(t, i.Conn, "no process is kept ready: it ended by itself")
	begin := time.Now()
	for time.Since(begin) < 1500*time.Millisecond {
		got := run(t, i, script(agent.ViaStock, "life.py", "5"))
		if got.Via == agent.ViaExec && got.Code != 5 || got.Via == agent.ViaStock && got.Code != 1 || !got.Reusable { // it may be taken while it dies
			t.Fatalf("Execute() = %+v, want it executed", got)
		}
	}
	noNotice(t, i.Conn)
	starts, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	// Two at once, then one after 0.1, 0.2, 0.4, 0.8 s, …; fewer on a busy machine.
	if n := strings.Count(string(starts), "\n"); n < 2 || n > 8 {
		t.Errorf("%d starts in 1.5 s, want about 5", n)
	}
}

// A stock that can't be started at all.
func TestStockThatIsMissing(t *testing.T) {
	t.Parallel()
	_, script := hostPrograms(t)
	i := startAgentWith(t, agent.Setup{Stock: program("/no/such/program")})
	wantNotice(t, i.Conn, "no process is kept ready: exec /no/such/program")
	if got := run(t, i, script(agent.ViaStock, "life.py", "5")); got.Code != 5 || got.Via != agent.ViaExec {
		t.Errorf("Execute() = %+v, want it executed", got)
	}
}

// One that is killed while it waits is replaced.
func TestStockIsKilled(t *testing.T) {
	t.Parallel()
	dir, script := hostPrograms(t)
	i := startAgentWith(t, agent.Setup{Stock: program(hostPython(t), dir+"/stock.py")})
	for range 2 {
		pid := waitForChild(t, i.command.Process.Pid, "stock.py", 1)[0]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH { // the first one, again
			t.Fatal(err)
		}
	}
	wantNotice(t, i.Conn, "it ended by itself")
	for limit := time.Now().Add(10 * time.Second); ; {
		got := run(t, i, script(agent.ViaStock, "life.py", "5"))
		if got.Via == agent.ViaStock && got.Code == 5 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("Execute() = %+v, want it from the stock", got)
		}
		time.Sleep(100 * time.Millisecond) // it is filled up while nobody asks
	}
}

// The end of one that waits is nothing to who runs, even where all share uid and
// scratch directory.
func TestStockIsKilledBesideAnExecution(t *testing.T) {
	t.Parallel()
	dir, _ := hostPrograms(t)
	i := startAgentWith(t, agent.Setup{Stock: program(hostPython(t), dir+"/stock.py")})
	runs := begin(t, i, request(`echo mine > $HOME/f; (setsid sleep 1000 >/dev/null 2>&1 & echo $!); while [ ! -e $HOME/go ]; do sleep 0.02; done; cat $HOME/f`))
	orphan := atoi(t, runs.out.line(t))
	pid := waitForChild(t, i.command.Process.Pid, "stock.py", 1)[0]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantNotice(t, i.Conn, "it ended by itself") // which comes after the clearing
	if err := syscall.Kill(orphan, 0); err != nil {
		t.Errorf("the execution's orphan: %v", err)
	}
	if err := os.WriteFile(filepath.Join(i.scratch, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := runs.wait(t); !strings.HasSuffix(got.stdout, "\nmine\n") || !ok(got) {
		t.Errorf("Execute() = %+v, want its file kept", got)
	}
	if err := syscall.Kill(orphan, 0); err != syscall.ESRCH {
		t.Errorf("the execution's orphan after it: %v", err)
	}
}

// waitForChild returns living children of a process with a word in their command
// line, when there are as many.
func waitForChild(t *testing.T, parent int, word string, count int) (found []int) {
	t.Helper()
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		all, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			t.Fatal(err)
		}
		found = nil
		for _, dir := range all {
			cmdline, err := os.ReadFile(dir + "/cmdline") // empty of a zombie
			if err != nil || !strings.Contains(string(cmdline), word) {
				continue
			}
			stat, err := os.ReadFile(dir + "/stat")
			if err != nil {
				continue // it has gone meanwhile
			}
			if pid := atoi(t, filepath.Base(dir)); parentIn(t, string(stat)) == parent {
				found = append(found, pid)
			}
		}
		if len(found) >= count {
			return found
		}
	}
	t.Fatalf("process %d has %d children %s, want %d", parent, len(found), word, count)
	return nil
}

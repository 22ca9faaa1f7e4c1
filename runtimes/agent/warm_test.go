package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/runtimes/agent"
)

// warmDir is where instances have what warmPrograms makes.
const warmDir = "/run/warm"

// warmPrograms makes a directory with the runtimes' warm programs and the scripts
// of these tests, readable for everybody.
func warmPrograms(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"../python/*.py", "../node/*.js", "testdata/warm/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("Glob(%s) = %v, %v", pattern, names, err)
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, filepath.Base(name))
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Environment of all that is warm.
var warmEnv = []string{"PATH=/usr/local/bin:/usr/bin:/bin"}

// program is a warm program: an interpreter with a file and arguments.
func program(argv ...string) *agent.Program {
	return &agent.Program{Argv: argv, Dir: "/", Env: warmEnv}
}

// python is the forking parent in a container.
func pythonParent(env ...string) *agent.Program {
	p := program("python3", "-u", warmDir+"/parent.py")
	p.Env = append(env, p.Env...)
	return p
}

func pythonWorker() *agent.Program { return program("python3", "-u", warmDir+"/worker.py") }

func nodeStock() *agent.Program {
	return program("node", "--require", warmDir+"/stock.js", warmDir+"/stock.js")
}

// script is a request for a Python script of testdata/warm, by any way.
func script(via agent.Via, name string, args ...string) agent.Request {
	r := request("")
	r.Patience = 0
	r.Via, r.Script = via, append([]string{warmDir + "/" + name}, args...)
	r.Argv = append([]string{"python3", "-u"}, r.Script...)
	return r
}

// execution is one that runs beside the test.
type execution struct {
	stop  func()
	ended chan result
	err   error
	out   *watched
}

// watched collects output and tells when some has come.
type watched struct {
	mu   sync.Mutex
	text strings.Builder
	seen chan struct{} // capacity 1
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.text.Write(p)
	w.mu.Unlock()
	select {
	case w.seen <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// line waits for the first whole line.
func (w *watched) line(t *testing.T) string {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		if line, _, found := strings.Cut(w.String(), "\n"); found {
			return line
		}
		select {
		case <-w.seen:
		case <-limit:
			t.Fatalf("no line in 10 s: %q", w)
		}
	}
}

// begin starts an execution and leaves it running.
func begin(t *testing.T, c executor, r agent.Request) *execution {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e := &execution{stop: cancel, ended: make(chan result, 1), out: &watched{seen: make(chan struct{}, 1)}}
	go func() {
		var stderr strings.Builder
		exit, err := c.Execute(ctx, r, agent.Output{Stdout: e.out, Stderr: &stderr})
		e.err = err
		e.ended <- result{exit, e.out.String(), stderr.String()}
	}()
	return e
}

// wait returns how it ended.
func (e *execution) wait(t *testing.T) result {
	t.Helper()
	got := e.end(t)
	if e.err != nil {
		t.Fatalf("Execute() = %v", e.err)
	}
	return got
}

// end waits for it to end, and leaves the error to who calls.
func (e *execution) end(t *testing.T) result {
	t.Helper()
	select {
	case got := <-e.ended:
		return got
	case <-time.After(20 * time.Second):
		t.Fatalf("the execution does not end; so far it printed %q", e.out)
		panic("unreachable")
	}
}

// runs checks that it goes on.
func (e *execution) runs(t *testing.T, when string) {
	t.Helper()
	select {
	case got := <-e.ended:
		t.Fatalf("%s: an execution of another slot ended: %+v, %v", when, got, e.err)
	default:
	}
}

// wantNotice waits for a notice with a text in it, and returns those before it.
func wantNotice(t *testing.T, c *agent.Conn, text string) (before []string) {
	t.Helper()
	limit := time.After(15 * time.Second)
	for {
		select {
		case notice, ok := <-c.Notices():
			if !ok {
				t.Fatalf("the connection ended without a notice %q; it said %q", text, before)
			}
			if strings.Contains(notice, text) {
				return before
			}
			before = append(before, notice)
		case <-limit:
			t.Fatalf("no notice %q, but %q", text, before)
		}
	}
}

// noNotice checks that there is none.
func noNotice(t *testing.T, c *agent.Conn) {
	t.Helper()
	select {
	case notice := <-c.Notices():
		t.Errorf("notice %q", notice)
	default:
	}
}

func ok(got result) bool { return got.Code == 0 && got.Reusable }

func pids(t *testing.T, line string) (pid int) {
	t.Helper()
	if _, err := fmt.Sscanf(line, "pid %d", &pid); err != nil {
		t.Fatalf("%q names no process: %v", line, err)
	}
	return pid
}

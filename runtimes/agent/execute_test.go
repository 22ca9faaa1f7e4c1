package agent_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/agent"
)

func TestExit(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	for _, test := range []struct {
		name, script string
		want         agent.Exit
		stdout       string
		stderr       string
	}{
		{"success", "echo out; echo err >&2", agent.Exit{}, "out\n", "err\n"},
		{"failure", "exit 7", agent.Exit{Code: 7}, "", ""},
		{"signal", "kill -TERM $$", agent.Exit{Code: 143, Signal: 15}, "", ""},
		{"kill", "kill -KILL $$", agent.Exit{Code: 137, Signal: 9}, "", ""},
		{"no input", "cat; echo end", agent.Exit{}, "end\n", ""},
		{"output without a newline", "printf a; printf b >&2", agent.Exit{}, "a", "b"},
		{"NUL and invalid UTF-8", `printf '\000\377\376'`, agent.Exit{}, "\x00\xff\xfe", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := run(t, i, request(test.script))
			if got.Duration <= 0 {
				t.Errorf("Duration = %v", got.Duration)
			}
			got.Duration = 0
			test.want.Reusable = true
			if want := (result{test.want, test.stdout, test.stderr}); got != want {
				t.Errorf("Execute(%q) = %+v, want %+v", test.script, got, want)
			}
		})
	}
}

func TestStartError(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"plain": "no program", "orphan": "#!/no/such/interpreter\n"} {
		mode := os.FileMode(0o755)
		if name == "plain" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, program, dir, reason string
		code                       int
	}{
		{"missing", "/no/such/program", "/", "exec /no/such/program: no such file or directory", 127},
		{"not on PATH", "no-such-program", "/", "no-such-program is not on PATH", 127},
		{"not executable", dir + "/plain", "/", "permission denied", 126},
		{"no interpreter", dir + "/orphan", "/", "the interpreter in its first line does not exist", 127},
		{"no directory", "/bin/true", "/no/such/dir", "working directory: stat /no/such/dir", 126},
		{"a directory", "/etc", "/", "permission denied", 126},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request("")
			r.Argv, r.Dir = []string{test.program}, test.dir
			exit, err := i.Execute(t.Context(), r, agent.Output{})
			var fault *agent.StartError
			if !errors.As(err, &fault) || !strings.Contains(fault.Reason, test.reason) {
				t.Errorf("Execute(%s) = %v, want a StartError with %q", test.program, err, test.reason)
			}
			if !exit.Reusable || exit.Code != test.code {
				t.Errorf("Execute(%s) exit = %+v, want code %d and reusable", test.program, exit, test.code)
			}
		})
	}
	if got := run(t, i, request("exit 3")); got.Code != 3 {
		t.Errorf("an execution after the failures = %+v", got)
	}
}

func TestRequestsThatCanNotBe(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	for name, change := range map[string]func(*agent.Request){
		"no program":       func(r *agent.Request) { r.Argv = nil },
		"no timeout":       func(r *agent.Request) { r.Timeout = 0 },
		"negative grace":   func(r *agent.Request) { r.Grace = -1 },
		"relative dir":     func(r *agent.Request) { r.Dir = "etc" },
		"NUL in argv":      func(r *agent.Request) { r.Argv = []string{"a\x00b"} },
		"bad UTF-8 in env": func(r *agent.Request) { r.Env = []string{"A=\xff"} },
		"too large":        func(r *agent.Request) { r.Stdin = make([]byte, 16<<20) },
	} {
		r := request("true")
		change(&r)
		if _, err := i.Execute(t.Context(), r, agent.Output{}); err == nil {
			t.Errorf("%s: Execute() = nil error", name)
		} else if name == "too large" && !errors.Is(err, agent.ErrTooLarge) {
			t.Errorf("%s: Execute() = %v, want ErrTooLarge", name, err)
		}
	}
	run(t, i, request("true"))
}

func TestInputAndOutputAtOnce(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	r := request("cat")
	r.Stdin = bytes.Repeat([]byte("0123456789abcdef"), 6<<20/16)
	if got := run(t, i, r); got.stdout != string(r.Stdin) || !got.Reusable {
		t.Errorf("cat gave %d bytes, want the %d that it was given; %+v", len(got.stdout), len(r.Stdin), got.Exit)
	}
	r = request("exit 4") // leaves its input unread
	r.Stdin = make([]byte, 6<<20)
	if got := run(t, i, r); got.Code != 4 || !got.Reusable {
		t.Errorf("Execute() = %+v, want code 4", got.Exit)
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	for _, test := range []struct {
		name, script string
		limit        int64
		length       int
		dropped      int64
	}{
		{"100 MiB on one line", "head -c 104857600 /dev/zero", 1 << 20, 1 << 20, 104857600 - 1<<20},
		{"exactly the limit", "head -c 1000 /dev/zero", 1000, 1000, 0},
		{"one more", "head -c 1001 /dev/zero", 1000, 1000, 1},
		{"nothing allowed", "head -c 10 /dev/zero", 0, 0, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(test.script + "; " + test.script + " >&2")
			r.StdoutLimit, r.StderrLimit = test.limit, test.limit
			got := run(t, i, r)
			if len(got.stdout) != test.length || got.StdoutDropped != test.dropped {
				t.Errorf("stdout: %d bytes, %d dropped; want %d, %d", len(got.stdout), got.StdoutDropped, test.length, test.dropped)
			}
			if len(got.stderr) != test.length || got.StderrDropped != test.dropped {
				t.Errorf("stderr: %d bytes, %d dropped; want %d, %d", len(got.stderr), got.StderrDropped, test.length, test.dropped)
			}
		})
	}
}

func TestWriterThatFails(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	r := request("head -c 200000 /dev/zero; exit 3")
	exit, err := i.Execute(t.Context(), r, agent.Output{Stdout: failingWriter{}})
	if err != nil || exit.Code != 3 || exit.StdoutDropped != 200000 {
		t.Errorf("Execute() = %+v, %v; want code 3 and 200000 bytes dropped", exit, err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestEnvironmentAndArguments(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	r := request("")
	r.Argv, r.Env = []string{"/usr/bin/env"}, []string{"A=ä b", "EMPTY="}
	if got, want := run(t, i, r).stdout, "A=ä b\nEMPTY=\nHOME="+i.scratch+"\nTMPDIR="+i.scratch+"\n"; got != want {
		t.Errorf("env printed %q, want %q", got, want)
	}
	r.Env = []string{"HOME=/x", "TMPDIR=/y"}
	if got, want := run(t, i, r).stdout, "HOME=/x\nTMPDIR=/y\n"; got != want {
		t.Errorf("env printed %q, want %q", got, want)
	}
	r = request("")
	r.Argv = []string{"printf", "%s|", "a b", "", "*", "$HOME"} // found on PATH
	if got, want := run(t, i, r).stdout, "a b||*|$HOME|"; got != want {
		t.Errorf("printf printed %q, want %q", got, want)
	}
	r = request("ls /proc/self/fd | grep -v 3; pwd") // 3 is ls' own
	r.Dir = "/usr"
	if got, want := run(t, i, r).stdout, "0\n1\n2\n/usr\n"; got != want {
		t.Errorf("descriptors and directory = %q, want %q", got, want)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	r := request(`cat "$TMPDIR/parameters"; stat -c %a "$TMPDIR/parameters"`)
	r.Files = []agent.File{{Name: "parameters", Data: []byte("{}\n")}, {Name: "second", Data: []byte("x")}}
	r.Stdin = []byte("input")
	if got := run(t, i, r); got.stdout != "{}\n400\n" {
		t.Errorf("Execute() = %+v", got)
	}
	i.checkScratch(t)
	for _, name := range []string{"", ".", "..", "a/b", "/etc/x"} {
		r.Files = []agent.File{{Name: name}}
		if _, err := i.Execute(t.Context(), r, agent.Output{}); err == nil {
			t.Errorf("a file named %q: Execute() = nil error", name)
		}
	}
	r.Files = []agent.File{{Name: "twice"}, {Name: "twice"}} // only the agent can know
	var fault *agent.StartError
	if exit, err := i.Execute(t.Context(), r, agent.Output{}); !errors.As(err, &fault) || exit.Reusable {
		t.Errorf("a file that can't be made: Execute() = %+v, %v; want a StartError and not reusable", exit, err)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	for _, test := range []struct {
		name, script, stdout string
		code                 int
	}{
		{"ends at SIGTERM", "trap 'echo bye; exit 5' TERM; while :; do sleep 0.02; done", "bye\n", 5},
		{"ignores SIGTERM", "trap '' TERM; while :; do sleep 0.02; done", "", 137},
		{"is stopped", "kill -STOP $$", "", 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(test.script)
			r.Timeout, r.Grace = 300*time.Millisecond, 400*time.Millisecond
			got := run(t, i, r)
			if !got.TimedOut || got.Cancelled || got.Code != test.code || got.stdout != test.stdout || !got.Reusable {
				t.Errorf("Execute() = %+v, want timed out with code %d and output %q", got, test.code, test.stdout)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	out := newStarted()
	go func() {
		<-out.seen
		cancel()
	}()
	exit, err := i.Execute(ctx, request("echo x; sleep 1000"), agent.Output{Stdout: out})
	if err != nil || !exit.Cancelled || exit.TimedOut || exit.Signal == 0 || !exit.Reusable {
		t.Errorf("Execute() = %+v, %v; want cancelled and reusable", exit, err)
	}
	_, err = i.Execute(ctx, request("true"), agent.Output{})
	wantErr(t, err, agent.ErrNotStarted)
	wantErr(t, err, context.Canceled)
	run(t, i, request("true"))
}

func TestBusy(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := newStarted(), make(chan error, 1)
	go func() {
		_, err := i.Execute(ctx, request("echo x; sleep 1000"), agent.Output{Stdout: out})
		ended <- err
	}()
	<-out.seen
	_, err := i.Execute(t.Context(), request("true"), agent.Output{})
	wantErr(t, err, agent.ErrBusy)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Execute() = %v", err)
	}
}

// Whatever a program leaves running is killed, and the call does not wait for it.
func TestLeftProcesses(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	for name, script := range map[string]string{
		"in the background":       `sleep 1000 & echo $!`,
		"in a session of its own": `setsid sh -c 'echo $$; exec sleep 1000' & wait_for=$!; read x < $TMPDIR/fifo`,
		"orphaned twice":          `(setsid sh -c '(sleep 1000 & echo $!)' &)`,
		"deaf to SIGTERM":         `sh -c 'trap "" TERM HUP; echo $$; while :; do sleep 1; done' & read x < $TMPDIR/fifo`,
	} {
		t.Run(name, func(t *testing.T) {
			// Where a fifo is read, the main process ends when the other has printed.
			script = strings.ReplaceAll(script, "echo $$;", "echo $$; echo go > $TMPDIR/fifo;")
			begin := time.Now()
			got := run(t, i, request("mkfifo $TMPDIR/fifo; "+script))
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("Execute() took %v", took)
			}
			if !got.Reusable || got.Code != 0 {
				t.Errorf("Execute() = %+v, want code 0 and reusable", got)
			}
			// An orphan that was killed before it could print proves as much.
			if pid, err := strconv.Atoi(strings.TrimSpace(got.stdout)); err == nil {
				if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
					t.Errorf("process %d: %v, want it gone", pid, err)
				}
			}
		})
	}
}

func TestScratchIsWiped(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	got := run(t, i, request(`cd $TMPDIR && mkdir -p a/b/c d && echo x > a/b/c/f && ln -s /etc/passwd a/link && ln -s /etc dirlink &&
		ln -s . d/self && mkfifo d/fifo && touch .hidden "new
line" && chmod 000 a/b/c a/b && chmod 000 a`))
	if got.Code != 0 || !got.Reusable {
		t.Errorf("Execute() = %+v", got)
	}
	i.checkScratch(t)
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Fatalf("a symlink was followed: %v", err)
	}
}

func TestConnectionLost(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	out, ended := newStarted(), make(chan error, 1)
	go func() {
		_, err := i.Execute(t.Context(), request("touch $TMPDIR/x; echo x; sleep 1000"), agent.Output{Stdout: out})
		ended <- err
	}()
	<-out.seen
	i.Close()
	wantErr(t, <-ended, agent.ErrLost)
	<-i.Done()
	_, err := i.Execute(t.Context(), request("true"), agent.Output{})
	wantErr(t, err, agent.ErrNotStarted)
	// The rest is checked when the test ends: agent gone, scratch empty.
}

func TestAgentIsTerminated(t *testing.T) {
	t.Parallel()
	i := startAgent(t)
	out, ended := newStarted(), make(chan error, 1)
	go func() {
		_, err := i.Execute(t.Context(), request("echo x; sleep 1000"), agent.Output{Stdout: out})
		ended <- err
	}()
	<-out.seen
	if err := i.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantErr(t, <-ended, agent.ErrLost)
	<-i.Done()
	if i.Err() == nil {
		t.Error("Err() = nil after the connection was lost")
	}
}

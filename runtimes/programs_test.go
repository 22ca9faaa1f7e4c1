package runtimes

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The tests of the warm programs drive them as the agent and the gateway do, as
// child processes over sockets and pipes.

// interpreter finds one on the PATH. Without it a test is skipped, but not where
// all of them must run.
func interpreter(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI")+os.Getenv("ATTUNE_REQUIRE_DOCKER") != "" {
			t.Fatalf("no %s on the PATH", name)
		}
		t.Skipf("SKIPPED: no %s on the PATH", name)
	}
	where := map[string]string{"python3": "import sys; print(sys.executable)", "node": "console.log(process.execPath)"}
	flag := map[string]string{"python3": "-c", "node": "-e"}
	out, err := exec.Command(path, flag[name], where[name]).Output() // what is found may be a script that chooses a version
	if err != nil {
		t.Fatalf("run %s: %v", path, err)
	}
	return strings.TrimSpace(string(out))
}

// outcome is all that can be seen of a process from outside.
type outcome struct {
	Stdout, Stderr string
	Status         syscall.WaitStatus
}

// plain runs a command to its end.
func plain(t *testing.T, argv []string, dir string, env []string, stdin string) outcome {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, env, strings.NewReader(stdin), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %q: %v", argv, err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.Sys().(syscall.WaitStatus)}
}

// pipes are the streams of a process that is about to be.
type pipes struct {
	theirs [3]*os.File
	ours   [3]*os.File
}

func newPipes(t *testing.T) *pipes {
	t.Helper()
	p := &pipes{}
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if p.theirs[i], p.ours[i] = w, r; i == 0 {
			p.theirs[i], p.ours[i] = r, w
		}
		t.Cleanup(func() { r.Close(); w.Close() })
	}
	return p
}

// exchange closes their ends, writes stdin and reads both outputs to their end.
func (p *pipes) exchange(stdin string) (stdout, stderr string) {
	for _, f := range p.theirs {
		f.Close()
	}
	go func() {
		io.WriteString(p.ours[0], stdin) // a script need not read it
		p.ours[0].Close()
	}()
	errs := make(chan string)
	go func() {
		text, err := io.ReadAll(p.ours[2])
		if err != nil {
			text = append(text, err.Error()...)
		}
		errs <- string(text)
	}()
	text, err := io.ReadAll(p.ours[1])
	if err != nil {
		text = append(text, err.Error()...)
	}
	return string(text), <-errs
}

// scripts lists those of a language, with directories that hold further ones.
func scripts(t *testing.T, patterns ...string) []string {
	t.Helper()
	dir, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// same compares what a script did with what it does alone.
func same(t *testing.T, want, got outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-alone +warm):\n%s", diff)
	}
}

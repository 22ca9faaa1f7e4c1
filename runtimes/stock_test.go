package runtimes

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// stocked is a Node process that waits for its file.
type stocked struct {
	cmd   *exec.Cmd
	order *os.File
	pipes *pipes
}

func startStocked(t *testing.T, node, program string, env []string) *stocked {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s := &stocked{cmd: exec.Command(node, "--require", program, program), order: w, pipes: newPipes(t)}
	s.cmd.Dir, s.cmd.Env, s.cmd.ExtraFiles = "/", env, []*os.File{r}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.pipes.theirs[0], s.pipes.theirs[1], s.pipes.theirs[2]
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// run has it run a file, and waits for its end.
func (s *stocked) run(t *testing.T, argv []string, dir string, env []string, stdin string) outcome {
	t.Helper()
	vars := map[string]string{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	order, err := json.Marshal(map[string]any{"argv": argv, "dir": dir, "env": vars})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.order.Write(append(order, '\n')); err != nil {
		t.Fatal(err)
	}
	if err := s.order.Close(); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := s.pipes.exchange(stdin)
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{stdout, stderr, s.cmd.ProcessState.Sys().(syscall.WaitStatus)}
}

// TestStockRunsScriptsAsNodeDoes runs every script of testdata/node both ways.
func TestStockRunsScriptsAsNodeDoes(t *testing.T) {
	t.Parallel()
	node, program := interpreter(t, "node"), installedProgram(t, "node/stock.js")
	paths, err := filepath.Abs("testdata/node_path")
	if err != nil {
		t.Fatal(err)
	}
	base := []string{"HOME=/tmp", "LANG=C.UTF-8", "NODE_PATH=" + paths, "PATH=/usr/local/bin:/usr/bin:/bin", "TZ=UTC"}
	own := append(base[:len(base):len(base)], "ONE=1")
	own[0], own[4] = "HOME=/var/tmp", "TZ=America/New_York"
	all := scripts(t, "node/*.js", "node/*.mjs", "node/*.cjs", "node/script/*.js", "node/module/*.js")
	if len(all) < 30 {
		t.Fatalf("%d scripts", len(all))
	}
	for _, script := range all {
		t.Run(strings.ReplaceAll(filepath.Base(script), ".", "_"), func(t *testing.T) {
			t.Parallel()
			const stdin = "{\"name\":\"Ada\"}\nsecond line\n"
			dir := filepath.Dir(script)
			warm := startStocked(t, node, program, append(base, "ONLY=at the start"))
			want := plain(t, []string{node, script, "one"}, dir, own, stdin)
			same(t, want, warm.run(t, []string{script, "one"}, dir, own, stdin))
		})
	}
}

// TestStockEndsWithItsAgent checks that an agent that hangs up leaves nothing.
func TestStockEndsWithItsAgent(t *testing.T) {
	t.Parallel()
	warm := startStocked(t, interpreter(t, "node"), installedProgram(t, "node/stock.js"), nil)
	if err := warm.order.Close(); err != nil {
		t.Fatal(err)
	}
	stdout, stderr := warm.pipes.exchange("")
	if err := warm.cmd.Wait(); err != nil || stdout+stderr != "" {
		t.Errorf("the process ended with %v, printed %q, %q", err, stdout, stderr)
	}
}

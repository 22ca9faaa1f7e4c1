package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// command is called by being run, with the parameters on its stdin.
type command struct {
	ctx   context.Context
	argv  []string
	stdin string
}

func (c command) Close() error { return nil }

func (c command) call() error {
	cmd := exec.CommandContext(c.ctx, c.argv[0], c.argv[1:]...)
	cmd.Stdin = strings.NewReader(c.stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(c.argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// insideLoop runs a command so many times in a container that is there already,
// and prints what each took, in microseconds: only bash knows the time without
// starting another program. The script is in /tmp.
const insideLoop = `cd /tmp
run() { %[1]s <parameters >/dev/null; }
run; run
for ((i = 0; i < %[2]d; i++)); do a=${EPOCHREALTIME/[.,]/}; run; b=${EPOCHREALTIME/[.,]/}; echo $((b - a)); done
`

// inside times a command in a container of an image.
func inside(ctx context.Context, container, argv string, calls int) (s sample, err error) {
	out, err := docker(ctx, "exec", container, "bash", "-ec", fmt.Sprintf(insideLoop, argv, calls))
	if err != nil {
		return s, err
	}
	for text := range strings.FieldsSeq(out) {
		microseconds, err := strconv.Atoi(text)
		if err != nil {
			return s, fmt.Errorf("time in a container: %w", err)
		}
		took := time.Duration(microseconds) * time.Microsecond
		s.took, s.wall = append(s.took, took), s.wall+took
	}
	slices.Sort(s.took)
	return s, nil
}

// box is a container that does nothing, for commands to be run in. With setup,
// a shell's commands, it has the network to do them.
func box(ctx context.Context, image string, files map[string]string, setup string) (id string, err error) {
	args := []string{"run", "--detach", "--user", "65532:65532", "--env", "HOME=/tmp"}
	if setup == "" {
		args = append(args, "--network", "none")
	}
	args = append(args, installerArgs()...)
	args = append(args, "--entrypoint", "/bin/sleep", image, "infinity")
	out, err := docker(ctx, args...)
	if err != nil {
		return "", err
	}
	id = strings.TrimSpace(out)
	script := setup + "\n"
	for name, content := range files {
		script += fmt.Sprintf("cat >/tmp/%s <<'END'\n%s\nEND\n", name, strings.TrimSuffix(content, "\n"))
	}
	if _, err := docker(ctx, "exec", id, "sh", "-ec", script); err != nil {
		return "", errors.Join(err, removeBox(id))
	}
	return id, nil
}

func removeBox(id string) error {
	_, err := docker(context.Background(), "rm", "--force", id)
	return err
}

// bareFiles writes scripts into a directory of this machine.
func bareFiles(files map[string]string) (dir string, err error) {
	if dir, err = os.MkdirTemp("", "attune-bare-"); err != nil {
		return "", err
	}
	for name, content := range files {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o755); err != nil {
			return dir, err
		}
	}
	return dir, os.Chmod(dir, 0o755)
}

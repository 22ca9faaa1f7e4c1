package agent_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"attune/runtimes/agent"
	"attune/runtimes/agent/supervisor"
)

// TestMain is the agent when it is started as `agent.test supervise …`: the tests
// talk to a real child process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		os.Exit(beAgent(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

func beAgent(args []string) int {
	o := supervisor.Options{Log: os.Stderr, ReadyTime: 3 * time.Second}
	flags := flag.NewFlagSet("agent", flag.ExitOnError)
	flags.StringVar(&o.Socket, "socket", "", "")
	flags.StringVar(&o.Scratch, "scratch", "", "")
	flags.Parse(args)
	if err := supervisor.Run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// instance is an agent in a child process.
type instance struct {
	*agent.Conn
	scratch string
	command *exec.Cmd
	log     *strings.Builder
	ended   chan error
	slots   bool // it has directories for several, which stay
}

// startAgent starts an agent, and checks at the end of the test that it left
// quietly and nothing behind.
func startAgent(t *testing.T) *instance {
	t.Helper()
	return startAgentWith(t, agent.Setup{})
}

func startAgentWith(t *testing.T, setup agent.Setup) *instance {
	t.Helper()
	// Longer than a socket's address may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 30))
	scratch := t.TempDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := agent.Listen(dir)
	if err != nil {
		t.Fatalf("Listen() = %v", err)
	}
	i := &instance{scratch: scratch, log: &strings.Builder{}, ended: make(chan error, 1)}
	i.command = exec.Command(os.Args[0], "supervise", "--socket", filepath.Join(dir, agent.SocketName), "--scratch", scratch)
	i.command.Stderr = i.log
	if err := i.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { i.ended <- i.command.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	i.Conn, err = listener.Accept(ctx, setup)
	if err != nil {
		i.command.Process.Kill()
		<-i.ended
		t.Fatalf("Accept() = %v; agent says %s", err, i.log)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("after Accept() the socket directory holds %v, %v", left, err)
	}
	t.Cleanup(func() { i.end(t) })
	return i
}

func (i *instance) end(t *testing.T) {
	if err := i.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
	select {
	case err := <-i.ended:
		if err != nil {
			t.Errorf("agent ended with %v and said %s", err, i.log)
		}
	case <-time.After(10 * time.Second):
		i.command.Process.Kill()
		t.Error("agent did not end with its connection")
	}
	i.checkScratch(t)
}

func (i *instance) checkScratch(t *testing.T) {
	t.Helper()
	dirs := []string{i.scratch}
	if i.slots {
		dirs, _ = filepath.Glob(i.scratch + "/*") // the pattern is a good one
	}
	for _, dir := range dirs {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("scratch directory %s holds %v, %v", dir, left, err)
		}
	}
}

// request is a shell script with good limits.
func request(script string) agent.Request {
	return agent.Request{
		ID: "01TEST", Argv: []string{"/bin/sh", "-c", script}, Dir: "/",
		Env:     []string{"PATH=/usr/local/bin:/usr/bin:/bin"},
		Timeout: 20 * time.Second, Grace: 100 * time.Millisecond, Patience: 5 * time.Second,
		StdoutLimit: 64 << 20, StderrLimit: 1 << 20,
	}
}

// result is all that an execution gave.
type result struct {
	agent.Exit
	stdout, stderr string
}

// executor is a connection, however the agent was started.
type executor interface {
	Execute(context.Context, agent.Request, agent.Output) (agent.Exit, error)
}

// run executes a request that must come to an end by itself.
func run(t *testing.T, c executor, r agent.Request) result {
	t.Helper()
	var stdout, stderr strings.Builder
	exit, err := c.Execute(t.Context(), r, agent.Output{Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		t.Fatalf("Execute(%q) = %v", r.Argv, err)
	}
	return result{exit, stdout.String(), stderr.String()}
}

// started is a writer that tells when the program has printed something.
type started struct {
	io.Writer
	seen chan struct{}
}

func newStarted() *started { return &started{Writer: io.Discard, seen: make(chan struct{}, 1)} }

func (s *started) Write(p []byte) (int, error) {
	select {
	case s.seen <- struct{}{}:
	default:
	}
	return s.Writer.Write(p)
}

// wantErr checks an error of Execute.
func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("Execute() error = %v, want %v", err, want)
	}
}

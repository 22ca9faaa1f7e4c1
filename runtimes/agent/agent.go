// Package agent is the gateway's side of the conversation with the agent, the
// program that is PID 1 of every instance.
//
// The gateway listens in a directory that belongs to one instance, the agent
// dials when it starts and before any user code has run, and the socket is gone
// again: user code never meets a listening socket. What the agent says is
// treated as hostile. protocol.md describes the messages, package supervisor is
// the other end.
package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"attune/runtimes/agent/wire"
)

// ParameterFile is the process variable that names the file with an execution's
// parameters.
const ParameterFile = "ATTUNE_PARAMETER_FILE"

// SecretCommand is the agent's other name, by which actions ask for a secret.
const SecretCommand = "get_secret"

// SecretsFD is the process variable with the number of the descriptor on which
// a process has its secrets.
const SecretsFD = "ATTUNE_SECRETS_FD"

// SocketName is the control socket's name in the directory given to Listen.
const SocketName = "agent.sock"

// DefaultPatience is what Request.Patience means when it is zero.
const DefaultPatience = 2 * time.Second

// Errors of Execute. A program that fails is an Exit, not an error.
var (
	// ErrNotStarted says that the instance was lost, or fell silent, before the
	// agent took the request: it may be run elsewhere.
	ErrNotStarted = errors.New("instance lost before the execution started")
	// ErrLost says that the instance was lost, or fell silent, afterwards: the
	// program may have run.
	ErrLost = errors.New("instance lost during the execution")
	// ErrProtocol says that the agent broke the protocol. It comes together
	// with ErrNotStarted or ErrLost.
	ErrProtocol = wire.ErrProtocol
	// ErrBusy says that all slots of this connection are taken.
	ErrBusy = errors.New("agent is busy")
	// ErrTooLarge says that a request exceeds the protocol's limit (16 MiB),
	// and that a worker's result exceeds Call.ResultLimit.
	ErrTooLarge = errors.New("too large")
)

// StartError says that the program could not be executed at all: it is missing,
// not executable, or its interpreter is. Nothing ran. The instance stays usable
// if the Exit beside it says so.
type StartError struct {
	Reason string // from the agent, bounded; "exec /usr/bin/python3: no such file or directory"
}

// Error implements error.
func (e *StartError) Error() string { return "start program: " + e.Reason }

// Request is one execution.
type Request struct {
	ID   string   // of the execution, for the agent's own log
	Argv []string // a first element without a slash is searched on Env's PATH
	Dir  string   // working directory, absolute
	// Env is the whole environment, KEY=value. Only HOME and TMPDIR are added,
	// pointing to the scratch directory, where they are missing; and a
	// ParameterFile that names one of Files gets that directory in front.
	Env   []string
	Stdin []byte // all of it; then end of file
	// Files are made in the scratch directory, mode 0400, owned by the user
	// code's uid, before the program starts; they vanish with everything else.
	Files []File

	// Via is the wish how the process comes to be; Exit.Via tells what it was.
	Via Via
	// Script is what a process that waited runs: file and arguments.
	// Argv stays the full command line, for ViaExec.
	Script []string
	// Secrets are given to the program as a sealed memory file on descriptor 3
	// (a JSON object), with ATTUNE_SECRETS_FD=3 in its environment. Such a
	// request is always executed. nil = none.
	Secrets map[string]string

	Timeout time.Duration // required; then SIGTERM to the process group
	Grace   time.Duration // between SIGTERM and SIGKILL to everything
	// Patience is how long after Timeout and Grace the gateway still waits for
	// the agent to clean up and report. 0 = DefaultPatience.
	Patience time.Duration

	// Bytes of each stream that are forwarded. What comes after is counted and
	// dropped while the program runs on.
	StdoutLimit, StderrLimit int64
}

// File is a file for one execution.
type File struct {
	Name string // one path component
	Data []byte
}

// Output takes what the program prints, as it comes. Writers are called by one
// goroutine at a time, never after Execute or Call has returned; one that blocks
// stalls the program, and with it what runs in the instance's other slots. A nil
// writer discards.
type Output struct {
	Stdout, Stderr io.Writer
	Items          io.Writer // each value of a handler's generator, as one line of JSON; unused by Execute
}

// Exit is how a program ended.
type Exit struct {
	Via         Via // how its process came to be
	Code        int // 128+n if signal n ended it
	Signal      int // 0 = none
	TimedOut    bool
	Cancelled   bool // ctx ended, and the program was still running
	OutOfMemory bool // the kernel killed something in the container meanwhile
	// Incomplete says that the end of its output was lost, or that a process of it
	// could not be killed: whatever its code, it is no success.
	Incomplete bool
	// Bytes that were not delivered: beyond the limit, or refused by the writer.
	StdoutDropped, StderrDropped int64
	// Reusable is false where something of the execution is left in the
	// instance, or anything is off: then it must be destroyed.
	Reusable bool
	Reason   string        // why it is not reusable; from the agent, bounded
	Duration time.Duration // from the start of the program to its end
}

// check reports what makes a request impossible. Nothing in it comes from a
// container, so these are errors of the caller.
func (r Request) check() error {
	switch {
	case len(r.Argv) == 0 || r.Argv[0] == "":
		return errors.New("request without a program")
	case r.Timeout <= 0:
		return fmt.Errorf("request with timeout %v", r.Timeout)
	case r.Grace < 0 || r.Patience < 0 || r.StdoutLimit < 0 || r.StderrLimit < 0:
		return errors.New("request with a negative limit")
	case !strings.HasPrefix(r.Dir, "/"):
		return fmt.Errorf("request with working directory %q", r.Dir)
	}
	for _, f := range r.Files {
		if f.Name == "" || f.Name == "." || f.Name == ".." || strings.ContainsAny(f.Name, "/\x00") {
			return fmt.Errorf("request with a file named %q", f.Name)
		}
	}
	if r.Via < ViaExec || r.Via > ViaStock || r.Via != ViaExec && (len(r.Script) == 0 || r.Script[0] == "") {
		return fmt.Errorf("request %v without a script", r.Via)
	}
	lists := [][]string{r.Argv, r.Env, {r.Dir}, r.Script}
	for name, value := range r.Secrets {
		lists = append(lists, []string{name, value})
	}
	if err := checkText(lists...); err != nil {
		return fmt.Errorf("request with %w", err)
	}
	return nil
}

// encode makes the start frame's payload.
func (r Request) encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	s := wire.Start{
		ID: r.ID, Argv: r.Argv, Dir: r.Dir, Env: r.Env, Timeout: r.Timeout, Grace: r.Grace,
		StdoutLimit: r.StdoutLimit, StderrLimit: r.StderrLimit, Stdin: r.Stdin,
		Via: int(r.Via), Script: r.Script,
	}
	for _, f := range r.Files {
		s.Files = append(s.Files, wire.File{Name: f.Name, Data: f.Data})
	}
	if r.Secrets != nil {
		document, err := json.Marshal(r.Secrets)
		if err != nil {
			return nil, fmt.Errorf("encode secrets: %w", err)
		}
		s.Secrets, s.Via = document, int(ViaExec)
	}
	p, err := wire.EncodeStart(s)
	if err == nil && len(p) > wire.MaxStart {
		err = fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(p), wire.MaxStart)
	}
	return p, err
}

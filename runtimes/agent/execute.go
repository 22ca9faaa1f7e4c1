package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"attune/runtimes/agent/wire"
)

// takeTime is how long an agent may need to take a request that it was sent. It
// answers from its reader, so even a starved one manages.
const takeTime = 5 * time.Second

var (
	errSilent = errors.New("agent did not report in time")
	errIdle   = errors.New("agent did not take the request in time")
	errSpent  = errors.New("an earlier execution left something in the instance")
)

// Execute runs a program and returns when it has ended and all that it left was
// removed. When ctx ends the program is killed (SIGTERM, Grace, SIGKILL) and the
// Exit says Cancelled.
//
// Errors: ErrNotStarted, ErrLost, *StartError (the Exit then still tells whether
// the instance is Reusable), ErrBusy, ErrTooLarge. After an Exit that is not
// Reusable every call gets ErrNotStarted. The connection is closed after ErrLost,
// and after ErrNotStarted unless ctx or that was its cause.
func (c *Conn) Execute(ctx context.Context, r Request, out Output) (Exit, error) {
	r.Patience = cmp.Or(r.Patience, DefaultPatience)
	payload, err := r.encode()
	if err != nil {
		return Exit{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return Exit{Reusable: true}, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	call, err := c.begin(r, out)
	if err != nil {
		return Exit{}, err
	}
	// An incomplete frame starts nothing, so a failed write needs no more than
	// the end of the connection, which await sees.
	if err := c.send(wire.TypeStart, call.stream, payload, takeTime); err != nil {
		c.fail(err)
	}
	return c.await(ctx, call, r)
}

// await returns the result of a call. It outlives ctx by Grace and Patience, and
// never returns while the reader may still write to the call's Output.
func (c *Conn) await(ctx context.Context, call *call, r Request) (Exit, error) {
	started, cancelled := call.started, ctx.Done()
	take := time.NewTimer(takeTime)
	defer take.Stop()
	limit := time.NewTimer(r.Timeout + r.Grace + r.Patience)
	defer limit.Stop()
	for {
		select {
		case <-started:
			started = nil
			take.Stop()
		case <-cancelled:
			cancelled = nil
			limit.Reset(r.Grace + r.Patience)
			kill := wire.Encode(wire.Kill{Grace: r.Grace})
			if err := c.send(wire.TypeKill, call.stream, kill, r.Patience); err != nil {
				c.fail(err)
			}
		case <-take.C:
			c.fail(errIdle)
		case <-limit.C:
			c.fail(errSilent)
		case <-call.finished:
			return call.exit, call.err
		case <-c.done:
			return call.lost(c.Err())
		}
	}
}

// call is a running execution. All but the channels belongs to the connection's
// reader until one of finished and Conn.done is closed.
type call struct {
	stream   uint32
	stdout   sink
	stderr   sink
	begun    bool
	started  chan struct{} // closed when the agent took the request
	finished chan struct{} // closed when exit and err are set
	exit     Exit
	err      error
}

func newCall(stream uint32, r Request, out Output) *call {
	return &call{
		stream: stream,
		stdout: sink{w: out.Stdout, left: r.StdoutLimit}, stderr: sink{w: out.Stderr, left: r.StderrLimit},
		started: make(chan struct{}), finished: make(chan struct{}),
	}
}

// handle takes a frame of this stream; over says that it was the last.
func (a *call) handle(f wire.Frame) (over bool, err error) {
	if a.begun == (f.Type == wire.TypeStarted) {
		return false, fmt.Errorf("%w: frame type %d out of turn", ErrProtocol, f.Type)
	}
	switch f.Type {
	case wire.TypeStarted:
		a.begun = true
		close(a.started)
		return false, nil
	case wire.TypeStdout:
		return false, a.stdout.take(f.Payload)
	case wire.TypeStderr:
		return false, a.stderr.take(f.Payload)
	case wire.TypeExit:
		return a.finish(f.Payload)
	}
	return false, fmt.Errorf("%w: frame type %d in an execution", ErrProtocol, f.Type)
}

// finish takes the agent's last word.
func (a *call) finish(payload []byte) (over bool, err error) {
	var e wire.Exit
	if err := wire.Decode(payload, &e); err != nil {
		return false, err
	}
	if e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > 64 || e.StdoutDropped < 0 || e.StderrDropped < 0 || e.Duration < 0 {
		return false, fmt.Errorf("%w: exit message with a value out of range", ErrProtocol)
	}
	a.exit = Exit{
		Code: e.Code, Signal: e.Signal, TimedOut: e.TimedOut, Cancelled: e.Cancelled, OutOfMemory: e.OutOfMemory,
		StdoutDropped: e.StdoutDropped + a.stdout.refused, StderrDropped: e.StderrDropped + a.stderr.refused,
		Reusable: e.Reusable, Reason: bounded(e.Reason), Duration: e.Duration,
	}
	if e.StartError != "" {
		a.err = &StartError{Reason: bounded(e.StartError)}
	}
	return true, nil
}

// lost is the result of a call whose connection is over.
func (a *call) lost(why error) (Exit, error) {
	select {
	case <-a.finished: // the connection ended right after the exit
		return a.exit, a.err
	default:
	}
	if a.begun {
		return Exit{}, fmt.Errorf("%w: %w", ErrLost, why)
	}
	return Exit{}, fmt.Errorf("%w: %w", ErrNotStarted, why)
}

// bounded makes a text of the agent fit for a log line.
func bounded(s string) string {
	if len(s) > 1024 {
		s = s[:1024]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// sink is one output stream of a call.
type sink struct {
	w       io.Writer
	left    int64 // bytes that the agent may still send
	refused int64 // bytes that the writer did not take
}

// take delivers a chunk. More than the agent was allowed is its error; a writer
// that fails is not: it gets nothing more, and the loss is counted.
func (s *sink) take(p []byte) error {
	if s.left -= int64(len(p)); s.left < 0 || len(p) == 0 {
		return fmt.Errorf("%w: output of %d bytes with %d left of the limit", ErrProtocol, len(p), s.left+int64(len(p)))
	}
	if s.w == nil {
		return nil
	}
	if s.refused > 0 {
		s.refused += int64(len(p))
		return nil
	}
	if n, err := s.w.Write(p); err != nil {
		s.refused += int64(len(p) - min(max(n, 0), len(p)))
	}
	return nil
}

package agent

import (
	"fmt"
	"io"
	"strings"

	"attune/runtimes/agent/wire"
)

// run is what takes a slot: an execution or a worker. All but the channels
// belongs to the connection's reader until one of finished and Conn.done is
// closed.
type run struct {
	stream   uint32
	worker   *Worker // nil for an execution
	stdout   taker
	stderr   taker
	begun    bool
	started  chan struct{} // closed when the agent took the request
	finished chan struct{} // closed when exit and err are set
	exit     Exit
	err      error
}

// taker is where output goes.
type taker interface {
	take(p []byte) error
	lost() int64 // bytes that were not delivered
}

func newRun(stdout, stderr taker) *run {
	return &run{stdout: stdout, stderr: stderr, started: make(chan struct{}), finished: make(chan struct{})}
}

// handle takes a frame of this stream; over says that it was the last.
func (r *run) handle(f wire.Frame) (over bool, err error) {
	if r.begun == (f.Type == wire.TypeStarted || f.Type == wire.TypeRefused) {
		return false, fmt.Errorf("%w: frame type %d out of turn", ErrProtocol, f.Type)
	}
	switch f.Type {
	case wire.TypeStarted:
		r.begun = true
		close(r.started)
		return false, nil
	case wire.TypeRefused:
		r.err = fmt.Errorf("%w: %w", ErrNotStarted, errSpent)
		return true, nil
	case wire.TypeStdout:
		return false, r.stdout.take(f.Payload)
	case wire.TypeStderr:
		return false, r.stderr.take(f.Payload)
	case wire.TypeExit:
		return r.finish(f.Payload)
	}
	return false, fmt.Errorf("%w: frame type %d in an execution", ErrProtocol, f.Type)
}

// finish takes the agent's last word.
func (r *run) finish(payload []byte) (over bool, err error) {
	var e wire.Exit
	if err := wire.Decode(payload, &e); err != nil {
		return false, err
	}
	if e.Code < 0 || e.Code > 255 || e.Signal < 0 || e.Signal > 64 || e.StdoutDropped < 0 || e.StderrDropped < 0 || e.Duration < 0 ||
		e.Via < wire.ViaExec || e.Via > wire.ViaStock {
		return false, fmt.Errorf("%w: exit message with a value out of range", ErrProtocol)
	}
	r.exit = Exit{
		Via: Via(e.Via), Code: e.Code, Signal: e.Signal, TimedOut: e.TimedOut, Cancelled: e.Cancelled, OutOfMemory: e.OutOfMemory, Incomplete: e.Incomplete,
		StdoutDropped: e.StdoutDropped + r.stdout.lost(), StderrDropped: e.StderrDropped + r.stderr.lost(),
		Reusable: e.Reusable, Reason: bounded(e.Reason), Duration: e.Duration,
	}
	if e.StartError != "" {
		r.err = &StartError{Reason: bounded(e.StartError)}
	}
	if e.Lost {
		r.exit.Reusable, r.err = false, fmt.Errorf("%w: %s", ErrLost, r.exit.Reason)
	}
	return true, nil
}

// lost is the result of a run whose connection is over.
func (r *run) lost(why error) (Exit, error) {
	select {
	case <-r.finished: // the connection ended right after the exit
		return r.exit, r.err
	default:
	}
	if r.begun {
		return Exit{}, fmt.Errorf("%w: %w", ErrLost, why)
	}
	return Exit{}, fmt.Errorf("%w: %w", ErrNotStarted, why)
}

// bounded makes a text of the agent fit for a log line.
func bounded(s string) string { return cut(s, 1024) }

// cut shortens a text to at most so many bytes of valid UTF-8.
func cut(s string, most int) string {
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// sink is one output stream of an execution.
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

func (s *sink) lost() int64 { return s.refused }

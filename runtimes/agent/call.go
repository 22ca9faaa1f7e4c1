package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
	"unicode/utf8"

	"attune/runtimes/agent/wire"
)

// Call is one call of a handler in a worker.
type Call struct {
	ID, Action, Pack string
	File             string    // the module with the handler, absolute in the container
	Parameters       []byte    // JSON object, secrets among them; empty = {}
	Secrets          []string  // names of the parameters that are secrets
	Deadline         time.Time // zero = only ctx's
	// Traceparent and Tracestate say where in a trace the call is, as W3C Trace
	// Context writes it; empty = nowhere.
	Traceparent, Tracestate string
	// ResultLimit is in bytes; a larger result is ErrTooLarge.
	ResultLimit int64
	// Bytes of each stream that are delivered; what comes after is counted and
	// dropped.
	StdoutLimit, StderrLimit, ItemsLimit int64
}

// Reply is what a handler gave.
type Reply struct {
	Result  []byte       // JSON document, or text; nil after a failure
	Text    bool         // Result is text
	Failure *CallFailure // the handler raised; nil = it succeeded
	// Bytes that were not delivered: beyond the limit, or refused by the writer.
	StdoutDropped, StderrDropped, ItemsDropped int64
	Duration                                   time.Duration // from the call's sending to its reply
}

// CallFailure is an exception that left a handler. Texts come from user code, and
// are bounded.
type CallFailure struct {
	Type      string `json:"type"`      // at most 256 bytes
	Message   string `json:"message"`   // at most 4 KiB
	Traceback string `json:"traceback"` // at most 32 KiB
}

// Call calls a handler and returns its reply. out gets what the handler prints,
// and the values of a generator.
//
// When ctx or the deadline ends first Call returns at once with the cause
// (context.DeadlineExceeded for the deadline), and the handler runs on until
// Close. Errors: ErrNotStarted when the worker was gone before the call,
// ErrLost afterwards, ErrProtocol with ErrLost, ErrTooLarge for a request or a
// result, ErrBusy while another call runs. Only after ErrBusy and ErrTooLarge the
// worker can be called again; otherwise it must be closed.
func (w *Worker) Call(ctx context.Context, c Call, out Output) (Reply, error) {
	if !w.calling.TryLock() {
		return Reply{}, fmt.Errorf("%w: %w", ErrBusy, errCalling)
	}
	defer w.calling.Unlock()
	switch {
	case w.over != nil:
		return Reply{}, fmt.Errorf("%w: %w", ErrNotStarted, w.over)
	case min(c.ResultLimit, c.StdoutLimit, c.StderrLimit, c.ItemsLimit) < 0:
		return Reply{}, errors.New("call with a negative limit")
	case ctx.Err() != nil:
		return Reply{}, fmt.Errorf("%w: %w", ErrNotStarted, context.Cause(ctx))
	}
	if err := w.encode(&c); err != nil {
		return Reply{}, err
	}
	if err := w.idle(); err != nil {
		w.over = err
		return Reply{}, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	return w.call(ctx, &c, out)
}

// call makes a call that was encoded, on a worker that is idle.
func (w *Worker) call(ctx context.Context, c *Call, out Output) (Reply, error) {
	stdout, stderr := capture{w: out.Stdout, left: c.StdoutLimit}, capture{w: out.Stderr, left: c.StderrLimit}
	items := capture{w: out.Items, left: c.ItemsLimit}
	if len(c.Secrets) > 0 {
		w.keepSecrets()
	}
	w.direct(&stdout, &stderr)
	begin := time.Now()
	var r Reply
	err := w.bounded(ctx, c.Deadline, func() error {
		if _, err := w.socket.Write(w.frame); err != nil {
			return err
		}
		return w.reply(&r, c, &items)
	})
	w.direct(nil, nil)
	if cap(w.frame) > 64<<10 {
		w.frame = nil // an idle worker is small
	}
	if err != nil {
		r.Result, r.Text = nil, false // a part of it, or none at all
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		w.over = err
	}
	r.Duration = time.Since(begin)
	r.StdoutDropped, r.StderrDropped, r.ItemsDropped = stdout.dropped, stderr.dropped, items.dropped
	return r, err
}

// keepSecrets gives what comes by descriptors 1 and 2 to no call any more.
func (w *Worker) keepSecrets() {
	w.mu.Lock()
	w.secretive = true
	w.mu.Unlock()
}

// direct says where output goes from now on.
func (w *Worker) direct(stdout, stderr *capture) {
	w.mu.Lock()
	w.stdout, w.stderr = stdout, stderr
	w.mu.Unlock()
}

// idle reports a worker that has ended, or has said something that nobody asked
// for and the next execution must not get.
func (w *Worker) idle() error {
	if w.in.Buffered() > 0 {
		return violation("it speaks between calls")
	}
	raw, err := w.socket.SyscallConn()
	if err == nil {
		w.unrest = nil
		err = raw.Control(func(fd uintptr) { w.quiet(fd) })
	}
	return errors.Join(err, w.unrest)
}

func (w *Worker) look(fd uintptr) bool {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN:
	case err != nil:
		w.unrest = fmt.Errorf("worker: %w", err)
	case n == 0:
		w.unrest = errors.New("worker has ended")
	default:
		w.unrest = violation("it speaks between calls")
	}
	return true
}

// reply reads frames until one ends the call.
func (w *Worker) reply(r *Reply, c *Call, items *capture) error {
	for {
		kind, size, err := w.next()
		if err != nil {
			return err
		}
		switch kind {
		case wire.WorkerStdout, wire.WorkerStderr:
			if size == 0 || size > wire.MaxChunk {
				return violation("output of %d bytes", size)
			}
			to := w.stdout
			if kind == wire.WorkerStderr {
				to = w.stderr
			}
			err = w.chunk(to, size)
		case wire.WorkerItem:
			err = w.item(items, size)
		case wire.WorkerResult, wire.WorkerText:
			r.Text = kind == wire.WorkerText
			r.Result, err = w.result(size, c.ResultLimit)
			if err == nil && (r.Text && !utf8.Valid(r.Result) || !r.Text && !json.Valid(r.Result)) {
				return violation("a result that is neither JSON nor text")
			}
			return err
		case wire.WorkerFailure:
			r.Failure, err = w.failure(size)
			return err
		default:
			return violation("frame type %d in a call", kind)
		}
		if err != nil {
			return err
		}
	}
}

// next reads a frame's header.
func (w *Worker) next() (wire.WorkerType, int64, error) {
	head, err := w.in.Peek(wire.WorkerHeaderSize)
	if err != nil {
		return 0, 0, err
	}
	kind, size := wire.WorkerType(head[4]), int64(binary.BigEndian.Uint32(head))
	_, err = w.in.Discard(wire.WorkerHeaderSize)
	return kind, size, err
}

// chunk delivers output, as much at a time as is there.
func (w *Worker) chunk(to *capture, size int64) error {
	for size > 0 {
		p, err := w.some(size)
		if err != nil {
			return err
		}
		w.deliver(to, p)
		size -= int64(len(p))
		if _, err := w.in.Discard(len(p)); err != nil {
			return err
		}
	}
	return nil
}

// some waits for bytes of a payload with size left and shows what is there.
func (w *Worker) some(size int64) ([]byte, error) {
	if _, err := w.in.Peek(1); err != nil {
		return nil, unexpected(err)
	}
	return w.in.Peek(int(min(size, int64(w.in.Buffered()))))
}

// deliver gives output to a writer of the call, between what comes from the agent.
func (w *Worker) deliver(to *capture, p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to.take(p)
}

// item delivers one value of a generator as one line, whatever spaces are in it.
// Small ones come in one piece.
func (w *Worker) item(items *capture, size int64) error {
	if size == 0 || size > wire.MaxSkip {
		return violation("item of %d bytes", size)
	}
	if size < int64(w.in.Size()) {
		p, err := w.in.Peek(int(size))
		if err != nil {
			return unexpected(err)
		}
		w.deliver(items, append(oneLine(p), '\n'))
		_, err = w.in.Discard(int(size))
		return err
	}
	for size > 0 {
		p, err := w.some(size)
		if err != nil {
			return err
		}
		w.deliver(items, oneLine(p))
		size -= int64(len(p))
		if _, err := w.in.Discard(len(p)); err != nil {
			return err
		}
	}
	w.deliver(items, []byte{'\n'})
	return nil
}

// oneLine copies p; in JSON a line's end is never more than a space.
func oneLine(p []byte) []byte {
	line := append(make([]byte, 0, len(p)+1), p...)
	for i, b := range line {
		if b == '\n' || b == '\r' {
			line[i] = ' '
		}
	}
	return line
}

// result reads a payload of at most limit bytes. One that is larger is read all
// the same, so that the worker can be called again.
func (w *Worker) result(size, limit int64) ([]byte, error) {
	if size > limit {
		if size > wire.MaxSkip {
			return nil, violation("result of %d bytes", size)
		}
		if _, err := w.in.Discard(int(size)); err != nil {
			return nil, unexpected(err)
		}
		return nil, fmt.Errorf("%w: result of %d bytes, at most %d allowed", ErrTooLarge, size, limit)
	}
	if size <= wire.MaxChunk {
		p := make([]byte, size)
		_, err := io.ReadFull(w.in, p)
		return p, unexpected(err)
	}
	var b bytes.Buffer // grows with what comes: an announcement costs nothing
	_, err := io.CopyN(&b, w.in, size)
	return b.Bytes(), unexpected(err)
}

// failure reads what the handler raised.
func (w *Worker) failure(size int64) (*CallFailure, error) {
	if size > wire.MaxFailure {
		return nil, violation("failure of %d bytes", size)
	}
	p, err := w.result(size, size)
	if err != nil {
		return nil, err
	}
	var f CallFailure
	if err := json.Unmarshal(p, &f); err != nil {
		return nil, violation("failure: %v", err)
	}
	return &CallFailure{Type: cut(f.Type, 256), Message: cut(f.Message, 4<<10), Traceback: cut(f.Traceback, 32<<10)}, nil
}

// unexpected makes an end of file what it is inside of a frame.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// capture is one output stream of a call.
type capture struct {
	w       io.Writer
	left    int64 // bytes that are still delivered
	refused bool  // the writer has failed
	dropped int64 // bytes beyond the limit, or that the writer did not take
}

// take delivers as much of p as the limit allows; a writer that fails gets
// nothing more.
func (c *capture) take(p []byte) {
	n := int(min(int64(len(p)), c.left))
	c.left -= int64(n)
	c.dropped += int64(len(p) - n)
	if c.w == nil || n == 0 {
		return
	}
	taken := 0
	if !c.refused {
		var err error
		taken, err = c.w.Write(p[:n])
		c.refused = err != nil
		if err == nil {
			return
		}
	}
	c.dropped += int64(n - min(max(taken, 0), n))
}

package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

var errCalling = errors.New("worker is in a call")

// Worker is a long-lived process in a slot that calls handlers, one call at a
// time. The gateway talks to it over a socket of their own; the agent starts it,
// forwards what it prints behind its wire's back, and cleans up after it.
// worker.md describes the wire. What a worker sends is treated as hostile.
type Worker struct {
	conn   *Conn
	run    *run
	socket *net.UnixConn
	in     *bufio.Reader
	quiet  func(fd uintptr) bool // looks whether the worker has said anything unasked
	unrest error                 // what quiet found
	frame  []byte                // of the call, reused
	cut    chan struct{}         // a context that ended has cut the call; capacity 1

	calling sync.Mutex // held by Call
	over    error      // why there are no more calls; belongs to who holds calling

	// What the process writes to its descriptors 1 and 2 comes by the
	// connection's reader, and goes where the running call's output goes.
	mu             sync.Mutex
	stdout, stderr *capture // nil between calls
	secretive      bool     // a call had secrets

	closing sync.Once
	done    chan struct{} // closed by the connection's reader
}

// StartWorker starts p in a slot, with one end of a socket pair as descriptor 3,
// and returns when it says that it is ready. ctx bounds that, and nothing else
// does. Close gives the slot back.
//
// Errors: ErrNotStarted, ErrBusy, ErrTooLarge, *StartError, ErrLost for a worker
// that ended before it was ready, ErrProtocol with it for one that said something
// else, and ctx's cause.
func (c *Conn) StartWorker(ctx context.Context, p Program) (*Worker, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("worker with %w", err)
	}
	payload := wire.Encode(p.message())
	if len(payload) > wire.MaxControl {
		return nil, fmt.Errorf("%w: worker's program of %d bytes", ErrTooLarge, len(payload))
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	w := newWorker(c, ours)
	err = c.begin(w.run, wire.TypeWorker, payload, syscall.UnixRights(int(theirs.Fd())))
	theirs.Close() // the agent has its own; with ours the end of a worker would go unnoticed
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	if err := w.await(ctx); err != nil {
		exit, ended := w.Close(context.WithoutCancel(ctx))
		if !exit.Reusable && ended == nil && exit.Reason != "" {
			err = fmt.Errorf("%w (%s)", err, exit.Reason)
		}
		var fault *StartError
		if errors.As(ended, &fault) || errors.Is(ended, ErrNotStarted) {
			return nil, ended
		}
		return nil, err
	}
	return w, nil
}

// socketPair makes our end and the worker's.
func socketPair() (*net.UnixConn, *os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make socket pair for a worker: %w", err)
	}
	file, theirs := os.NewFile(uintptr(pair[0]), "worker"), os.NewFile(uintptr(pair[1]), "worker")
	conn, err := net.FileConn(file) // duplicates
	if err := errors.Join(err, file.Close()); err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("make socket pair for a worker: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

func newWorker(c *Conn, socket *net.UnixConn) *Worker {
	w := &Worker{conn: c, socket: socket, in: bufio.NewReaderSize(socket, 8<<10), cut: make(chan struct{}, 1), done: make(chan struct{})}
	w.run = newRun(stray{w, false}, stray{w, true})
	w.run.worker = w
	w.quiet = w.look
	return w
}

// await waits until the agent has taken the worker and it is ready.
func (w *Worker) await(ctx context.Context) error {
	take := time.NewTimer(takeTime)
	defer take.Stop()
	select {
	case <-w.run.started:
	case <-take.C:
		w.conn.fail(errIdle)
	case <-w.run.finished:
	case <-w.conn.done:
	}
	if !w.run.isStarted() {
		return ErrNotStarted
	}
	err := w.bounded(ctx, time.Time{}, func() error {
		kind, size, err := w.next()
		if err == nil && (kind != wire.WorkerReady || size != 0) {
			err = violation("%d bytes of type %d instead of ready", size, kind)
		}
		return err
	})
	w.over = err
	return err
}

// isStarted tells whether the agent has taken the request.
func (r *run) isStarted() bool {
	select {
	case <-r.started:
		return true
	default:
		return false
	}
}

// Done is closed when the process has ended and the slot is clean, or the
// connection is over.
func (w *Worker) Done() <-chan struct{} { return w.done }

// Close kills the worker and all that it left, wipes its slot, and tells how it
// ended; Exit.Reusable says whether the slot may get another. A Call that waits
// returns ErrLost. It takes at most as long as the agent's cleaning; when ctx
// ends first the whole connection is given up. Every call returns the same.
//
// Errors: ErrLost when the connection is over, *StartError.
func (w *Worker) Close(ctx context.Context) (Exit, error) {
	w.closing.Do(func() {
		kill := wire.Encode(wire.Kill{})
		if err := w.conn.send(wire.TypeKill, w.run.stream, kill, DefaultPatience); err != nil {
			w.conn.fail(err)
		}
	})
	limit := time.NewTimer(2 * DefaultPatience)
	defer limit.Stop()
	defer w.socket.Close() // nothing that is read from it counts any more
	for {
		select {
		case <-w.run.finished:
			return w.run.exit, w.run.err
		case <-w.conn.done:
			return w.run.lost(w.conn.Err())
		case <-ctx.Done():
			w.conn.fail(context.Cause(ctx))
		case <-limit.C:
			w.conn.fail(errSilent)
		}
	}
}

// bounded runs work on the socket until limit (zero = none) or ctx's end.
func (w *Worker) bounded(ctx context.Context, limit time.Time, work func() error) error {
	if err := w.socket.SetDeadline(limit); err != nil {
		return w.explain(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() {
		w.socket.SetDeadline(time.Unix(1, 0)) // of a closed socket, maybe: all the better
		w.cut <- struct{}{}
	})
	err := work()
	if !stop() {
		<-w.cut // or it would cut the next call
	}
	return w.explain(ctx, err)
}

// explain tells what an error of the socket means.
func (w *Worker) explain(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrProtocol), errors.Is(err, ErrTooLarge):
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return context.DeadlineExceeded
	}
	if lost := w.conn.Err(); lost != nil {
		err = lost
	}
	return fmt.Errorf("%w: worker: %w", ErrLost, err)
}

// violation says that a worker broke its wire's rules.
func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %w: worker: %s", ErrLost, ErrProtocol, fmt.Sprintf(format, args...))
}

// stray takes what the process prints on descriptor 1 or 2.
type stray struct {
	w      *Worker
	stderr bool
}

func (s stray) take(p []byte) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	to := s.w.stdout
	if s.stderr {
		to = s.w.stderr
	}
	// Nobody's output between calls. And it may be late, and another call's: what
	// could hold that one's secrets is given to none.
	if to != nil && !s.w.secretive {
		to.take(p)
	}
	return nil
}

func (s stray) lost() int64 { return 0 }

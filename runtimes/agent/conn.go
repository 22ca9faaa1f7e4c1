package agent

import (
	"fmt"
	"net"
	"sync"
	"time"

	"attune/runtimes/agent/wire"
)

// Conn is the connection to the agent of one instance. Its methods may be called
// concurrently, but one execution runs at a time.
//
// One goroutine reads for as long as the connection lives, so a lost instance is
// noticed while it is idle; Close waits for it.
type Conn struct {
	socket   *net.UnixConn
	in       *wire.Reader
	isolated bool
	done     chan struct{} // closed when the reader has ended

	sending sync.Mutex // one frame at a time

	mu     sync.Mutex
	stream uint32 // of the last execution
	call   *call  // the running one, nil if none
	spent  bool   // an execution left something: nothing more may run
	err    error  // why the connection is over
}

func newConn(socket *net.UnixConn, in *wire.Reader, hello wire.Hello) *Conn {
	c := &Conn{socket: socket, in: in, isolated: hello.Isolated, done: make(chan struct{})}
	go c.read()
	return c
}

// Isolated tells whether the agent says that it is PID 1 of a container.
func (c *Conn) Isolated() bool { return c.isolated }

// Done is closed when the connection is over, for whatever reason: the instance
// is gone or must be destroyed.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err tells why the connection is over; nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection, and so the agent and everything that it runs. An
// Execute that waits returns. Idempotent.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	<-c.done
	return nil
}

// fail ends the connection; the first reason is kept.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		c.socket.Close() // of a connection that is given up; nothing depends on its error
	}
}

// read handles frames until the connection is over.
func (c *Conn) read() {
	defer close(c.done)
	for {
		f, err := c.in.Next()
		if err == nil {
			err = c.handle(f)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// handle gives a frame to the execution that it belongs to.
func (c *Conn) handle(f wire.Frame) error {
	c.mu.Lock()
	call := c.call
	c.mu.Unlock()
	if call == nil || f.Stream != call.stream {
		return fmt.Errorf("%w: frame type %d for stream %d, which is not running", ErrProtocol, f.Type, f.Stream)
	}
	over, err := call.handle(f)
	if over {
		c.mu.Lock()
		c.call, c.spent = nil, !call.exit.Reusable
		c.mu.Unlock()
		close(call.finished)
	}
	return err
}

// begin registers an execution under the next stream number.
func (c *Conn) begin(r Request, out Output) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, c.err)
	case c.spent:
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, errSpent)
	case c.call != nil:
		return nil, ErrBusy
	}
	c.stream++
	c.call = newCall(c.stream, r, out)
	return c.call, nil
}

// send writes one frame, for at most the given time: an agent reads whatever it
// does, so one that doesn't is broken.
func (c *Conn) send(t wire.Type, stream uint32, payload []byte, limit time.Duration) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if err := c.socket.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	head := wire.Header(t, stream, len(payload))
	_, err := (&net.Buffers{head[:], payload}).WriteTo(c.socket)
	return err
}

package agent

import (
	"fmt"
	"net"
	"sync"
	"time"

	"attune/runtimes/agent/wire"
)

// maxNotices is how many notices of one instance are passed on.
const maxNotices = 64

// Conn is the connection to the agent of one instance. Its methods may be called
// concurrently; as many executions and workers as the instance has slots run at
// once.
//
// One goroutine reads for as long as the connection lives, so a lost instance is
// noticed while it is idle; Close waits for it.
type Conn struct {
	socket   *net.UnixConn
	in       *wire.Reader
	isolated bool
	slots    int
	notices  chan string
	noticed  int           // notices so far; belongs to the reader
	done     chan struct{} // closed when the reader has ended

	sending sync.Mutex // one frame at a time, and streams in the order of their numbers

	mu      sync.Mutex
	stream  uint32          // the last one
	running map[uint32]*run // by stream
	spent   bool            // an execution left something: nothing more may start
	err     error           // why the connection is over
}

func newConn(socket *net.UnixConn, in *wire.Reader, hello wire.Hello, slots int) *Conn {
	c := &Conn{
		socket: socket, in: in, isolated: hello.Isolated, slots: slots,
		notices: make(chan string, maxNotices), done: make(chan struct{}), running: map[uint32]*run{},
	}
	go c.read()
	return c
}

// Isolated tells whether the agent says that it is PID 1 of a container.
func (c *Conn) Isolated() bool { return c.isolated }

// Notices gives what the agent has to say about the instance, for the log: texts
// of at most 1 KiB, 64 in an instance's life; it is dropped what nobody takes.
// Closed with the connection.
func (c *Conn) Notices() <-chan string { return c.notices }

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
// Execute or Call that waits returns. Idempotent.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	<-c.done
	return nil
}

// fail ends the connection; the first reason is kept.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	c.socket.Close() // of a connection that is given up; nothing depends on its error
	for _, r := range c.running {
		if r.worker != nil {
			r.worker.socket.Close() // as is a worker's: its Call returns
		}
	}
}

// read handles frames until the connection is over.
func (c *Conn) read() {
	defer close(c.done)
	defer close(c.notices)
	defer c.endWorkers()
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

// handle gives a frame to what it belongs to.
func (c *Conn) handle(f wire.Frame) error {
	if f.Type == wire.TypeNotice {
		c.notice(f)
		return nil
	}
	c.mu.Lock()
	r := c.running[f.Stream]
	c.mu.Unlock()
	if r == nil {
		return fmt.Errorf("%w: frame type %d for stream %d, which is not running", ErrProtocol, f.Type, f.Stream)
	}
	over, err := r.handle(f)
	if over {
		c.mu.Lock()
		delete(c.running, f.Stream)
		c.spent = c.spent || !r.exit.Reusable
		c.mu.Unlock()
		close(r.finished)
		if r.worker != nil {
			close(r.worker.done)
		}
	}
	return err
}

// endWorkers ends the workers of a connection that is over.
func (c *Conn) endWorkers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.running {
		if r.worker != nil {
			close(r.worker.done)
		}
	}
}

// notice passes a notice on, or drops it.
func (c *Conn) notice(f wire.Frame) {
	if c.noticed == maxNotices {
		return
	}
	c.noticed++
	c.notices <- bounded(string(f.Payload)) // there is room for all of them
}

// begin starts what r stands for under the next stream number: with its frame,
// so that streams begin in the order of their numbers. An incomplete frame starts
// nothing, so a failed write needs no more than the end of the connection.
func (c *Conn) begin(r *run, t wire.Type, payload, rights []byte) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	if err := c.register(r); err != nil {
		return err
	}
	if err := c.write(t, r.stream, payload, rights, takeTime); err != nil {
		c.fail(err)
	}
	return nil
}

// register gives r a slot and a number.
func (c *Conn) register(r *run) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return fmt.Errorf("%w: %w", ErrNotStarted, c.err)
	case c.spent:
		return fmt.Errorf("%w: %w", ErrNotStarted, errSpent)
	case len(c.running) == c.slots:
		return ErrBusy
	}
	c.stream++
	r.stream = c.stream
	c.running[r.stream] = r
	return nil
}

// send writes one frame, for at most the given time: an agent reads whatever it
// does, so one that doesn't is broken.
func (c *Conn) send(t wire.Type, stream uint32, payload []byte, limit time.Duration) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	return c.write(t, stream, payload, nil, limit)
}

// write writes one frame, descriptors with its first byte. The caller holds
// sending.
func (c *Conn) write(t wire.Type, stream uint32, payload, rights []byte, limit time.Duration) error {
	if err := c.socket.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	head := wire.Header(t, stream, len(payload))
	if rights == nil {
		_, err := (&net.Buffers{head[:], payload}).WriteTo(c.socket)
		return err
	}
	frame := append(head[:], payload...)
	n, _, err := c.socket.WriteMsgUnix(frame, rights, nil)
	if err == nil && n < len(frame) {
		_, err = c.socket.Write(frame[n:])
	}
	return err
}

// Package supervisor is the agent: what runs as PID 1 of an instance and starts
// programs for the gateway, as many at once as the instance has slots, or the
// steps of a build.
//
// As PID 1 ("isolated") it stays uid 0 with SETUID, SETGID and KILL, and user
// code is another uid, each slot's its own. As a plain child of the gateway
// (engine: process) it changes no uid and protects nobody; it only cleans up.
//
// Goroutines of Run: the reader of the connection and the reaper live as long
// as Run; one per execution, which starts up to three for its pipes and waits for
// them; three for the forking parent, one for the stock and one for each process
// that waits in it.
package supervisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

// Options are what Run needs. All but ReadyTime are required.
type Options struct {
	Socket string // where the gateway listens
	// Scratch is the directory that user code may write; what is in it is
	// removed after every execution.
	Scratch string
	Log     io.Writer // the agent's own few lines
	// ReadyTime is how long a forking parent may take to get ready before it is
	// given up; 0 = 1 min.
	ReadyTime time.Duration
}

// supervisor runs executions.
type supervisor struct {
	Options
	isolated bool
	conn     *net.UnixConn
	rights   *rights
	in       *wire.Reader
	sending  sync.Mutex // one frame at a time
	children *reaper
	cleaner  cleaner
	oom      *oomGuard
	setup    wire.Setup
	parent   *parent // nil = none
	stock    *stock  // of started or forked processes; nil = none

	free    []*slot
	last    uint32                // stream of the last start
	spent   bool                  // something of an execution is left: nothing more may start
	running map[uint32]*execution // by stream
	ended   chan *execution
}

// Run dials the gateway and serves it until the connection ends or a SIGTERM
// comes, both of which are no error. When it returns, nothing that it started
// runs any more, or the caller is PID 1 and takes the rest with it.
func Run(o Options) error {
	s := &supervisor{Options: o, isolated: os.Getpid() == 1, running: map[uint32]*execution{}}
	conn, err := dial(o.Socket, s.isolated)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.conn, s.rights = conn, &rights{conn: conn}
	defer s.rights.close()
	s.in = wire.NewReader(s.rights, wire.ToAgent)
	if err := s.settle(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	defer s.children.stop()
	if err := s.greet(); err != nil {
		return fmt.Errorf("greet gateway: %w", err)
	}
	if err := s.prepare(); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	return s.serve(signals)
}

// settle makes the process what it has to be before user code exists.
func (s *supervisor) settle() error {
	if err := harden(s.isolated); err != nil {
		return err
	}
	s.children = newReaper()
	if s.isolated {
		s.oom = newOOMGuard()
		janitor, err := newJanitor(s.children)
		if err != nil {
			return err
		}
		s.cleaner = janitor
	} else {
		fmt.Fprintln(s.Log, "attune-agent: not PID 1: no isolation, programs run with the gateway's own rights")
		s.cleaner = descendants{children: s.children}
	}
	return nil
}

// greet exchanges hellos.
func (s *supervisor) greet() error {
	if err := s.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	hello := wire.Hello{Version: wire.Version, Isolated: s.isolated}
	if err := wire.Write(s.conn, wire.TypeHello, 0, wire.Encode(hello)); err != nil {
		return err
	}
	f, err := s.in.Next()
	if err != nil {
		return err
	}
	if f.Type != wire.TypeHello {
		return fmt.Errorf("%w: frame type %d instead of hello", wire.ErrProtocol, f.Type)
	}
	var answer wire.Hello
	if err := wire.Decode(f.Payload, &answer); err != nil {
		return err
	}
	if answer.Version != wire.Version {
		return fmt.Errorf("%w: gateway speaks version %d, agent %d", wire.ErrProtocol, answer.Version, wire.Version)
	}
	s.setup = answer.Setup
	return errors.Join(checkSetup(s.setup), s.conn.SetDeadline(time.Time{}))
}

// prepare makes the slots, and starts what is to be kept ready.
func (s *supervisor) prepare() error {
	stockThreads(s.setup.Slots)
	s.ended = make(chan *execution, s.setup.Slots)
	places, err := s.places()
	if err != nil {
		return err
	}
	for i := s.setup.Slots - 1; i >= 0; i-- { // the first is taken first
		s.free = append(s.free, &slot{place: places[i]})
	}
	switch {
	case s.setup.Parent != nil:
		if s.parent = s.startParent(s.setup.Parent); s.parent != nil {
			s.stock = s.startStock(s.parent, s.setup.StockCount, places[s.setup.Slots:])
		}
	case s.setup.Stock != nil:
		s.stock = s.startStock(&starter{s, s.setup.Stock}, s.setup.StockCount, places[s.setup.Slots:])
	}
	return nil
}

// serve obeys the gateway. It alone changes what is running.
func (s *supervisor) serve(signals <-chan os.Signal) error {
	in, quit := make(chan message), make(chan struct{})
	defer s.end()
	defer close(quit)
	go readMessages(s.in, s.rights, in, quit)
	for {
		select {
		case m := <-in:
			if m.err == io.EOF || errors.Is(m.err, syscall.ECONNRESET) {
				return nil
			}
			if err := s.obey(m); err != nil {
				return err
			}
		case e := <-s.ended:
			// Free before the gateway can know: its next start may come at once.
			delete(s.running, e.stream)
			s.free, s.spent = append(s.free, e.slot), s.spent || !e.exit.Reusable
			if err := s.send(wire.TypeExit, e.stream, wire.Encode(e.exit)); err != nil {
				return nil // the gateway is gone
			}
			if len(e.Stdin) > 1<<20 {
				debug.FreeOSMemory() // memory is the container's, and user code wants it
			}
		case <-signals:
			return nil
		}
	}
}

// obey does what a message says.
func (s *supervisor) obey(m message) error {
	switch {
	case m.err != nil:
		return m.err
	case m.start != nil:
		return s.begin(m)
	case s.running[m.stream] != nil:
		s.running[m.stream].stop(m.kill)
	case m.stream == 0 || m.stream > s.last:
		return fmt.Errorf("%w: kill of stream %d after %d", wire.ErrProtocol, m.stream, s.last)
	}
	return nil // a kill that crossed an exit is void
}

// begin gives a start a slot.
func (s *supervisor) begin(m message) error {
	e := newExecution(m)
	if m.stream != s.last+1 || len(s.free) == 0 {
		e.forget()
		return fmt.Errorf("%w: start of stream %d after %d with %d slots free", wire.ErrProtocol, m.stream, s.last, len(s.free))
	}
	s.last = m.stream
	if s.spent {
		e.forget()
		return s.send(wire.TypeRefused, e.stream, nil)
	}
	e.slot = s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.running[e.stream] = e
	go func() {
		s.execute(e)
		s.ended <- e // there is room for all of them
	}()
	return nil
}

// end stops what is running. PID 1 need not: its end is that of all processes.
func (s *supervisor) end() {
	s.conn.Close() // nobody reads it any more; unblocks the pumps
	if s.isolated {
		return
	}
	for _, e := range s.running {
		e.stop(0)
	}
	for range s.running {
		<-s.ended
	}
	if s.stock != nil {
		s.stock.stop()
	}
}

// send writes a small frame.
func (s *supervisor) send(t wire.Type, stream uint32, payload []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return wire.Write(s.conn, t, stream, payload)
}

// notice tells the gateway something for its log. One that can't be sent is of
// no use to anybody.
func (s *supervisor) notice(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.send(wire.TypeNotice, 0, []byte(text[:min(len(text), wire.MaxNotice)]))
}

// sendFrame writes a frame whose header has room in front of its payload.
func (s *supervisor) sendFrame(t wire.Type, stream uint32, frame []byte) error {
	head := wire.Header(t, stream, len(frame)-wire.HeaderSize)
	copy(frame, head[:])
	s.sending.Lock()
	defer s.sending.Unlock()
	_, err := s.conn.Write(frame)
	return err
}

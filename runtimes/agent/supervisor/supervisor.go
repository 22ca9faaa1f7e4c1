// Package supervisor is the agent: what runs as PID 1 of an instance and starts
// one program after the other for the gateway, or the steps of a build.
//
// As PID 1 ("isolated") it stays uid 0 with SETUID, SETGID and KILL, and user
// code is another uid. As a plain child of the gateway (engine: process) it
// changes no uid and protects nobody; it only cleans up.
//
// Goroutines of Run: the reader of the connection and the reaper live as long
// as Run; the janitor, isolated only, for ever on a thread of its own; one per
// execution, which starts three for its pipes and waits for them.
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

// Options are what Run needs. All are required.
type Options struct {
	Socket string // where the gateway listens
	// Scratch is the directory that user code may write; what is in it is
	// removed after every execution.
	Scratch string
	Log     io.Writer // the agent's own few lines
}

// supervisor runs executions, one at a time.
type supervisor struct {
	Options
	isolated bool
	conn     *net.UnixConn
	in       *wire.Reader
	sending  sync.Mutex // one frame at a time
	children *reaper
	cleaner  cleaner
	oom      *oomGuard
	stdout   pump
	stderr   pump

	last    uint32     // stream of the last start
	spent   bool       // something of an execution is left: nothing more may run
	running *execution // nil while idle
}

// cleaner does what only user code's own uid can do.
type cleaner interface {
	// place makes the files of an execution before it starts.
	place(dir string, files []wire.File) error
	// clear kills what an execution has left and wipes what it could write. An
	// error says what is still there. Bounded in time.
	clear() error
}

// Run dials the gateway and serves it until the connection ends or a SIGTERM
// comes, both of which are no error. When it returns, nothing that it started
// runs any more, or the caller is PID 1 and takes the rest with it.
func Run(o Options) error {
	s := &supervisor{Options: o, isolated: os.Getpid() == 1}
	conn, err := dial(o.Socket, s.isolated)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.conn, s.in = conn, wire.NewReader(conn, wire.ToAgent)
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
		janitor, err := newJanitor(s.children, s.Scratch)
		if err != nil {
			return err
		}
		s.cleaner = janitor
	} else {
		fmt.Fprintln(s.Log, "attune-agent: not PID 1: no isolation, programs run with the gateway's own rights")
		s.cleaner = descendants{children: s.children, scratch: s.Scratch}
	}
	s.stdout = newPump(wire.TypeStdout)
	s.stderr = newPump(wire.TypeStderr)
	stockThreads()
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
	return s.conn.SetDeadline(time.Time{})
}

// serve obeys the gateway. It alone changes s.running.
func (s *supervisor) serve(signals <-chan os.Signal) error {
	in, quit := make(chan message), make(chan struct{})
	defer s.end()
	defer close(quit)
	go readMessages(s.in, in, quit)
	for {
		var done <-chan wire.Exit
		if s.running != nil {
			done = s.running.done
		}
		select {
		case m := <-in:
			if m.err == io.EOF || errors.Is(m.err, syscall.ECONNRESET) {
				return nil
			}
			if err := s.obey(m); err != nil {
				return err
			}
		case x := <-done:
			// Idle before the gateway can know: its next start may come at once.
			large := len(s.running.Stdin) > 1<<20
			stream := s.running.stream
			s.running, s.spent = nil, !x.Reusable
			if err := s.send(wire.TypeExit, stream, wire.Encode(x)); err != nil {
				return nil // the gateway is gone
			}
			if large {
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
		if s.running != nil || s.spent || m.stream != s.last+1 {
			return fmt.Errorf("%w: start of stream %d after %d", wire.ErrProtocol, m.stream, s.last)
		}
		s.last = m.stream
		s.running = newExecution(m.stream, m.start)
		go s.execute(s.running)
	case s.running != nil && s.running.stream == m.stream:
		s.running.stop(m.kill)
	case m.stream == 0 || m.stream > s.last:
		return fmt.Errorf("%w: kill of stream %d after %d", wire.ErrProtocol, m.stream, s.last)
	}
	return nil // a kill that crossed an exit is void
}

// end stops what is running. PID 1 need not: its end is that of all processes.
func (s *supervisor) end() {
	s.conn.Close() // nobody reads it any more; unblocks the pumps
	if s.running != nil && !s.isolated {
		s.running.stop(0)
		<-s.running.done
	}
}

// send writes a small frame.
func (s *supervisor) send(t wire.Type, stream uint32, payload []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return wire.Write(s.conn, t, stream, payload)
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

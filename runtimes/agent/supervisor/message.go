package supervisor

import (
	"fmt"
	"math"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

// message is a decoded frame of the gateway, or why there are no more.
type message struct {
	stream     uint32
	start      *wire.Start   // nil = kill
	worker     bool          // start is a worker's, with a descriptor
	descriptor int           // of a worker
	kill       time.Duration // its grace
	err        error
}

// readMessages sends messages to out until one has an error or quit is closed.
func readMessages(in *wire.Reader, rights *rights, out chan<- message, quit <-chan struct{}) {
	for {
		m := nextMessage(in, rights)
		select {
		case out <- m:
		case <-quit:
			return
		}
		if m.err != nil {
			return
		}
	}
}

// nextMessage reads one message and checks what can be checked in it alone.
func nextMessage(in *wire.Reader, rights *rights) message {
	f, err := in.Next()
	if err != nil {
		return message{err: err}
	}
	m := message{stream: f.Stream}
	switch f.Type {
	case wire.TypeStart:
		start, err := wire.DecodeStart(f.Payload)
		if err == nil {
			err = checkStart(start)
		}
		m.start, m.err = &start, err
	case wire.TypeWorker:
		m.worker = true
		if m.start, m.err = workerStart(f.Payload); m.err == nil {
			m.descriptor, m.err = rights.take()
		}
	case wire.TypeKill:
		var k wire.Kill
		m.err = wire.Decode(f.Payload, &k)
		m.kill = max(k.Grace, 0)
	default:
		m.err = fmt.Errorf("%w: frame type %d after hello", wire.ErrProtocol, f.Type)
	}
	if m.err == nil && in.Buffered() == 0 {
		if m.err = rights.settled(); m.err != nil && m.worker {
			syscall.Close(m.descriptor) // nothing was written to it
		}
	}
	return m
}

// workerOutput is how many bytes per second and stream a worker may print behind
// its wire's back: it has no end, and the gateway reads them for nothing mostly.
const workerOutput = 1 << 20

// workerStart is a worker as an execution that has no end of its own.
func workerStart(payload []byte) (*wire.Start, error) {
	var p wire.Program
	if err := wire.Decode(payload, &p); err != nil {
		return nil, err
	}
	s := wire.Start{
		ID: "worker", Argv: p.Argv, Dir: p.Dir, Env: p.Env, Timeout: math.MaxInt64,
		StdoutLimit: workerOutput, StderrLimit: workerOutput,
	}
	return &s, checkStart(s)
}

// checkStart refuses what the gateway's side never sends.
func checkStart(s wire.Start) error {
	switch {
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return fmt.Errorf("%w: start without a program", wire.ErrProtocol)
	case s.Timeout <= 0 || s.Grace < 0:
		return fmt.Errorf("%w: start with timeout %v and grace %v", wire.ErrProtocol, s.Timeout, s.Grace)
	case s.StdoutLimit < 0 || s.StderrLimit < 0:
		return fmt.Errorf("%w: start with a negative output limit", wire.ErrProtocol)
	case s.Via != wire.ViaExec && len(s.Script) == 0:
		return fmt.Errorf("%w: start of a warm process without a script", wire.ErrProtocol)
	}
	return nil
}

// checkSetup refuses what the gateway's side never sends.
func checkSetup(s wire.Setup) error {
	if s.Slots < 1 || s.Slots > wire.MaxSlots || s.StockCount < 0 || s.StockCount > wire.MaxStock {
		return fmt.Errorf("%w: setup with %d slots and a stock of %d", wire.ErrProtocol, s.Slots, s.StockCount)
	}
	if s.Parent != nil && s.Stock != nil {
		return fmt.Errorf("%w: setup with a parent and a stock", wire.ErrProtocol)
	}
	for _, p := range []*wire.Program{s.Parent, s.Stock} {
		if p != nil && (len(p.Argv) == 0 || p.Argv[0] == "") {
			return fmt.Errorf("%w: setup without a program", wire.ErrProtocol)
		}
	}
	return nil
}

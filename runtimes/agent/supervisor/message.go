package supervisor

import (
	"fmt"
	"time"

	"attune/runtimes/agent/wire"
)

// message is a decoded frame of the gateway, or why there are no more.
type message struct {
	stream uint32
	start  *wire.Start   // nil = kill
	kill   time.Duration // its grace
	err    error
}

// readMessages sends messages to out until one has an error or quit is closed.
func readMessages(in *wire.Reader, out chan<- message, quit <-chan struct{}) {
	for {
		m := nextMessage(in)
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
func nextMessage(in *wire.Reader) message {
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
	case wire.TypeKill:
		var k wire.Kill
		m.err = wire.Decode(f.Payload, &k)
		m.kill = max(k.Grace, 0)
	default:
		m.err = fmt.Errorf("%w: frame type %d after hello", wire.ErrProtocol, f.Type)
	}
	return m
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
	}
	return nil
}

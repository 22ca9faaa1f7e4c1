package supervisor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"attune/runtimes/agent/wire"
)

// rights reads from the gateway, and keeps the descriptors that come with the
// bytes until the frames that they belong to are read.
type rights struct {
	conn *net.UnixConn

	mu  sync.Mutex
	fds []int // received and not taken, in their order
}

// room is what one read may bring: a frame brings one descriptor at most, and
// the kernel never joins the bytes of two that do.
var room = syscall.CmsgSpace(4)

// Read reads bytes, and descriptors beside them. More than slots need is a
// protocol violation.
func (r *rights) Read(p []byte) (int, error) {
	control := make([]byte, room)
	n, controls, flags, _, err := r.conn.ReadMsgUnix(p, control)
	if errors.Is(err, io.EOF) || err == nil && n == 0 && controls == 0 && len(p) > 0 {
		return 0, io.EOF // as it is, for who compares it
	}
	if err != nil {
		return max(n, 0), err // -1 is no count of an io.Reader's
	}
	if flags&syscall.MSG_CTRUNC != 0 {
		return n, fmt.Errorf("%w: more than one descriptor at once", wire.ErrProtocol)
	}
	return n, r.keep(control[:controls])
}

// keep takes the descriptors out of control messages.
func (r *rights) keep(control []byte) error {
	if len(control) == 0 {
		return nil
	}
	messages, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return fmt.Errorf("%w: control message: %w", wire.ErrProtocol, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("%w: control message: %w", wire.ErrProtocol, err)
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
		}
		r.fds = append(r.fds, fds...)
	}
	if len(r.fds) > wire.MaxSlots {
		return fmt.Errorf("%w: %d descriptors without a frame", wire.ErrProtocol, len(r.fds))
	}
	return nil
}

// settled reports descriptors that belong to no frame: none is being read, and
// nothing else has come.
func (r *rights) settled() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fds) > 0 {
		return fmt.Errorf("%w: %d descriptors without a frame", wire.ErrProtocol, len(r.fds))
	}
	return nil
}

// take gives the descriptor of a frame that has just been read.
func (r *rights) take() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.fds) == 0 {
		return -1, fmt.Errorf("%w: worker without a descriptor", wire.ErrProtocol)
	}
	fd := r.fds[0]
	r.fds = r.fds[1:]
	return fd, nil
}

// close closes what was never taken.
func (r *rights) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, fd := range r.fds {
		syscall.Close(fd) // nothing was written to it
	}
	r.fds = nil
}

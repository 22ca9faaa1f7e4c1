package agent

import (
	"net"
	"syscall"
)

// PeerPID is the agent's process ID, as this process sees it.
func (c *Conn) PeerPID() (int, error) {
	raw, err := c.socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return int(peer.Pid), nil
}

// NewWorkerOver is a worker that is ready, at the other end of a socket.
func NewWorkerOver(socket *net.UnixConn) *Worker { return newWorker(&Conn{}, socket) }

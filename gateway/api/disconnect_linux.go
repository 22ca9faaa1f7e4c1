package api

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// disconnected tells whether the client has closed its side of the connection,
// without reading from it. A client that closes only its sending half, as
// "nc -N" does, counts as gone: nothing tells the two apart.
func disconnected(c net.Conn) bool {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return true // closed on our side
	}
	poll := []unix.PollFd{{Events: unix.POLLRDHUP}}
	err = control.Control(func(fd uintptr) {
		poll[0].Fd = int32(fd)
		if _, err := unix.Poll(poll, 0); err != nil {
			poll[0].Revents = 0 // EINTR: the next tick asks again
		}
	})
	return err != nil || poll[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

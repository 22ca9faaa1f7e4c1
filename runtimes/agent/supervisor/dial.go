package supervisor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// dial connects to the gateway. Isolated, the peer must be outside of the
// container.
func dial(path string, isolated bool) (*net.UnixConn, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("open socket directory: %w", err)
	}
	defer dir.Close()
	// Through the descriptor: a socket's address has room for 108 bytes only.
	name := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: name})
	if err != nil {
		return nil, fmt.Errorf("dial gateway at %s: %w", path, err)
	}
	if isolated {
		if err := checkPeer(conn); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// checkPeer refuses whoever has a process ID in this container: the gateway has
// none, so the kernel reports 0 for it and nothing else for anything inside.
func checkPeer(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	var peer *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("check peer: %w", err)
	}
	if peer.Pid != 0 {
		return fmt.Errorf("check peer: process %d of this container listens on the gateway's socket", peer.Pid)
	}
	return nil
}

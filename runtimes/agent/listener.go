package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"attune/runtimes/agent/wire"
)

// helloTime bounds the exchange of hellos after a connection was accepted.
const helloTime = 5 * time.Second

// Listener waits for the agent of one instance.
type Listener struct {
	socket *net.UnixListener
	path   string
	close  func() error // once
}

// Listen makes the control socket of one instance in dir, which must exist, be
// private to the gateway, and be mounted into that instance only. The socket
// has mode 0660. The length of dir doesn't matter.
func Listen(dir string) (*Listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open socket directory: %w", err)
	}
	defer d.Close()
	// Through the descriptor: a socket's address has room for 108 bytes only.
	address := net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), SocketName)}
	socket, err := net.ListenUnix("unix", &address)
	if err != nil {
		return nil, fmt.Errorf("listen for agent in %s: %w", dir, err)
	}
	socket.SetUnlinkOnClose(false) // the descriptor's number means something else by then
	l := &Listener{socket: socket, path: filepath.Join(dir, SocketName)}
	l.close = sync.OnceValue(func() error { return errors.Join(socket.Close(), remove(l.path)) })
	if err := os.Chmod(l.path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("set mode of agent socket: %w", err), l.Close())
	}
	return l, nil
}

// remove unlinks a socket; gone with its directory is as good.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unlink agent socket: %w", err)
	}
	return nil
}

// Accept waits for the agent, exchanges hellos, and closes the listener whatever
// comes of it: there is one connection per instance, or none. It gives up when
// ctx ends; without a hello, 5 s after the connection. The agent keeps ready what
// setup says.
func (l *Listener) Accept(ctx context.Context, setup Setup) (*Conn, error) {
	defer l.Close() // its error is about a file in a directory that is private and goes with the instance
	message, err := setup.message()
	if err != nil {
		return nil, err
	}
	answer := wire.Encode(wire.Hello{Version: wire.Version, Setup: message})
	if len(answer) > wire.MaxControl {
		return nil, fmt.Errorf("%w: setup of %d bytes", ErrTooLarge, len(answer))
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	socket, err := l.socket.AcceptUnix()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("wait for agent: %w", err)
	}
	c, err := greet(ctx, socket, answer, message.Slots)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("greet agent: %w", err), socket.Close())
	}
	return c, nil
}

// Close closes and unlinks the socket. An Accept that waits returns.
func (l *Listener) Close() error { return l.close() }

// greet exchanges hellos and starts the connection's reader.
func greet(ctx context.Context, socket *net.UnixConn, answer []byte, slots int) (*Conn, error) {
	limit := time.Now().Add(helloTime)
	if d, ok := ctx.Deadline(); ok && d.Before(limit) {
		limit = d
	}
	if err := socket.SetDeadline(limit); err != nil {
		return nil, err
	}
	in := wire.NewReader(socket, wire.ToGateway)
	f, err := in.Next()
	if err != nil {
		return nil, err
	}
	var hello wire.Hello
	if f.Type != wire.TypeHello {
		return nil, fmt.Errorf("%w: frame type %d instead of hello", ErrProtocol, f.Type)
	}
	if err := wire.Decode(f.Payload, &hello); err != nil {
		return nil, err
	}
	if hello.Version != wire.Version {
		return nil, fmt.Errorf("%w: agent speaks version %d, gateway %d", ErrProtocol, hello.Version, wire.Version)
	}
	if err := wire.Write(socket, wire.TypeHello, 0, answer); err != nil {
		return nil, err
	}
	if err := socket.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return newConn(socket, in, hello, slots), nil
}

package api

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// listener caps connections per address and knows those that are open.
type listener struct {
	*net.TCPListener
	perIP int           // negative = no cap
	first time.Duration // for the first byte of a connection

	mu     sync.Mutex
	open   map[*conn]struct{}
	counts map[netip.Addr]int
}

func newListener(l *net.TCPListener, perIP int, first time.Duration) *listener {
	return &listener{
		TCPListener: l,
		perIP:       perIP,
		first:       first,
		open:        map[*conn]struct{}{},
		counts:      map[netip.Addr]int{},
	}
}

// Accept returns the next connection; one over the cap is closed at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		tcp, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		c := &conn{TCPConn: tcp, owner: l, peer: peerOf(tcp), silent: true}
		if l.add(c) {
			// fasthttp sets its own ones when a first byte is there.
			if err := tcp.SetReadDeadline(time.Now().Add(l.first)); err == nil {
				return c, nil
			}
			l.remove(c) // the client has gone
		}
		_ = tcp.Close() // nothing was read, nothing is lost
	}
}

func peerOf(c *net.TCPConn) netip.Addr {
	addr, _ := c.RemoteAddr().(*net.TCPAddr)
	return addr.AddrPort().Addr().Unmap()
}

func (l *listener) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.perIP >= 0 && l.counts[c.peer] >= l.perIP {
		return false
	}
	l.open[c] = struct{}{}
	l.counts[c.peer]++
	return true
}

func (l *listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.open[c]; !ok {
		return
	}
	delete(l.open, c)
	if l.counts[c.peer]--; l.counts[c.peer] == 0 {
		delete(l.counts, c.peer)
	}
}

// closeUnused closes the connections on which no request is being answered:
// fasthttp would wait for silent ones until their read timeout.
func (l *listener) closeUnused() { l.closeIf(func(c *conn) bool { return !c.answering.Load() }) }

func (l *listener) closeAll() { l.closeIf(func(*conn) bool { return true }) }

func (l *listener) closeIf(match func(*conn) bool) {
	for _, c := range l.chosen(match) {
		_ = c.TCPConn.Close() // its own goroutine sees it and calls Close
	}
}

// chosen are the open connections that match.
func (l *listener) chosen(match func(*conn) bool) []*conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var chosen []*conn
	for c := range l.open {
		if match(c) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

// conn is a client's connection. It stays a syscall.Conn, see disconnect.go.
type conn struct {
	*net.TCPConn
	owner *listener
	peer  netip.Addr

	answering atomic.Bool             // from the handler's start to the next read
	linger    atomic.Bool             // the client may still be sending; see Close
	watched   atomic.Pointer[watched] // the call that ends with the client; nil = none

	// Of the goroutine that reads.
	ahead  ahead
	silent bool  // the client has sent nothing yet
	late   error // what every further read returns; nil = none
}

// Bounds of what Close reads from a client that was refused mid-sentence.
const (
	lingerTime  = time.Second
	lingerBytes = 16 << 20
)

// Read reads the next request: the answer before it has been written.
func (c *conn) Read(p []byte) (int, error) {
	c.answering.Store(false)
	if c.late != nil {
		return 0, c.late
	}
	n, err := c.ahead.read(c.TCPConn, p)
	if c.silent && n == 0 && len(p) == 1 && errors.Is(err, os.ErrDeadlineExceeded) {
		// fasthttp closes on any fault at a first byte. With a byte it meets the
		// fault after it, and says 408 as to everybody who is too slow.
		n, err, c.late = 1, nil, err
	}
	c.silent = false
	return n, err
}

// Close closes the connection. Closing while bytes are unread makes the kernel
// send a reset, which destroys the answer on its way: a client that sends too
// much would never read its 413. So what it still sends is read for a moment.
func (c *conn) Close() error {
	c.owner.remove(c)
	if c.linger.Load() && c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
		_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes) // best effort: its end is the goal
	}
	return c.TCPConn.Close()
}

// Package proxy is a network's bad day: it stands between a program and a
// server, passes everything on, and cuts, delays, swallows or hangs when a test
// says so.
package proxy

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// mode is what becomes of bytes.
type mode int

const (
	pass   mode = iota
	hang        // they stay where they are, in both directions, until the mode changes
	mute        // requests pass, replies are lost
	refuse      // there are no connections
)

// Proxy passes connections on to a server. Its methods may be called at any
// time; they hold for open connections and for later ones.
type Proxy struct {
	network  string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	target  string
	mode    mode
	delay   time.Duration
	changed chan struct{} // closed, and made anew, with every change of the mode
	links   map[*link]bool
	losing  []byte        // the reply to the next request that holds it is lost
	lost    chan struct{} // closed when it was
}

// link is a client's connection and the one that was made for it.
type link struct {
	client, server net.Conn
	once           sync.Once
	cut            chan struct{} // closed with both connections

	// Under the proxy's mu.
	muted bool          // a reply was lost, so that no later one would be understood
	lost  chan struct{} // closed with the first reply that is lost; may be nil
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.cut)
		l.client.Close() // it was to be cut
		l.server.Close()
	})
}

// Start makes a proxy for a server ("tcp" or "unix", and its address), which
// ends with the test.
func Start(t testing.TB, network, target string) *Proxy {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "proxy-") // short: sockets have short names
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{
		network: network, target: target, listener: listener,
		changed: make(chan struct{}), links: make(map[*link]bool),
	}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.Refuse()
		listener.Close() // ends accept
		p.running.Wait()
	})
	return p
}

// Address is where clients connect to.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Target is where the server is from now on, as after its restart.
func (p *Proxy) Target(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address
}

// Pass heals everything. Connections that have lost a reply are cut.
func (p *Proxy) Pass() {
	p.set(pass, 0)
	p.cut(func(l *link) bool { return l.muted })
}

// Delay holds back every piece, in both directions.
func (p *Proxy) Delay(d time.Duration) { p.set(pass, d) }

// Hang leaves connections open and passes nothing on: a half-open connection, of
// which neither side is told. What was held back arrives after Pass.
func (p *Proxy) Hang() { p.set(hang, 0) }

// DropReplies lets requests through and swallows all replies.
func (p *Proxy) DropReplies() { p.set(mute, 0) }

// Refuse cuts all connections, and every new one at once.
func (p *Proxy) Refuse() {
	p.set(refuse, 0)
	p.Cut()
}

// Cut closes all connections. New ones are passed on.
func (p *Proxy) Cut() { p.cut(func(*link) bool { return true }) }

// LoseReplyTo swallows the reply to the next request that holds these bytes, and
// all that follows on its connection. The channel is closed when it was lost.
func (p *Proxy) LoseReplyTo(part string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losing, p.lost = []byte(part), make(chan struct{})
	return p.lost
}

func (p *Proxy) set(m mode, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode, p.delay = m, delay
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) cut(which func(*link) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if which(l) {
			l.close()
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed with the test
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.DialTimeout(p.network, target, 5*time.Second)
	if err != nil {
		client.Close() // as if nobody listened
		return
	}
	l := &link{client: client, server: server, cut: make(chan struct{})}
	defer l.close()
	p.mu.Lock()
	refused := p.mode == refuse
	if !refused {
		p.links[l] = true
	}
	p.mu.Unlock()
	if refused {
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, client, server, p.request) })
	both.Go(func() { p.copy(l, server, client, p.reply) })
	both.Wait()
}

// copy passes one direction on, to its end. judge tells whether a piece passes.
func (p *Proxy) copy(l *link, from, to net.Conn, judge func(*link, []byte) bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if !p.hold(l) {
			return
		}
		if n > 0 && judge(l, buffer[:n]) {
			if _, err := to.Write(buffer[:n]); err != nil {
				l.close()
				return
			}
		}
		if err == io.EOF {
			to.(interface{ CloseWrite() error }).CloseWrite() // the other direction may have more to say
			return
		}
		if err != nil {
			l.close()
			return
		}
	}
}

// hold keeps a piece back as long as the mode says, and tells whether its
// connection is still there.
func (p *Proxy) hold(l *link) bool {
	for {
		p.mu.Lock()
		mode, delay, changed := p.mode, p.delay, p.changed
		p.mu.Unlock()
		var over <-chan time.Time
		switch {
		case mode == hang:
		case delay > 0:
			over = time.After(delay)
		default:
			return true
		}
		select {
		case <-over:
			return true
		case <-changed:
		case <-l.cut:
			return false
		}
	}
}

func (p *Proxy) request(l *link, piece []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.losing) > 0 && bytes.Contains(piece, p.losing) {
		p.losing = nil
		l.muted, l.lost = true, p.lost
	}
	return true
}

func (p *Proxy) reply(l *link, _ []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == mute {
		l.muted = true
	}
	if l.muted && l.lost != nil {
		close(l.lost)
		l.lost = nil
	}
	return !l.muted
}

package redis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"attune/gateway/redis/redistest"
)

// accept serves each connection in a goroutine until the test ends.
func accept(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	t.Cleanup(group.Wait) // after all is closed
	var mu sync.Mutex
	var open []net.Conn
	group.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed below
			}
			mu.Lock()
			open = append(open, connection)
			mu.Unlock()
			group.Go(func() { serve(connection) })
		}
	})
	t.Cleanup(func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, connection := range open {
			if err := connection.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
	return listener.Addr().String()
}

// grumpyServer answers each command with the same error, except those that set
// up a connection. It returns its URL.
func grumpyServer(t *testing.T, reply string) string {
	address := accept(t, func(connection net.Conn) {
		reader := bufio.NewReader(connection)
		for {
			command, err := readCommand(reader)
			if err != nil {
				return
			}
			answer := "-" + reply
			switch strings.ToUpper(command) {
			case "HELLO":
				answer = "-ERR unknown command 'HELLO'" // an old server
			case "CLIENT":
				answer = "+OK"
			}
			if _, err := io.WriteString(connection, answer+"\r\n"); err != nil {
				return
			}
		}
	})
	return "redis://" + address
}

// readCommand reads an array of strings, and returns the first.
func readCommand(reader *bufio.Reader) (first string, err error) {
	var count, length int
	if _, err := fmt.Fscanf(reader, "*%d\r\n", &count); err != nil {
		return "", err
	}
	for i := range count {
		if _, err := fmt.Fscanf(reader, "$%d\r\n", &length); err != nil {
			return "", err
		}
		text := make([]byte, length+len("\r\n"))
		if _, err := io.ReadFull(reader, text); err != nil {
			return "", err
		}
		if i == 0 {
			first = string(text[:length])
		}
	}
	return first, nil
}

// proxy stands between a client and the shared server, and can fail in the ways
// of a network.
type proxy struct {
	target string

	mu        sync.Mutex
	refuse    bool // connections are closed, and new ones at once
	serial    int  // of the newest connection
	mute      int  // connections up to this serial drop every reply
	cutNext   bool // the next reply is dropped, and its connection closed
	open      map[net.Conn]bool
	refused   chan struct{} // has a value for each connection refused, up to a few
	swallowed chan struct{} // likewise, for each reply dropped
}

// newProxy returns it with a URL that goes through it.
func newProxy(t *testing.T) (p *proxy, through string) {
	t.Helper()
	to, err := url.Parse(redistest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	p = &proxy{
		target: to.Host, open: map[net.Conn]bool{},
		refused: make(chan struct{}, 8), swallowed: make(chan struct{}, 8),
	}
	to.Host = accept(t, p.serve)
	return p, to.String()
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	refuse := p.refuse
	p.open[client] = true
	p.serial++
	serial := p.serial
	p.mu.Unlock()
	if refuse {
		signal(p.refused)
		return
	}
	upstream, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	var requests sync.WaitGroup
	requests.Go(func() {
		_, _ = io.Copy(upstream, client) // either end may go away; that is the test
		upstream.Close()
	})
	p.copyReplies(serial, client, upstream)
	client.Close()
	upstream.Close()
	requests.Wait()
}

func (p *proxy) copyReplies(serial int, client, upstream net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := upstream.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		cut, swallow := p.cutNext, serial <= p.mute
		p.cutNext = false
		p.mu.Unlock()
		if cut || swallow {
			signal(p.swallowed)
		}
		if cut {
			return
		}
		if swallow {
			continue
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// set changes how it fails.
func (p *proxy) set(change func(*proxy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
	if p.refuse {
		for connection := range p.open {
			connection.Close() // its goroutine sees to the rest
		}
		clear(p.open)
	}
}

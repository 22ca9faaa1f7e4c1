package proxy_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"attune/tests/kit/proxy"
)

// server answers every line with itself, and tells of each.
func server(t *testing.T, network string) (address string, heard <-chan string) {
	t.Helper()
	address = "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					lines <- line
					io.WriteString(conn, line)
				}
			}()
		}
	}()
	return listener.Addr().String(), lines
}

type client struct {
	net.Conn
	*bufio.Reader
}

func connect(t *testing.T, network string, p *proxy.Proxy) client {
	t.Helper()
	conn, err := net.Dial(network, p.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{conn, bufio.NewReader(conn)}
}

func (c client) say(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(c.Conn, line); err != nil {
		t.Fatal(err)
	}
}

// hears checks the next line; empty: that there is none for a moment.
func (c client) hears(t *testing.T, want string) {
	t.Helper()
	limit := 10 * time.Second
	if want == "" {
		limit = 50 * time.Millisecond
	}
	c.SetReadDeadline(time.Now().Add(limit))
	got, err := c.ReadString('\n')
	if got != want || (want == "") != errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %q, %v, want %q", got, err, want)
	}
}

func (c client) isCut(t *testing.T) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := c.ReadString('\n'); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %q, %v, want a cut connection", got, err)
	}
}

func TestFaults(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			address, heard := server(t, network)
			p := proxy.Start(t, network, address)
			c := connect(t, network, p)
			c.say(t, "a\n")
			c.hears(t, "a\n")
			<-heard

			p.Hang()
			c.say(t, "b\n")
			c.hears(t, "")
			late := connect(t, network, p)
			late.say(t, "c\n")
			late.hears(t, "")
			if len(heard) > 0 {
				t.Errorf("the server heard %q while nothing passed", <-heard)
			}
			p.Pass()
			c.hears(t, "b\n")
			late.hears(t, "c\n")
			<-heard
			<-heard

			lost := p.LoseReplyTo("secret")
			c.say(t, "d\n")
			c.hears(t, "d\n")
			c.say(t, "a secret\n")
			<-lost
			c.hears(t, "")
			late.say(t, "e\n")
			late.hears(t, "e\n")
			<-heard
			if line := <-heard; line != "a secret\n" {
				t.Errorf("the server heard %q, want the request whose reply is lost", line)
			}
			p.Pass()
			c.isCut(t)

			p.DropReplies()
			late.say(t, "f\n")
			<-heard // e
			<-heard
			late.hears(t, "")

			p.Refuse()
			late.isCut(t)
			connect(t, network, p).isCut(t)
			p.Pass()
			again := connect(t, network, p)
			again.say(t, "g\n")
			again.hears(t, "g\n")
			p.Cut()
			again.isCut(t)

			p.Delay(60 * time.Millisecond)
			slow := connect(t, network, p)
			slow.say(t, "h\n")
			slow.hears(t, "")
			slow.hears(t, "h\n")

			other, told := server(t, network)
			p.Target(other)
			p.Pass()
			moved := connect(t, network, p)
			moved.say(t, "i\n")
			moved.hears(t, "i\n")
			<-told
		})
	}
}

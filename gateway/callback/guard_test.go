package callback

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

func TestCheckOfURLs(t *testing.T) {
	t.Parallel()
	private := &Guard{Allow: parsePrefixes("10.1.0.0/16", "fd00::/8")}
	for _, test := range []struct {
		url            string
		strict, opened error
	}{
		{"https://example.org/a?b=c", nil, nil},
		{"https://example.org:8443", nil, nil},
		{"HTTPS://EXAMPLE.ORG./", nil, nil},
		{"https://93.184.215.14/", nil, nil},
		{"https://[2606:2800:21f:cb07::1]/", nil, nil},
		{"http://example.org/", ErrURL, nil}, // where it leads is seen when it is called
		{"http://93.184.215.14/", ErrURL, ErrForbidden},
		{"https://10.1.2.3/", ErrForbidden, nil},
		{"http://10.1.2.3/", ErrURL, nil},
		{"http://[fd00::1]/", ErrURL, nil},
		{"http://[::ffff:10.1.2.3]/", ErrURL, nil},
		{"https://10.2.2.3/", ErrForbidden, ErrForbidden},
		{"https://127.0.0.1/", ErrForbidden, ErrForbidden},
		{"https://[::1]/", ErrForbidden, ErrForbidden},
		{"https://[::ffff:127.0.0.1]/", ErrForbidden, ErrForbidden},
		{"https://[::ffff:7f00:1]/", ErrForbidden, ErrForbidden},
		{"https://[::127.0.0.1]/", ErrForbidden, ErrForbidden},
		{"https://[64:ff9b::7f00:1]/", ErrForbidden, ErrForbidden},
		{"https://[2002:7f00:1::]/", ErrForbidden, ErrForbidden},
		{"https://[fe80::1%25eth0]/", ErrForbidden, ErrForbidden},
		{"https://[fd00::1%25eth0]/", ErrForbidden, ErrForbidden},
		{"https://169.254.169.254/latest/meta-data/", ErrForbidden, ErrForbidden},
		{"https://[fd00:ec2::254]/", ErrForbidden, nil},
		{"https://0.0.0.0/", ErrForbidden, ErrForbidden},
		{"https://2130706433/", ErrForbidden, ErrForbidden},
		{"https://0x7f000001/", ErrForbidden, ErrForbidden},
		{"https://0177.0.0.1/", ErrForbidden, ErrForbidden},
		{"https://127.1/", ErrForbidden, ErrForbidden},
		{"https://127.0.0.1./", ErrForbidden, ErrForbidden},
		{"https://example.org@127.0.0.1/", ErrURL, ErrURL},
		{"https://user:secret@example.org/", ErrURL, ErrURL},
		{"https://example.org/#a", ErrURL, ErrURL},
		{"https://example.org#", ErrURL, ErrURL},
		{"https:///a", ErrURL, ErrURL},
		{"https://:443/", ErrURL, ErrURL},
		{"https://./", ErrForbidden, ErrForbidden},
		{"https:example.org", ErrURL, ErrURL},
		{"//example.org/", ErrURL, ErrURL},
		{"/a", ErrURL, ErrURL},
		{"", ErrURL, ErrURL},
		{"file:///etc/passwd", ErrURL, ErrURL},
		{"gopher://example.org/", ErrURL, ErrURL},
		{"unix:///var/run/docker.sock", ErrURL, ErrURL},
		{"https://example.org/a b", ErrURL, ErrURL},
		{"https://example.org/\r\nX: y", ErrURL, ErrURL},
		{"https://exämple.org/", ErrURL, ErrURL},
		{`https://example.org\@127.0.0.1/`, ErrURL, ErrURL},
		{"https://example.org/" + strings.Repeat("a", maxURL), ErrURL, ErrURL},
		{"https://[::1", ErrURL, ErrURL},
		{"https://%31%32%37.0.0.1/", ErrURL, ErrURL},
	} {
		if err := (&Guard{}).Check(test.url); !errors.Is(err, test.strict) || test.strict == nil && err != nil {
			t.Errorf("Check(%q) = %v, want %v", test.url, err, test.strict)
		}
		if err := private.Check(test.url); !errors.Is(err, test.opened) || test.opened == nil && err != nil {
			t.Errorf("with networks allowed, Check(%q) = %v, want %v", test.url, err, test.opened)
		}
	}
}

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"1.1.1.1": true, "9.255.255.255": true, "11.0.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"172.15.255.255": true, "172.32.0.0": true, "192.167.255.255": true, "192.169.0.0": true, "223.255.255.255": true,
		"2001:4860:4860::8888": true, "2606:4700::1": true, "2a00::1": true,
		"0.0.0.0": false, "10.0.0.0": false, "10.255.255.255": false, "100.64.0.1": false, "100.127.255.255": false,
		"127.0.0.1": false, "127.255.255.255": false, "169.254.0.1": false, "169.254.169.254": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.0.0.1": false, "192.0.2.1": false, "192.168.0.1": false, "198.18.0.1": false,
		"198.19.255.255": false, "198.51.100.1": false, "203.0.113.1": false, "224.0.0.1": false, "239.255.255.255": false,
		"240.0.0.1": false, "255.255.255.255": false,
		"::": false, "::1": false, "::ffff:1.1.1.1": true, "::ffff:10.0.0.1": false, "::1.1.1.1": false, "64:ff9b::101:101": false,
		"64:ff9b:1::1": false, "100::1": false, "fc00::1": false, "fdff::1": false, "fe80::1": false, "fec0::1": false,
		"ff02::1": false, "2001::1": false, "2001:db8::1": false, "2002:101:101::1": false, "3fff::1": false, "5f00::1": false,
	} {
		err := (&Guard{}).reach("https", netip.MustParseAddr(text))
		if (err == nil) != want {
			t.Errorf("reach(%s) = %v, want it to be public: %t", text, err, want)
		}
	}
}

// nameServer answers each question for an address with the next of a list, the
// last one for ever.
func nameServer(t *testing.T, answers ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		asked := 0
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			question := m.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
			address := netip.MustParseAddr(answers[min(asked, len(answers)-1)])
			header := dnsmessage.ResourceHeader{Name: question.Name, Class: question.Class}
			switch {
			case question.Type == dnsmessage.TypeA && address.Is4():
				reply.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: address.As4()}}}
				asked++
			case question.Type == dnsmessage.TypeAAAA && address.Is6():
				reply.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: address.As16()}}}
				asked++
			}
			packed, err := reply.Pack()
			if err != nil {
				continue
			}
			if _, err := conn.WriteTo(packed, from); err != nil {
				return
			}
		}
	}()
	var dialer net.Dialer
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// listen counts the connections that reach a port of this machine.
func listen(t *testing.T) (port string, connections *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections = &atomic.Int64{}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			c.Close()
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, connections
}

// Where a name leads is checked on the address that is connected to: whatever a
// name server says, and however often it changes its mind.
func TestNamesThatLeadInside(t *testing.T) {
	t.Parallel()
	for _, answers := range [][]string{
		{"127.0.0.1"}, {"169.254.169.254"}, {"10.0.0.1"}, {"::1"}, {"::ffff:127.0.0.1"}, {"fe80::1"}, {"fd00:ec2::254"}, {"64:ff9b::7f00:1"}, {"0.0.0.0"},
	} {
		t.Run(answers[0], func(t *testing.T) {
			t.Parallel()
			port, connections := listen(t)
			g := &Guard{Resolver: nameServer(t, answers...)}
			for range 2 {
				if err := g.Check("https://evil.example:" + port + "/"); err != nil {
					t.Fatalf("Check() error = %v: a name isn't looked up there", err)
				}
				request, err := http.NewRequestWithContext(t.Context(), "POST", "https://evil.example:"+port+"/", strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				if response, err := g.client("https").Do(request); !errors.Is(err, ErrForbidden) {
					t.Errorf("Do() = %v, %v, want ErrForbidden", response, err)
				}
			}
			if n := connections.Load(); n != 0 {
				t.Errorf("%d connections got through", n)
			}
		})
	}
}

// Rebinding: a name server that says a good address first and a bad one then, with
// no time to live.
func TestRebindingReachesNothing(t *testing.T) {
	t.Parallel()
	port, connections := listen(t)
	// 127.0.0.2 stands for the good one: nothing listens there on this port.
	g := &Guard{Allow: parsePrefixes("127.0.0.2/32"), Resolver: nameServer(t, "127.0.0.2", "127.0.0.1")}
	client := g.client("http")
	post := func() error {
		request, err := http.NewRequestWithContext(t.Context(), "POST", "http://rebind.example:"+port+"/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := post(); err == nil || errors.Is(err, ErrForbidden) {
		t.Errorf("the good address: %v, want a refused connection", err)
	}
	for range 3 {
		if err := post(); !errors.Is(err, ErrForbidden) {
			t.Errorf("the bad address: %v, want ErrForbidden", err)
		}
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections got through", n)
	}
}

func TestParseAllow(t *testing.T) {
	t.Parallel()
	got, err := ParseAllow([]string{"10.1.2.3/16", "::1/128"})
	if err != nil || len(got) != 2 || got[0].String() != "10.1.0.0/16" {
		t.Errorf("ParseAllow() = %v, %v", got, err)
	}
	for _, bad := range []string{"", "10.0.0.1", "10.0.0.0/33", "example.org", "::ffff:10.0.0.0/104"} {
		if got, err := ParseAllow([]string{bad}); err == nil {
			t.Errorf("ParseAllow(%q) = %v", bad, got)
		}
	}
}

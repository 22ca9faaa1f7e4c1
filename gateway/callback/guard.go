package callback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Refusals of a URL. Their texts are fixed: nothing of the URL is in them.
var (
	ErrURL       = errors.New("must be an absolute https URL of at most 2048 printable ASCII characters, without user, password and fragment")
	ErrForbidden = errors.New("leads to an address that callbacks may not reach")
)

// maxURL is the length of a URL, in bytes.
const maxURL = 2048

// Guard decides where callbacks may go: to public addresses by https, and
// wherever the operator allows, by http, too.
type Guard struct {
	// Allow are networks of the operator's own that callbacks may reach.
	Allow []netip.Prefix
	// Resolver looks names up. Nil = the system's; for tests.
	Resolver *net.Resolver
}

// Check refuses a URL of which it is clear already that it can't be called. Where
// a name leads is only known when it is.
func (g *Guard) Check(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || len(raw) > maxURL || strings.ContainsFunc(raw, unprintable):
		return ErrURL
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "", u.User != nil, u.Hostname() == "", strings.Contains(raw, "#"):
		return ErrURL
	case u.Scheme == "http" && len(g.Allow) == 0:
		return ErrURL
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if address, err := netip.ParseAddr(host); err == nil {
		return g.reach(u.Scheme, address)
	}
	// What ends in a number is an address to some resolvers: 2130706433, 0x7f.1.
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" || last[0] >= '0' && last[0] <= '9' {
		return ErrForbidden
	}
	return nil
}

func unprintable(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }

// reach tells whether an address may be called.
func (g *Guard) reach(scheme string, address netip.Addr) error {
	address = address.Unmap()
	if address.Zone() != "" {
		return ErrForbidden
	}
	for _, network := range g.Allow {
		if network.Contains(address) {
			return nil
		}
	}
	if scheme != "https" || !public(address) {
		return ErrForbidden
	}
	return nil
}

// special are the networks of IANA's special-purpose registries that are not the
// public internet, and those that carry another address inside, which a router
// could unpack.
var special = parsePrefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

// global is where public addresses of IPv6 are: loopback, private, link-local,
// multicast, mapped and translated ones are not.
var global = netip.MustParsePrefix("2000::/3")

func public(address netip.Addr) bool {
	if address.Is6() && !global.Contains(address) {
		return false
	}
	for _, network := range special {
		if network.Contains(address) {
			return false
		}
	}
	return true
}

func parsePrefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		prefixes[i] = netip.MustParsePrefix(text)
	}
	return prefixes
}

// Bounds of one delivery.
const (
	dialTimeout    = 10 * time.Second
	requestTimeout = 30 * time.Second // from the connection to the end of the answer
	maxHeader      = 16 << 10
	maxAnswer      = 16 << 10 // what is read of an answer's body, so that its connection can be used again
)

// client calls URLs of one scheme. It checks each address that it connects to,
// after the name was looked up, so that a name can't lead to one place when it is
// checked and to another when it is called. It follows no redirect and uses no
// proxy.
func (g *Guard) client(scheme string) *http.Client {
	dialer := &net.Dialer{
		Timeout: dialTimeout, Resolver: g.Resolver,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			peer, err := netip.ParseAddrPort(address)
			if err != nil || !strings.HasPrefix(network, "tcp") {
				return ErrForbidden
			}
			return g.reach(scheme, peer.Addr())
		},
	}
	return &http.Client{
		Timeout:       requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: nil, DialContext: dialer.DialContext, DisableCompression: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: dialTimeout, MaxResponseHeaderBytes: maxHeader,
			MaxIdleConns: 64, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		},
	}
}

// ParseAllow reads the networks that an operator allows.
func ParseAllow(texts []string) ([]netip.Prefix, error) {
	var allowed []netip.Prefix
	for _, text := range texts {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no network like 10.1.0.0/16 or fd00::/8", text)
		}
		if network.Addr().Is4In6() {
			return nil, fmt.Errorf("%q is a network of IPv4: write it as such", text)
		}
		allowed = append(allowed, network.Masked())
	}
	return allowed, nil
}

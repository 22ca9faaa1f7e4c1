package tests

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestBadRefs: whatever stands where a ref should be is refused by its grammar,
// and nothing of it is echoed.
func TestBadRefs(t *testing.T) {
	h := newHome(t, "shell_example")
	h.pack(t, "off", map[string]string{
		"actions/a.yaml": "ref: off.a\nentry_point: a.sh\nenabled: false\n", "actions/a.sh": "echo ran\n",
		"actions/b.yaml": "ref: off.b\nentry_point: a.sh\n",
	})
	h.pack(t, "sleeping", map[string]string{
		"pack.yaml":      "ref: sleeping\nversion: 1.0.0\nenabled: false\n",
		"actions/a.yaml": "ref: sleeping.a\nentry_point: a.sh\n", "actions/a.sh": "echo ran\n",
	})
	h.pack(t, "faulty", map[string]string{
		"pack.yaml":      "ref: faulty\nversion: 1.0.0\ncolour: red\n",
		"actions/a.yaml": "ref: faulty.a\nentry_point: ../../etc/passwd\n",
		"actions/b.yaml": "ref: faulty.b\nentry_point: b.sh\ntimeout: soon\n", "actions/b.sh": "echo ran\n",
	})
	h.pack(t, "misnamed", map[string]string{"pack.yaml": "ref: other\nversion: 1.0.0\n"})
	g := h.start(t)
	const invalid, missing = "invalid-ref", "not-found"
	for ref, want := range map[string]string{
		// Ways out of a directory, plain and encoded once or twice.
		"..": invalid, ".": invalid, "...": invalid, "%2e%2e": "", "..%2f..%2fetc%2fpasswd": "",
		"%2e%2e%2f%2e%2e%2fetc": "", "%252e%252e.x": invalid, `..\..\etc`: "", "..%5c..%5cetc": invalid,
		"/etc/passwd": "", "../packs": "", ".store": invalid, ".store.x": invalid, "shell_example.": invalid, ".hello": invalid, "": "", "/": "",
		// Characters that no ref has.
		"a%00.b": invalid, "a.b%00": invalid, "a%0d%0aX-Evil:%201.b": invalid, "%zz.marker": "", "shell_example.hello%20": invalid,
		"marker%FF.b": invalid, "marker%E2%80%AE.b": invalid,
		"sh%D0%B5ll_example.hello": invalid, "%EF%BD%81marker.b": invalid, "marker*.b": invalid, "$(marker).b": "",
		"{env_dir}.b": "", "marker~1.b": invalid, "a:b.marker": invalid,
		// Almost refs.
		"Shell_example.hello": invalid, "shell_example.HELLO": invalid, "shell_example": invalid, "shell_example.hello.x": invalid, "shell_example..hello": invalid,
		"1marker.a": invalid, "_marker.a": invalid,
		"shell_example.1": invalid, strings.Repeat("a", 64) + ".b": invalid, "b." + strings.Repeat("a", 64): invalid, strings.Repeat("a", 3000) + ".b": "",
		// Refs of nothing that may be called.
		"shell_example.nothing": missing, "nobody.hello": missing, strings.Repeat("a", 63) + ".b": missing,
		"off.a": missing, "sleeping.a": missing, "faulty.a": missing, "faulty.b": missing, "other.a": missing, "misnamed.a": missing,
	} {
		for _, call := range []struct{ method, prefix string }{{"POST", "/invoke/"}, {"GET", "/api/v1/actions/"}} {
			if want == missing && call.method == "GET" && (strings.HasPrefix(ref, "off") || strings.HasPrefix(ref, "sleeping")) {
				continue // shown, but not run
			}
			path := call.prefix + ref
			a := raw(t, g, call.method, path)
			if strings.HasPrefix(a.body, `{"items"`) || a.status < 400 || a.status >= 500 {
				t.Errorf("%s %.100s = %d %s", call.method, path, a.status, a.body)
				continue
			}
			p := a.problem(t)
			if want != "" && p.Type != "/problems/"+want {
				t.Errorf("%s %.100s = %d %s, want %s", call.method, path, a.status, a.body, want)
			}
			if echoed(a, ref) {
				t.Errorf("%s %.100s is echoed: %v %s", call.method, path, a.header, a.body)
			}
		}
	}
	g.mustInvoke(t, "shell_example.hello", "{}") // still served
	g.mustInvoke(t, "off.b", "{}")
	t.Run("broken packs are shown", func(t *testing.T) { brokenPacks(t, g) })
}

// echoed tells whether an answer repeats a piece of a strange ref.
func echoed(a answer, ref string) bool {
	text := a.body
	for name, values := range a.header {
		text += name + strings.Join(values, " ")
	}
	plain, err := url.PathUnescape(ref)
	if err != nil {
		plain = ref
	}
	for _, piece := range []string{ref, plain, "marker", "passwd", "Evil", "%2e", "%252e", "Shell_example", "aaaaaaaa"} {
		if len(piece) > 3 && (strings.Contains(ref, piece) || strings.Contains(plain, piece)) && strings.Contains(text, piece) {
			return true
		}
	}
	return false
}

// raw sends a path as it stands, which a client library would tidy up.
func raw(t *testing.T, g *gateway, method, path string) answer {
	t.Helper()
	host := strings.TrimPrefix(g.url, "http://")
	conn, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%s %.100s: %v after %q", method, path, err, all)
	}
	head, body, _ := strings.Cut(string(all), "\r\n\r\n")
	status, lines, _ := strings.Cut(head, "\r\n")
	a := answer{header: http.Header{}, body: body}
	if _, err := fmt.Sscanf(status, "HTTP/1.1 %d", &a.status); err != nil {
		t.Fatalf("%s %.100s is answered by %q", method, path, all)
	}
	for line := range strings.SplitSeq(lines, "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		a.header.Add(name, value)
	}
	return a
}

// brokenPacks: all faults at once, no path of this machine, and nothing served.
func brokenPacks(t *testing.T, g *gateway) {
	var list struct {
		Items []struct {
			Ref, State string
			Faults     []string
			Actions    []string
		}
	}
	decode(t, g.get(t, "/api/v1/packs").body, &list)
	states := map[string]string{}
	for _, p := range list.Items {
		states[p.Ref] = p.State
		if p.State == "broken" && (len(p.Faults) == 0 || len(p.Actions) > 0) {
			t.Errorf("GET /api/v1/packs has %+v", p)
		}
	}
	for ref, want := range map[string]string{"faulty": "broken", "misnamed": "broken", "sleeping": "disabled", "off": "ready", "shell_example": "ready"} {
		if states[ref] != want {
			t.Errorf("GET /api/v1/packs says %s is %q, want %s", ref, states[ref], want)
		}
	}
	var faulty struct{ Faults []string }
	decode(t, g.get(t, "/api/v1/packs/faulty").body, &faulty)
	all := strings.Join(faulty.Faults, "\n")
	for _, want := range []string{"colour", "entry_point", "timeout", "pack.yaml:3", "actions/a.yaml:2", "actions/b.yaml:3"} {
		if !strings.Contains(all, want) {
			t.Errorf("GET /api/v1/packs/faulty does not tell of %s:\n%s", want, all)
		}
	}
	if strings.Contains(all, g.packs) {
		t.Errorf("GET /api/v1/packs/faulty tells where packs are:\n%s", all)
	}
	if a := g.get(t, "/api/v1/packs/faulty/actions"); a.status != 404 {
		t.Errorf("GET /api/v1/packs/faulty/actions = %d %s", a.status, a.body)
	}
	if listed := g.get(t, "/api/v1/actions").body; strings.Contains(listed, "faulty.") || !strings.Contains(listed, "off.a") {
		t.Errorf("GET /api/v1/actions = %s, want nothing of faulty", listed)
	}
}

package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// canary is in every bad request, and may be in no answer.
const canary = "zqxcanary"

// answer is what came back for the bytes of a raw request.
type answer struct {
	status  int
	header  http.Header
	body    string
	problem Problem
	kept    bool // the connection answers another request
}

// raw sends bytes as they are, in the parts given, and reads one answer.
func (w *world) raw(t *testing.T, parts ...string) answer {
	t.Helper()
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		if _, err := io.WriteString(c, part); err != nil {
			t.Logf("write: %v", err) // the answer may be there already
		}
	}
	reader := bufio.NewReader(c)
	a := readAnswer(t, reader, strings.HasPrefix(parts[0], "HEAD "))
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"); err == nil {
		next, err := http.ReadResponse(reader, nil)
		if err == nil {
			a.kept = next.StatusCode == http.StatusOK
			_ = next.Body.Close()
		}
	}
	return a
}

func readAnswer(t *testing.T, reader *bufio.Reader, head bool) answer {
	t.Helper()
	request := &http.Request{Method: http.MethodGet}
	if head {
		request.Method = http.MethodHead
	}
	response, err := http.ReadResponse(reader, request)
	if err == nil && response.StatusCode == http.StatusContinue {
		response, err = http.ReadResponse(reader, request)
	}
	if err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("read the answer's body: %v", err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	if response.StatusCode >= 400 && !head {
		if err := json.Unmarshal(body, &a.problem); err != nil {
			t.Errorf("answer %d is no problem: %v\n%s", a.status, err, body)
		}
	}
	return a
}

// refused checks everything that holds for every refusal.
func (a answer) refused(t *testing.T, status int, slug string, kept bool) {
	t.Helper()
	if a.status != status || a.problem.Type != "/problems/"+slug || a.kept != kept {
		t.Errorf("answer = %d %s (kept: %v), want %d /problems/%s (kept: %v)\n%s",
			a.status, a.problem.Type, a.kept, status, slug, kept, a.body)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type = %q, want application/problem+json", got)
	}
	if a.problem.Status != status || a.problem.Title == "" || a.problem.Detail == "" || a.problem.Component == "" || a.problem.Phase == "" {
		t.Errorf("problem = %+v, want all members", a.problem)
	}
	if a.problem.Instance == "" || a.problem.Instance != a.header.Get("Attune-Request-Id") {
		t.Errorf("instance = %q, Attune-Request-Id = %q, want the same", a.problem.Instance, a.header.Get("Attune-Request-Id"))
	}
	a.quiet(t)
}

// quiet checks that an answer tells nothing about the request or the server.
func (a answer) quiet(t *testing.T) {
	t.Helper()
	var header bytes.Buffer
	_ = a.header.Write(&header) // to memory
	for _, forbidden := range []string{canary, ".go:", "goroutine ", "/tmp/", "fasthttp", "fiber"} {
		if strings.Contains(strings.ToLower(header.String()+a.body), forbidden) {
			t.Errorf("the answer has %q:\n%s\n%s", forbidden, header.String(), a.body)
		}
	}
	kept := a.header.Get("Cache-Control") != "no-store" && (a.header.Get("ETag") == "" || a.header.Get("Cache-Control") != "private, no-cache")
	if a.header.Get("Server") != "" || a.header.Get("X-Content-Type-Options") != "nosniff" || kept {
		t.Errorf("headers = %v, want no Server, nosniff, and no-store or an ETag that must be asked for", a.header)
	}
}

// works checks that a normal call is served after whatever came before.
func (w *world) works(t *testing.T) {
	t.Helper()
	response, body := w.do(t, "POST", "/invoke/demo.echo", `{"name":"Ada"}`)
	if response.StatusCode != http.StatusOK || body != `{"name":"Ada"}` {
		t.Errorf("a normal call afterwards = %d %s, want 200 and its parameters", response.StatusCode, body)
	}
}

const host = "Host: h\r\n"

func TestRawRequestsAreRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{Body: 64 << 10, ReadTimeout: 5 * time.Second})
	post := "POST /invoke/demo.echo HTTP/1.1\r\n"
	get := "GET /healthz HTTP/1.1\r\n"
	tests := []struct {
		name    string
		request string
		status  int
		slug    string
		kept    bool
	}{
		// 10: where does the body end?
		{"negative length", post + host + "Content-Length: -5\r\n\r\n" + canary, 400, "invalid-request", false},
		{"length with a sign", post + host + "Content-Length: +2\r\n\r\n{}", 400, "invalid-request", false},
		{"length of 20 digits", post + host + "Content-Length: 99999999999999999999\r\n\r\n" + canary, 400, "invalid-request", false},
		{"two lengths", post + host + "Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}" + canary, 400, "invalid-request", false},
		{"two equal lengths", post + host + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, "invalid-request", false},
		{"list of lengths", post + host + "Content-Length: 2, 2\r\n\r\n{}", 400, "invalid-request", false},
		{"length and chunked", post + host + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"chunked and length", post + host + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"gzip, chunked", post + host + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"chunked twice", post + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid-header", false},
		{"identity", post + host + "Transfer-Encoding: identity\r\n\r\n", 400, "invalid-request", false},
		{"identity and length", post + host + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", 400, "invalid-request", false},
		{"tab before chunked", post + host + "Transfer-Encoding:\tchunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"vertical tab around chunked", post + host + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"chunked in HTTP/1.0", "POST /invoke/demo.echo HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"chunk without a size", post + host + "Transfer-Encoding: chunked\r\n\r\n" + canary + "\r\n\r\n", 400, "invalid-request", false},
		{"chunk of a negative size", post + host + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400, "invalid-request", false},
		{"chunk of a huge size", post + host + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n\r\n", 400, "invalid-request", false},
		{"chunk longer than its size", post + host + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}" + canary + "\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"chunk size ended by LF", post + host + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"chunk extension with LF", post + host + "Transfer-Encoding: chunked\r\n\r\n2;a\nxx\r\n{}\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"forbidden trailer", post + host + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400, "invalid-request", false},

		// 11: lines
		{"no Host", get + "Accept: */*\r\n\r\n", 400, "invalid-header", false},
		{"no header at all", get + "\r\n", 400, "invalid-header", false},
		{"two Hosts", get + host + "Host: " + canary + "\r\n\r\n", 400, "invalid-header", false},
		{"not a host", get + "Host: [" + canary + "\r\n\r\n", 400, "invalid-header", true},
		{"header ended by LF", get + host + "Accept: */*\n\r\n", 400, "invalid-request", false},
		{"all lines ended by LF", "GET /healthz HTTP/1.1\nHost: h\n\n", 400, "invalid-request", false},
		{"header block ended by LF", get + host + "\n", 400, "invalid-request", false},
		{"CR in a value", get + host + "Accept: a\rb\r\n\r\n", 400, "invalid-request", false},
		{"NUL in a value", get + host + "Accept: a\x00b\r\n\r\n", 400, "invalid-request", false},
		{"folded header", get + host + "Accept: a\r\n " + canary + "\r\n\r\n", 400, "invalid-request", false},
		{"folded first header", get + " " + host + "\r\n", 400, "invalid-request", false},
		{"folded chunked", post + host + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
		{"space before colon", get + "Host : h\r\n\r\n", 400, "invalid-request", false},
		{"header without a name", get + host + ": " + canary + "\r\n\r\n", 400, "invalid-request", false},
		{"HTTP/9.9", "GET /healthz HTTP/9.9\r\n" + host + "\r\n", 505, "unsupported-protocol", false},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported-protocol", false},
		{"HTTP/1.10", "GET /healthz HTTP/1.10\r\n" + host + "\r\n", 400, "invalid-request", false},
		{"lower-case protocol", "GET /healthz http/1.1\r\n" + host + "\r\n", 400, "invalid-request", false},
		{"no protocol", "GET /healthz\r\n" + host + "\r\n", 400, "invalid-request", false},
		{"control in the method", "G\x01T /healthz HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-request", false},

		// 5, 7: target and method
		{"two spaces before the target", "GET  /healthz HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-request", true},
		{"space in the target", "GET /health z HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-ref", true},
		{"fragment in the target", "GET /healthz#" + canary + " HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-ref", true},
		{"absolute target", "GET http://" + canary + "/healthz HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-request", true},
		{"asterisk", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-request", true},
		{"CONNECT to a host", "CONNECT " + canary + ":443 HTTP/1.1\r\n" + host + "\r\n", 400, "invalid-request", true},
		{"CONNECT to a path", "CONNECT /healthz HTTP/1.1\r\n" + host + "\r\n", 405, "method-not-allowed", true},
		{"TRACE", "TRACE /healthz HTTP/1.1\r\n" + host + "Cookie: " + canary + "\r\n\r\n", 405, "method-not-allowed", true},
		{"FOO", "FOO /healthz HTTP/1.1\r\n" + host + "\r\n", 501, "unknown-method", true},
		{"lower-case method", "get /healthz HTTP/1.1\r\n" + host + "\r\n", 501, "unknown-method", true},

		// 4, 12: sizes
		{"URI over 8 KiB", "GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\n" + host + "\r\n", 414, "uri-too-long", true},
		{"URI over 16 KiB", "GET /" + strings.Repeat("a", 17<<10) + " HTTP/1.1\r\n" + host + "\r\n", 431, "headers-too-large", false},
		{"16 KiB of headers", get + host + "Cookie: " + strings.Repeat("a", 17<<10) + "\r\n\r\n", 431, "headers-too-large", false},
		{"1,000 headers", get + host + strings.Repeat("A: b\r\n", 1000) + "\r\n", 431, "headers-too-large", false},

		// 9, 14: bodies
		{"body over the limit by length", post + host + "Content-Length: 65537\r\n\r\n" + strings.Repeat("a", 65537), 413, "body-too-large", false},
		{"body far over the limit, unsent", post + host + "Content-Length: 1000000000\r\n\r\n", 413, "body-too-large", false},
		{"body over the limit, chunked", post + host + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("a", 4096)+"\r\n", 17), 413, "body-too-large", false},
		{"body over the limit, announced", post + host + "Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n", 413, "body-too-large", false},
		{"another expectation", post + host + "Expect: " + canary + "\r\nContent-Length: 2\r\n\r\n{}", 417, "expectation-failed", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w.raw(t, test.request).refused(t, test.status, test.slug, test.kept)
			w.works(t)
		})
	}
}

func TestRawRequestsAreServed(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	post := "POST /invoke/demo.echo HTTP/1.1\r\n" + host
	tests := []struct{ name, request string }{
		{"length", post + "Content-Length: 14\r\n\r\n{\"name\":\"Ada\"}"},
		{"chunked", post + "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"name\"\r\n7\r\n:\"Ada\"}\r\n0\r\n\r\n"},
		{"chunked, in capitals", post + "Transfer-Encoding: CHUNKED\r\n\r\nE\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n"},
		{"chunk extension", post + "Transfer-Encoding: chunked\r\n\r\ne;a=b\r\n{\"name\":\"Ada\"}\r\n0\r\n\r\n"},
		{"expect", post + "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n{\"name\":\"Ada\"}"},
		{"HTTP/1.0", "POST /invoke/demo.echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 14\r\n\r\n{\"name\":\"Ada\"}"},
		{"empty lines first", "\r\n\r\n" + post + "Content-Length: 14\r\n\r\n{\"name\":\"Ada\"}"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := w.raw(t, test.request)
			if a.status != http.StatusOK || a.body != `{"name":"Ada"}` || !a.kept {
				t.Errorf("answer = %d %s (kept: %v), want 200 and the connection kept", a.status, a.body, a.kept)
			}
			a.quiet(t)
		})
	}
}

func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{ReadTimeout: 300 * time.Millisecond})
	tests := []struct{ name, request string }{
		{"silence", ""},
		{"slow headers", "POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\nX-" + canary},
		{"slow body", "POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n{\"" + canary},
		{"slow chunk", "POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + canary},
		{"chunk of 0x", "POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n"},
		{"header without a colon", "POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\n" + canary + "\r\n\r\n"},
		{"TLS hello", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + canary},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			a := w.raw(t, test.request)
			a.refused(t, http.StatusRequestTimeout, "request-timeout", false)
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("cut off after %v, want about 300 ms", took)
			}
			w.works(t)
		})
	}
}

// A client that only sends reads its 413 all the same.
func TestTooLargeBodyIsToldBeforeTheConnectionCloses(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{Body: 1 << 10})
	response, body := w.do(t, "POST", "/invoke/demo.echo", strings.Repeat("a", 8<<20))
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("answer = %d %s, want 413", response.StatusCode, body)
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	one := "POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\nContent-Length: 12\r\n\r\n"
	if _, err := io.WriteString(c, one+`{"name":"1"}`+one+`{"name":"2"}`); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(c)
	for _, want := range []string{`{"name":"1"}`, `{"name":"2"}`} {
		if got := readAnswer(t, reader, false).body; got != want {
			t.Errorf("answer = %s, want %s", got, want)
		}
	}
}

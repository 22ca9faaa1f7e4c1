package api

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzRawRequests sends bytes as a request and expects, if anything, answers
// that are HTTP and quiet, and a server that works afterwards.
func FuzzRawRequests(f *testing.F) {
	for _, seed := range []string{
		"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
		"POST /invoke/demo.echo?timeout=1 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nPrefer: wait=1\r\nAccept: */*;q=0.5\r\nContent-Length: 2\r\n\r\n{}",
		"POST /invoke/demo.echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nA: b\r\n\r\n",
		"GET /api/v1/executions?action=demo.echo&status=failed&limit=3 HTTP/1.0\r\n\r\n",
		"POST /invoke/..%2f HTTP/1.1\nHost: h\n folded\n\n",
		"GET http://h/healthz HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\nx",
		"CONNECT h:1 HTTP/1.1\r\nHost: [::1\r\n\r\n",
		"\x16\x03\x01\x00\xa5\x01",
	} {
		f.Add([]byte(seed))
	}
	w := serve(f, Limits{ReadTimeout: 200 * time.Millisecond, Body: 4 << 10})
	f.Fuzz(func(t *testing.T, request []byte) {
		c, err := net.Dial("tcp", w.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(request)           // it may be refused before its end
		_ = c.(*net.TCPConn).CloseWrite() // likewise
		reader := bufio.NewReader(c)
		method := http.MethodGet
		if strings.HasPrefix(strings.TrimLeft(string(request), "\r\n"), "HEAD ") {
			method = http.MethodHead
		}
		for {
			response, err := http.ReadResponse(reader, &http.Request{Method: method})
			if err != nil {
				if _, eof := reader.Peek(1); eof == nil {
					t.Errorf("%q: the answer is not HTTP: %v", request, err)
				}
				break
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || method == http.MethodHead {
				break
			}
			if response.StatusCode == http.StatusInternalServerError {
				t.Errorf("%q = 500 %s", request, body)
			}
			if response.StatusCode >= 400 {
				answer{header: response.Header, body: string(body)}.quiet(t)
			}
		}
		w.works(t)
	})
}

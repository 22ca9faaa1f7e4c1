package api

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
)

// singletons may come once. Of several, one reader would take the first and
// another the last.
var singletons = map[string]bool{
	"host": true, "content-length": true, "transfer-encoding": true, "content-type": true,
	"content-encoding": true, "expect": true, "authorization": true, "origin": true,
	"sec-fetch-site": true, "idempotency-key": true, "callback-url": true,
}

// checkFraming refuses what fasthttp accepts although another HTTP
// implementation on the way may read it as a different request, or as two. It
// looks at the header as it came over the wire.
func (s *Server) checkFraming(ctx *fasthttp.RequestCtx) error {
	header := &ctx.Request.Header
	version := string(header.Protocol())
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return refuse(codeUnsupportedProtocol, "the gateway speaks HTTP/1.1")
	}
	fields, refused := headerFields(header.RawHeaders(), s.Limits.HeaderFields)
	if refused != nil {
		return refused
	}
	_, hasHost := fields["host"]
	_, hasLength := fields["content-length"]
	coding, isCoded := fields["transfer-encoding"]
	switch {
	case !hasHost && version == "HTTP/1.1":
		return refuse(codeInvalidHeader, "the Host header is missing")
	case isCoded && hasLength:
		return refuse(codeInvalidRequest, "a request can't have both Content-Length and Transfer-Encoding")
	case isCoded && version == "HTTP/1.0":
		return refuse(codeInvalidRequest, "HTTP/1.0 has no Transfer-Encoding")
	case isCoded && !strings.EqualFold(coding, "chunked"):
		return refuse(codeInvalidRequest, "the only Transfer-Encoding is chunked")
	}
	if expect, ok := fields["expect"]; ok && !strings.EqualFold(expect, "100-continue") {
		return refuse(codeExpectation, "the only expectation is 100-continue")
	}
	return nil
}

// headerFields reads the lines of a raw header strictly, and returns those that
// are singletons by lower-case name.
func headerFields(raw []byte, limit int) (map[string]string, *execution.Error) {
	fields := make(map[string]string, len(singletons))
	count := 0
	for line := range bytes.SplitSeq(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n")) {
		text, ended := bytes.CutSuffix(line, []byte("\r"))
		if len(text) == 0 && (ended || len(raw) == 0) {
			continue // the last line, or no header at all
		}
		if !ended || bytes.IndexByte(text, '\r') >= 0 {
			return nil, refuse(codeInvalidRequest, "a line of the header does not end in CR LF")
		}
		if text[0] == ' ' || text[0] == '\t' {
			return nil, refuse(codeInvalidRequest, "a header is folded over several lines")
		}
		if count++; count > limit {
			return nil, refuse(codeHeadersTooLarge, fmt.Sprintf("a request may have %d headers", limit))
		}
		name, value, _ := bytes.Cut(text, []byte(":"))
		key := strings.ToLower(string(name))
		if !singletons[key] {
			continue
		}
		if _, twice := fields[key]; twice {
			return nil, refuse(codeInvalidHeader, "a header came twice that may come once")
		}
		fields[key] = string(bytes.Trim(value, " \t"))
	}
	return fields, nil
}

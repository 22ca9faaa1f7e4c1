package api

import (
	"bytes"
	"fmt"

	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
)

// singleton is a header that may come once. Of several, one reader would take
// the first and another the last.
type singleton int

const (
	hostField singleton = iota
	lengthField
	codingField // Transfer-Encoding
	expectField
	typeField
	encodingField
	authorizationField
	originField
	siteField
	keyField
	callbackField
	singletonCount
)

// singletonOf finds a singleton by its lower-case name.
func singletonOf(name []byte) (singleton, bool) {
	switch string(name) { // no string is made of it
	case "host":
		return hostField, true
	case "content-length":
		return lengthField, true
	case "transfer-encoding":
		return codingField, true
	case "expect":
		return expectField, true
	case "content-type":
		return typeField, true
	case "content-encoding":
		return encodingField, true
	case "authorization":
		return authorizationField, true
	case "origin":
		return originField, true
	case "sec-fetch-site":
		return siteField, true
	case "idempotency-key":
		return keyField, true
	case "callback-url":
		return callbackField, true
	}
	return 0, false
}

// longestSingleton is the length of "transfer-encoding".
const longestSingleton = 17

// singletons are the values of those that came; nil = it did not.
type singletons [singletonCount][]byte

// checkFraming refuses what fasthttp accepts although another HTTP
// implementation on the way may read it as a different request, or as two. It
// looks at the header as it came over the wire.
func (s *Server) checkFraming(ctx *fasthttp.RequestCtx) error {
	header := &ctx.Request.Header
	version := string(header.Protocol())
	if version != "HTTP/1.1" && version != "HTTP/1.0" {
		return refuse(codeUnsupportedProtocol, "the gateway speaks HTTP/1.1")
	}
	var came singletons
	if refused := came.read(header.RawHeaders(), s.Limits.HeaderFields); refused != nil {
		return refused
	}
	coding := came[codingField]
	switch {
	case came[hostField] == nil && version == "HTTP/1.1":
		return refuse(codeInvalidHeader, "the Host header is missing")
	case coding != nil && came[lengthField] != nil:
		return refuse(codeInvalidRequest, "a request can't have both Content-Length and Transfer-Encoding")
	case coding != nil && version == "HTTP/1.0":
		return refuse(codeInvalidRequest, "HTTP/1.0 has no Transfer-Encoding")
	case coding != nil && !bytes.EqualFold(coding, []byte("chunked")):
		return refuse(codeInvalidRequest, "the only Transfer-Encoding is chunked")
	case came[expectField] != nil && !bytes.EqualFold(came[expectField], []byte("100-continue")):
		return refuse(codeExpectation, "the only expectation is 100-continue")
	}
	return nil
}

// read reads the lines of a raw header strictly. Values are parts of it.
func (s *singletons) read(raw []byte, limit int) *execution.Error {
	count := 0
	for line := range bytes.SplitSeq(bytes.TrimSuffix(raw, []byte("\n")), []byte("\n")) {
		text, ended := bytes.CutSuffix(line, []byte("\r"))
		if len(text) == 0 && (ended || len(raw) == 0) {
			continue // the last line, or no header at all
		}
		if !ended || bytes.IndexByte(text, '\r') >= 0 {
			return refuse(codeInvalidRequest, "a line of the header does not end in CR LF")
		}
		if text[0] == ' ' || text[0] == '\t' {
			return refuse(codeInvalidRequest, "a header is folded over several lines")
		}
		if count++; count > limit {
			return refuse(codeHeadersTooLarge, fmt.Sprintf("a request may have %d headers", limit))
		}
		name, value, _ := bytes.Cut(text, []byte(":"))
		key, ok := lowerSingleton(name)
		if !ok {
			continue
		}
		if s[key] != nil {
			return refuse(codeInvalidHeader, "a header came twice that may come once")
		}
		s[key] = trimBlanks(value)
	}
	return nil
}

// trimBlanks never returns nil: a header without a value has come, too.
func trimBlanks(value []byte) []byte {
	if value = bytes.Trim(value, " \t"); value == nil {
		return []byte{}
	}
	return value
}

// lowerSingleton is singletonOf a name in any case.
func lowerSingleton(name []byte) (singleton, bool) {
	if len(name) > longestSingleton {
		return 0, false
	}
	var lower [longestSingleton]byte
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return singletonOf(lower[:len(name)])
}

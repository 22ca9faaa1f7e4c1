package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
)

// handle answers one request that fasthttp could parse.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	c := s.begin(ctx)
	defer s.end(ctx, c)
	defer s.recover(ctx, c)
	if own, ok := ctx.Conn().(*conn); ok {
		own.answering.Store(true)
	}
	if s.gate.isShut() {
		ctx.SetConnectionClose()
	}
	if err := s.checkFraming(ctx); err != nil {
		// Where this request ends is in doubt, and so where the next begins.
		s.hangUp(ctx)
		s.fail(ctx, err)
		return
	}
	if err := s.checkTarget(ctx); err != nil {
		s.fail(ctx, err)
		return
	}
	s.route(ctx)
}

// recover turns a panic into an answer; without it the program would end.
func (s *Server) recover(ctx *fasthttp.RequestCtx, c *call) {
	if p := recover(); p != nil {
		s.hangUp(ctx)
		s.fail(ctx, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	}
}

// hangUp closes the connection after the answer, so that the client reads it.
func (s *Server) hangUp(ctx *fasthttp.RequestCtx) {
	ctx.SetConnectionClose()
	if own, ok := ctx.Conn().(*conn); ok {
		own.linger.Store(true)
	}
}

// malformed answers what fasthttp could not parse or did not get in time; the
// connection is closed after it. The texts of its errors quote the request, so
// only their types count.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	c := s.begin(ctx)
	defer s.end(ctx, c)
	s.hangUp(ctx)
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	var refused *execution.Error
	switch {
	case errors.As(err, &small):
		refused = refuse(codeHeadersTooLarge, fmt.Sprintf("request line and headers may have %d bytes", s.Limits.Header))
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		refused = refuse(codeBodyTooLarge, fmt.Sprintf("a body may have %d bytes", s.Limits.Body))
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, fasthttp.ErrTimeout):
		refused = refuseForNow(codeRequestTimeout, fmt.Sprintf("headers and body must arrive within %v", s.Limits.ReadTimeout), time.Second)
	case errors.Is(err, io.ErrUnexpectedEOF):
		refused = refuse(codeInvalidRequest, "the body is shorter than announced")
	default:
		refused = refuse(codeInvalidRequest, "request line, headers or body can't be read")
	}
	s.fail(ctx, refused)
}

// checkTarget refuses a request target, method or origin before the router
// sees it.
func (s *Server) checkTarget(ctx *fasthttp.RequestCtx) error {
	target := ctx.Request.Header.RequestURI()
	if len(target) > s.Limits.URI {
		return refuse(codeURITooLong, fmt.Sprintf("path and query may have %d bytes", s.Limits.URI))
	}
	if target[0] != '/' {
		return refuse(codeInvalidRequest, "the request target must be a path")
	}
	path, query, _ := bytes.Cut(target, []byte("?"))
	if !printable(path) || bytes.ContainsAny(path, "#\\") {
		return refuse(execution.CodeInvalidRef, "the path has characters that no resource has")
	}
	if !printable(query) || bytes.IndexByte(query, '#') >= 0 {
		return refuse(codeInvalidQuery, "the query has characters that must be percent-encoded")
	}
	if !bytes.Equal(ctx.URI().PathOriginal(), path) {
		return refuse(codeInvalidHeader, "the Host header is not a host")
	}
	if !knownMethod(string(ctx.Method())) {
		return refuse(codeUnknownMethod, "the gateway knows no such method")
	}
	return checkOrigin(&ctx.Request.Header)
}

func printable(text []byte) bool {
	return !slices.ContainsFunc(text, func(b byte) bool { return b <= ' ' || b > '~' })
}

// methods are those that a resource may not have, where others are unknown:
// Fiber's, and the youngest, which it does not know.
var methods = append(slices.Clone(fiber.DefaultMethods), "QUERY")

func knownMethod(method string) bool { return slices.Contains(methods, method) }

// checkOrigin keeps a page on another site from calling actions through its
// visitor's browser, which may reach a gateway that the page can't. Browsers
// say where a request comes from; other clients don't, and need not.
func checkOrigin(header *fasthttp.RequestHeader) error {
	if header.IsGet() || header.IsHead() {
		return nil
	}
	switch string(header.Peek("Sec-Fetch-Site")) {
	case "same-origin", "none":
		return nil
	case "":
		origin := string(header.Peek(fasthttp.HeaderOrigin))
		if origin == "" {
			return nil
		}
		if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, string(header.Host())) {
			return nil
		}
	}
	return refuse(codeForbidden, "a page of another origin may not call this gateway")
}

// admit lets a request in, which leaves by the gate, unless the gateway is
// draining.
func (s *Server) admit() error {
	if !s.gate.enter() {
		return errDraining()
	}
	return nil
}

func errDraining() *execution.Error {
	return refuseForNow(execution.CodeDraining, "the gateway takes no new requests", time.Second)
}

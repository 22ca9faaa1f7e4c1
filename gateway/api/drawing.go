package api

import (
	"bytes"
	"cmp"

	"github.com/valyala/fasthttp"

	"attune/gateway/trace"
)

// place finds out where in a trace a request is, and begins its span. What a caller
// says about its trace is passed on to the action even where nothing is drawn.
func (s *Server) place(ctx *fasthttp.RequestCtx, call *call) {
	call.trace = parentOf(&ctx.Request.Header)
	if s.Tracer == nil {
		return
	}
	call.span = s.Tracer.Request(call.trace, loggedMethod(ctx), call.route, call.arrived)
	call.trace = call.span.Context()
}

// parentOf reads a caller's place in its trace; none where it isn't valid.
func parentOf(header *fasthttp.RequestHeader) trace.Context {
	parents := header.PeekAll("Traceparent")
	if len(parents) != 1 {
		return trace.Context{}
	}
	parent := string(parents[0]) // now: the next PeekAll takes its place
	return trace.Parse(parent, string(bytes.Join(header.PeekAll("Tracestate"), []byte(","))))
}

// draw ends the request's span.
func (c *call) draw(status int) {
	c.span.SetInt("http.response.status_code", status)
	c.span.Set("attune.request", c.id)
	c.span.Set("attune.caller", c.caller)
	if c.called != "" {
		c.span.Set("faas.trigger", "http")
		c.span.Set("faas.name", c.called)
		c.span.Set("faas.invocation_id", c.execution)
	}
	if status >= fasthttp.StatusInternalServerError {
		c.span.Fail(cmp.Or(c.problem, "http"))
	}
	c.span.End()
}

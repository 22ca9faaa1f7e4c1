package api

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"github.com/valyala/fasthttp"

	"attune/gateway/idempotency"
	"attune/gateway/key"
	"attune/gateway/pack"
	"attune/gateway/trace"
)

// call is what the api knows about the request that it is answering.
type call struct {
	id        string // ours: a client can't choose it
	arrived   time.Time
	route     string // pattern; empty until a route was found
	quiet     bool   // logged at debug level
	query     url.Values
	called    string // the action that is, once it is known to be one
	execution string // empty until there is one
	problem   string // code of the problem that it was answered with; empty = none
	trace     trace.Context
	span      *trace.Span // nil = it isn't drawn

	key      *key.Key      // who calls; nil = nobody has to say. Without an ID it is what everybody may do
	caller   string        // the key's ID; empty = none
	auth     time.Duration // that finding out took
	changes  bool          // an administrative call
	denied   string        // why nobody is known to be calling; empty = that was not the trouble
	resource string        // what the caller was allowed to ask for; empty = nothing
	action   *pack.Action  // to be called; nil = none

	claim       *idempotency.Claim // of the idempotency key that the call runs under; nil = none
	envelope    bool               // the result says what the answer is
	environment string             // path of the status of the environment it needs; empty = none
	leave       func()             // through the gate
	streams     bool               // the answer is made after the handler, by a goroutine that leaves and logs
}

type callKey struct{}

// callOf returns the call that handle or malformed made for this request.
func callOf(ctx *fasthttp.RequestCtx) *call {
	c, _ := ctx.UserValue(callKey{}).(*call)
	return c
}

func (s *Server) begin(ctx *fasthttp.RequestCtx) *call {
	c := &call{id: s.NewID(), arrived: time.Now()}
	ctx.SetUserValue(callKey{}, c)
	return c
}

// phase is where a fault of our own happened.
func (c *call) phase() string {
	if c.execution == "" {
		return "request"
	}
	return "run"
}

// end completes the answer with what every answer has, and tells of it.
func (s *Server) end(ctx *fasthttp.RequestCtx, c *call) {
	header := &ctx.Response.Header
	header.Set("Attune-Request-Id", c.id)
	header.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	if len(header.Peek(fasthttp.HeaderCacheControl)) == 0 { // but for an action that has set it
		header.Set(fasthttp.HeaderCacheControl, "no-store")
	}
	s.audit(ctx, c)
	if !c.streams {
		s.answered(c, loggedMethod(ctx), ctx.Response.StatusCode(), len(ctx.Response.Body()))
	}
}

// answered counts, draws and logs a request, once its answer is made.
func (s *Server) answered(c *call, method string, status, size int) {
	now := time.Now()
	if s.Metrics != nil {
		s.Metrics.Answered(method, c.route, status, now.Sub(c.arrived))
	}
	if c.span != nil {
		c.draw(status)
	}
	s.logAccess(c, method, status, size, now)
}

// logAccess logs a request that was answered.
func (s *Server) logAccess(c *call, method string, status, size int, now time.Time) {
	level := slog.LevelInfo
	if c.quiet {
		level = slog.LevelDebug
	}
	ctx, handler := context.Background(), s.Logger.Handler()
	if !handler.Enabled(ctx, level) {
		return
	}
	// Not by the Logger, which looks for its caller even where no handler tells it.
	record := slog.NewRecord(now, level, "request", 0)
	attrs := [...]slog.Attr{
		slog.String("method", method),
		slog.String("route", c.route),
		slog.Int("status", status),
		slog.Duration("duration", now.Sub(c.arrived)),
		slog.Int("bytes", size),
		slog.String("request", c.id),
		{}, {}, {}, {}, {},
	}
	told := attrs[:len(attrs)-5]
	for _, more := range [...]struct{ key, value string }{
		{"action", c.called}, {"execution", c.execution}, {"problem", c.problem}, {"caller", c.caller}, {"trace", c.trace.TraceID()},
	} {
		if more.value != "" {
			told = append(told, slog.String(more.key, more.value))
		}
	}
	record.AddAttrs(told...)
	_ = handler.Handle(ctx, record) // as a Logger does: there is nowhere else to say it
}

// loggedMethod keeps inventions of clients out of the log.
func loggedMethod(ctx *fasthttp.RequestCtx) string {
	if method := string(ctx.Method()); knownMethod(method) {
		return method
	}
	return "?"
}

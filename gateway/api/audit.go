package api

import (
	"log/slog"

	"github.com/valyala/fasthttp"
)

// audit logs what an administrator has done or tried, and every caller who was
// not known: who, what, with which outcome, from where. The path, as it was sent,
// is told only of those who were allowed what they asked for: others could write
// into the log what they like.
func (s *Server) audit(ctx *fasthttp.RequestCtx, c *call) {
	if !c.changes && c.denied == "" {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", loggedMethod(ctx)),
		slog.String("route", c.route),
		slog.Int("status", ctx.Response.StatusCode()),
		slog.String("client", ctx.RemoteIP().String()),
		slog.String("request", c.id),
	}
	if c.key != nil && c.key.ID != "" {
		attrs = append(attrs, slog.String("key", c.key.ID), slog.String("key_name", c.key.Name))
	}
	if c.denied != "" {
		attrs = append(attrs, slog.String("denied", c.denied))
	}
	if c.resource != "" {
		attrs = append(attrs, slog.String("resource", c.resource), slog.String("path", string(ctx.URI().PathOriginal())))
	}
	s.Logger.LogAttrs(ctx, slog.LevelInfo, "audit", attrs...)
}

// Package mcp serves actions as tools of the Model Context Protocol, over its
// Streamable HTTP transport: an action is a tool, a call of the tool runs the
// action, and what the action's program says meanwhile is progress.
//
// It keeps no session: every request is answered by itself, by any gateway. It
// knows no keys either; what a request may see and call is its Caller's word.
package mcp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// Caller is the sender of one request. Safe for concurrent use.
type Caller interface {
	// Actions are those that it may call, by ref.
	Actions() []*pack.Action
	// Action finds one of them by the name of its tool.
	Action(name string) (*pack.Action, bool)
	// Call runs one, and waits for its end. tell, if it is not nil, is told what
	// happens meanwhile; it may block. Of the two results one is nil.
	Call(ctx context.Context, action *pack.Action, arguments []byte, tell func(string)) (*execution.Outcome, *Failure)
}

// Failure is why a call has no result.
type Failure struct {
	Problem any    // encodes as the problem that the call would get over HTTP
	Text    string // the same for a model, which may do better next time
}

// Handler answers requests. Safe for concurrent use.
type Handler struct {
	self   *sdk.Implementation
	whole  *sdk.StreamableHTTPHandler // answers in JSON
	events *sdk.StreamableHTTPHandler // answers in server-sent events
	log    *slog.Logger
}

// New returns a Handler of a gateway of this version.
func New(version string, log *slog.Logger) *Handler {
	serve := func(whole bool) *sdk.StreamableHTTPHandler {
		return sdk.NewStreamableHTTPHandler(serverOf, &sdk.StreamableHTTPOptions{
			Stateless: true, JSONResponse: whole,
			MaxRequestBodyBytes:        -1,   // the caller has bounded it
			DisableLocalhostProtection: true, // likewise: it knows which names are its own
		})
	}
	return &Handler{
		self:  &sdk.Implementation{Name: "attune", Title: "Attune Gateway", Version: version},
		whole: serve(true), events: serve(false), log: log,
	}
}

type serverKey struct{}

// serverOf finds the server that Serve has made for a request.
func serverOf(r *http.Request) *sdk.Server {
	server, _ := r.Context().Value(serverKey{}).(*sdk.Server)
	return server
}

// Serve answers a POST whose body is the message. Its calls end with the
// request's context, and have ended when it returns.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, message Message, caller Caller) {
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	server := h.server(r.Context(), caller)
	r = r.WithContext(context.WithValue(r.Context(), serverKey{}, server))
	if message.Progress {
		h.events.ServeHTTP(w, r)
		return
	}
	h.whole.ServeHTTP(w, r)
}

const instructions = "Each tool is an action of this gateway: a script that runs in a container of its own. " +
	"A failed call says which part failed, why, and whether it may be repeated."

// server makes the server of one request. Its tools are not registered with the
// SDK, which would read every schema anew each time.
func (h *Handler) server(request context.Context, caller Caller) *sdk.Server {
	server := sdk.NewServer(h.self, &sdk.ServerOptions{
		Instructions: instructions,
		Capabilities: &sdk.ServerCapabilities{Tools: &sdk.ToolCapabilities{}},
		// What there is differs from key to key.
		SetCacheable: func(_ context.Context, _ sdk.Request, c *sdk.Cacheable) { c.CacheScope = "private" },
	})
	server.AddReceivingMiddleware(func(next sdk.MethodHandler) sdk.MethodHandler {
		return func(ctx context.Context, method string, r sdk.Request) (result sdk.Result, err error) {
			defer func() {
				if p := recover(); p != nil { // in a goroutine of the SDK's: it would end the program
					h.log.Error("tool call broke off", slog.String("error", fmt.Sprintf("panic: %v\n%s", p, debug.Stack())))
					result, err = nil, errInternal
				}
			}()
			switch r := r.(type) {
			case *sdk.ListToolsRequest:
				return list(ctx, method, r, next, caller)
			case *sdk.CallToolRequest:
				ctx, cancel := context.WithCancelCause(ctx)
				defer cancel(nil)
				// The SDK's own context outlives the client of an older protocol.
				defer context.AfterFunc(request, func() { cancel(context.Cause(request)) })()
				return call(ctx, r, caller)
			}
			return next(ctx, method, r)
		}
	})
	return server
}

// list answers with the caller's tools, in the form that the SDK gives a list.
func list(ctx context.Context, method string, r *sdk.ListToolsRequest, next sdk.MethodHandler, caller Caller) (sdk.Result, error) {
	result, err := next(ctx, method, r)
	if found, ok := result.(*sdk.ListToolsResult); ok && err == nil {
		for _, action := range caller.Actions() {
			found.Tools = append(found.Tools, Tool(action))
		}
	}
	return result, err
}

package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/mcp"
)

// serveTools answers a message of the Model Context Protocol. The SDK writes to a
// net/http answer; toolAnswer brings it to the client as it is made, which
// Fiber's own adaptor would only do at its end.
func (s *Server) serveTools(c *fiber.Ctx, call *call) error {
	header := &c.Request().Header
	// The protocol demands it of every message: a page whose name was rebound to
	// this address must not call the tools of its visitor.
	if err := s.checkBrowser(header); err != nil {
		return err
	}
	body := bytes.Clone(c.Request().Body())
	if err := checkChangeBody(header, len(body)); err != nil {
		return err
	}
	if !accepts(header, "application/json") && !accepts(header, mediaEvents) {
		return refuse(codeNotAcceptable, "messages are answered by application/json, or by "+mediaEvents)
	}
	message, err := mcp.ReadMessage(body)
	switch {
	case errors.Is(err, mcp.ErrNotMessage):
		return refuse(execution.CodeInvalidJSON, err.Error())
	case err != nil:
		return refuse(codeInvalidMessage, err.Error())
	}
	message.Progress = message.Progress && accepts(header, mediaEvents) && c.Request().Header.IsHTTP11()
	watched, release := s.watch(c.Context().Conn())
	ctx, cancel := context.WithCancelCause(watched)
	caller := &toolCaller{server: s, call: call}
	answer := s.answerTools(ctx, toolRequest(ctx, header, body), message, caller)
	leave := func() { cancel(errClientLeft); answer.wait(); release() }
	if answer.begun() {
		return s.streamTools(c, call, caller, answer, leave)
	}
	gone := context.Cause(ctx)
	leave()
	if id := caller.execution(); id != "" {
		call.execution = id
		c.Set("Attune-Execution-Id", id)
	}
	if gone != nil && answer.taken.Len() == 0 {
		return cutOff(watched, refuse(execution.CodeCancelled, "the client left before the message was answered"))
	}
	return answer.write(c)
}

// toolRequest is what the SDK sees of a request: the protocol's own headers, and
// no secret.
func toolRequest(ctx context.Context, header *fasthttp.RequestHeader, body []byte) *http.Request {
	request := (&http.Request{
		Method: http.MethodPost, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: http.NoBody, ContentLength: int64(len(body)),
	}).WithContext(ctx)
	request.Body = readCloser{bytes.NewReader(body)}
	header.VisitAll(func(name, value []byte) {
		key := http.CanonicalHeaderKey(string(name))
		if strings.HasPrefix(key, "Mcp-") || key == "Last-Event-Id" {
			request.Header.Add(key, string(value))
		}
	})
	return request
}

// readCloser is a body that needs no closing.
type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// answerTools has a message answered, in a goroutine of its own.
func (s *Server) answerTools(ctx context.Context, request *http.Request, message mcp.Message, caller *toolCaller) *toolAnswer {
	answer := &toolAnswer{ctx: ctx, header: http.Header{}, pieces: make(chan []byte), done: make(chan struct{})}
	go func() {
		defer close(answer.done)
		defer func() {
			if p := recover(); p != nil { // it would end the program
				answer.broken = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		s.tools.Serve(answer, request, message, caller)
	}()
	return answer
}

// streamTools passes events on while they come.
func (s *Server) streamTools(c *fiber.Ctx, call *call, caller *toolCaller, answer *toolAnswer, leave func()) error {
	return s.stream(c, call, mediaEvents, leave, func(out *eventWriter) {
		beat := time.NewTicker(heartbeat)
		defer beat.Stop()
		err := out.write(answer.text())
		for err == nil {
			select {
			case piece := <-answer.pieces:
				err = out.write(string(piece))
				continue
			case <-beat.C:
				err = out.beat()
				continue
			case <-answer.done:
			}
			break
		}
		if answer.finished() && answer.broken != nil {
			s.Logger.Error("stream broke off", slog.String("request", call.id), slog.Any("error", answer.broken))
		}
		call.execution = caller.execution()
	})
}

// toolAnswer is the http.ResponseWriter of one message. What is written is taken
// piece by piece; a piece that nobody takes any more ends with the context.
type toolAnswer struct {
	ctx    context.Context
	header http.Header
	status int
	pieces chan []byte
	done   chan struct{} // closed when nothing more is written; then broken is set
	broken error

	taken bytes.Buffer // by the one who reads
}

var _ http.Flusher = (*toolAnswer)(nil)

func (a *toolAnswer) Header() http.Header { return a.header }

func (a *toolAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *toolAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	select {
	case a.pieces <- bytes.Clone(p):
		return len(p), nil
	case <-a.ctx.Done():
		return 0, context.Cause(a.ctx)
	}
}

// Flush does nothing: a piece is sent when it has been written.
func (a *toolAnswer) Flush() {}

// begun takes the answer until it is there, or until it turns out to be events.
func (a *toolAnswer) begun() (events bool) {
	for {
		select {
		case piece := <-a.pieces:
			a.taken.Write(piece)
			if a.status == http.StatusOK && strings.HasPrefix(a.header.Get("Content-Type"), mediaEvents) {
				return true
			}
		case <-a.done:
			return false
		}
	}
}

// text is what was taken so far.
func (a *toolAnswer) text() string { return a.taken.String() }

// wait returns when nothing more is written; the context must have ended, or
// the answer.
func (a *toolAnswer) wait() {
	for {
		select {
		case <-a.pieces:
		case <-a.done:
			return
		}
	}
}

func (a *toolAnswer) finished() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}

// write answers with the whole. The SDK's own texts about what is no message
// quote it; ours do not.
func (a *toolAnswer) write(c *fiber.Ctx) error {
	media := a.header.Get("Content-Type")
	switch {
	case a.broken != nil:
		return a.broken
	case a.status >= http.StatusBadRequest && !strings.HasPrefix(media, "application/json"):
		return refuse(codeInvalidMessage, "the message, or a header of the protocol, is not one that the Model Context Protocol has here")
	case a.status == 0 || a.status >= http.StatusInternalServerError:
		return fmt.Errorf("answer a message: status %d", a.status)
	}
	c.Status(a.status)
	if media != "" {
		c.Set(fiber.HeaderContentType, media)
	}
	c.Context().Response.SetBodyRaw(mcp.Quiet(a.taken.Bytes()))
	return nil
}

package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
)

// liveBody is a body that is written while an execution runs: what next returns
// until there is nothing more. An error in the middle of it breaks the chunked
// body off, so that no client takes a part for the whole.
type liveBody struct {
	ctx     context.Context // of the client
	running *execution.Running
	next    func() []byte
	verdict func() error // after the end: whether that is all; nil = it is
	sent    int
	arm     func() error // before each piece: the client's time to take it
	close   func()
	rest    []byte
}

// Read implements io.Reader for fasthttp, which sends each piece at once.
func (b *liveBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		changed, ended := b.running.Changed(), b.running.HasEnded()
		if b.rest = b.next(); len(b.rest) > 0 {
			break
		}
		if ended {
			return 0, b.end()
		}
		select {
		case <-changed:
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		}
	}
	if b.arm != nil {
		if err := b.arm(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	b.sent += n
	return n, nil
}

func (b *liveBody) end() error {
	if b.verdict != nil {
		if err := b.verdict(); err != nil {
			return err
		}
	}
	return io.EOF
}

// Close implements io.Closer: fasthttp is through with the body.
func (b *liveBody) Close() error {
	b.close()
	return nil
}

// streamBody answers 200 with a body that is still being made. It takes release
// over.
func (s *Server) streamBody(c *fiber.Ctx, call *call, media string, release func(), body *liveBody) error {
	c.Set(fiber.HeaderContentType, media)
	if c.Method() == fiber.MethodHead {
		release()
		return nil
	}
	conn, method := c.Context().Conn(), loggedMethod(c.Context())
	call.streams = true
	body.arm = func() error { return conn.SetWriteDeadline(time.Now().Add(s.Limits.WriteTimeout)) }
	body.close = sync.OnceFunc(func() {
		release()
		s.answered(call, method, fiber.StatusOK, body.sent)
		call.leave()
	})
	c.Context().Response.ImmediateHeaderFlush = true
	c.Context().SetBodyStream(body, -1)
	return nil
}

// errTooLate says that an answer whose status was sent has turned out wrong.
var errTooLate = errors.New("the action failed after the answer had begun")

// invokeBody runs an action whose output is the answer, as it is printed. Until
// the first byte a failure is a problem with its status; after that it breaks the
// body off.
func (s *Server) invokeBody(c *fiber.Ctx, call *call, request execution.Request, media string) error {
	watched, release := s.audience(c, call)
	ctx, cancel := context.WithCancelCause(watched)
	followed := s.follow(ctx, call, request)
	leave := func() {
		if call.claim == nil {
			cancel(errClientLeft)
		}
		<-followed.done
		cancel(nil)
		release()
	}
	accepted := followed.begun()
	if accepted {
		call.execution = request.ID
		c.Set("Attune-Execution-Id", request.ID)
	}
	first, err := followed.first(ctx, accepted)
	if err != nil {
		leave()
		return cutOff(ctx, err)
	}
	if followed.running == nil || len(first) == 0 && followed.outcome != nil {
		defer leave()
		c.Set(fiber.HeaderContentType, media)
		c.Context().Response.SetBodyRaw(followed.outcome.Output)
		return nil
	}
	follower := followed.result
	body := &liveBody{ctx: ctx, running: followed.running, next: follower.Bytes, rest: first}
	body.verdict = func() error {
		<-followed.done
		if err := followed.failure(); err != nil {
			s.Logger.Warn("answer broken off", slog.String("request", call.id), slog.String("execution", request.ID), slog.Any("error", err))
			return errTooLate
		}
		return nil
	}
	return s.streamBody(c, call, media, leave, body)
}

// first waits for the first output of a call, or for its end.
func (f *followed) first(ctx context.Context, accepted bool) ([]byte, error) {
	if !accepted || f.running == nil {
		<-f.done
		return nil, f.failure()
	}
	f.result = f.running.FollowResult()
	for {
		changed := f.running.Changed()
		if b := f.result.Bytes(); len(b) > 0 {
			return bytes.Clone(b), nil
		}
		select {
		case <-changed:
		case <-f.done:
			if err := f.failure(); err != nil {
				return nil, err
			}
			return bytes.Clone(f.result.Bytes()), nil
		case <-ctx.Done():
			<-f.done
			return nil, f.failure()
		}
	}
}

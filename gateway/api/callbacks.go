package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/callback"
	"attune/gateway/execution"
	"attune/gateway/idempotency"
	"attune/gateway/queue"
)

// headerCallback makes a call asynchronous, and says where its result goes.
const headerCallback = "Callback-Url"

// Callbacks delivers results. A callback.Courier is one.
type Callbacks interface {
	// Check refuses a URL that can't be called. callback.ErrURL,
	// callback.ErrForbidden.
	Check(rawURL string) error
}

// callbackURL reads where a call's result goes; empty = to the caller.
func (s *Server) callbackURL(c *fiber.Ctx) (string, error) {
	lines := c.Request().Header.PeekAll(headerCallback)
	switch {
	case len(lines) == 0:
		return "", nil
	case s.Queue == nil || s.Callbacks == nil:
		return "", refuse(codeInvalidHeader, headerCallback+" is not supported by this gateway: it has no secret to sign callbacks with (callbacks.secret_file)")
	}
	url := string(lines[0])
	switch err := s.Callbacks.Check(url); {
	case errors.Is(err, callback.ErrForbidden):
		return "", refuse(codeInvalidHeader, headerCallback+" "+callback.ErrForbidden.Error())
	case err != nil:
		return "", refuse(codeInvalidHeader, headerCallback+" "+callback.ErrURL.Error())
	}
	return url, nil
}

// submit gives a call to the queue and answers 202 once it can't be lost any more.
func (s *Server) submit(c *fiber.Ctx, call *call, asked *asked) error {
	request := asked.request
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	x, err := s.Queue.Submit(ctx, queue.Job{
		ID: request.ID, Action: request.Action, Parameters: request.Body, Source: "http", Caller: call.caller,
		Timeout: request.Timeout, Callback: asked.callback,
	})
	if err != nil {
		s.unclaim(call, err)
		return err
	}
	body, err := json.Marshal(summarizeExecution(x))
	if err != nil {
		return fmt.Errorf("encode execution %s: %w", x.ID, err)
	}
	answer := idempotency.Answer{
		Status: fiber.StatusAccepted, MediaType: fiber.MIMEApplicationJSON, Execution: x.ID,
		Location: "/api/v1/executions/" + x.ID, Body: append(body, '\n'),
	}
	if call.claim != nil {
		s.keep(call, &answer)
	}
	call.execution = x.ID
	writeAnswer(c, &answer)
	return nil
}

// unclaim gives the key of a job that was refused back. Where nobody knows whether
// it was stored, the key stays: the next call under it submits the same job.
func (s *Server) unclaim(call *call, err error) {
	var failure *execution.Error
	if call.claim == nil || !errors.As(err, &failure) {
		return
	}
	switch failure.Code {
	case execution.CodeStateUnavailable, execution.CodeInternal, execution.CodeCancelled:
		s.Logger.Warn("a job may have been stored", slog.String("request", call.id), slog.String("execution", call.claim.Execution), slog.Any("error", err))
	default:
		s.keep(call, nil)
	}
}

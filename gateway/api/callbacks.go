package api

import (
	"errors"
	"log/slog"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/callback"
	"attune/gateway/execution"
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
	case s.Callbacks == nil:
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

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/delivery"
	"attune/gateway/execution"
	"attune/gateway/idempotency"
)

// headerIdempotencyKey lets a call be repeated without running again.
const headerIdempotencyKey = "Idempotency-Key"

// maxIdempotencyKey is the longest key, in bytes.
const maxIdempotencyKey = 255

// inProgressAfter is when a caller may ask again for the answer of a call that
// has not ended: nobody knows when it will.
const inProgressAfter = time.Second

// idempotencyKey reads the key of a call; empty = it has none.
func (s *Server) idempotencyKey(c *fiber.Ctx) (string, error) {
	lines := c.Request().Header.PeekAll(headerIdempotencyKey)
	if len(lines) == 0 {
		return "", nil
	}
	if s.Idempotency == nil {
		return "", refuse(codeInvalidHeader, headerIdempotencyKey+" is not supported by this gateway")
	}
	key := string(lines[0])
	fits := key != "" && len(key) <= maxIdempotencyKey
	for _, b := range []byte(key) {
		fits = fits && b >= ' ' && b <= '~'
	}
	if !fits {
		return "", refuse(codeInvalidHeader, headerIdempotencyKey+" must have 1 to 255 printable ASCII characters")
	}
	return key, nil
}

// claim takes the key of a call, if it has one, after everything else was
// checked. With an answer, which is the first call's, nothing may run; without,
// run settles what was claimed.
//
// The same job is no second one. So a call for the queue, of which nobody knows
// whether it was stored, is submitted again: under the ID that it had.
func (s *Server) claim(c *fiber.Ctx, call *call, asked *asked) (*idempotency.Answer, error) {
	key, err := s.idempotencyKey(c)
	if key == "" || err != nil {
		return nil, err
	}
	request := &asked.request
	claim := s.Idempotency.Claim(call.caller, request.Action, key, asked.fingerprint(), request.ID)
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	answer, err := s.Idempotency.Take(ctx, claim)
	var taken *idempotency.Taken
	switch {
	case asked.async && (errors.Is(err, idempotency.ErrInProgress) || errors.Is(err, idempotency.ErrUnknown)) && errors.As(err, &taken):
		request.ID, claim.Execution = taken.Execution, taken.Execution
		call.claim = &claim
		return nil, nil
	case errors.As(err, &taken):
		return nil, refuseKey(call, taken)
	case err != nil:
		s.Logger.Warn("claim an idempotency key", slog.String("request", call.id), slog.Any("error", err))
		return nil, refuseForNow(execution.CodeStateUnavailable, "the key can't be looked up now, and without that the call doesn't run", time.Second)
	case answer == nil:
		call.claim = &claim
	}
	return answer, nil
}

// refuseKey says why a key can't be used for a call, and names the execution that
// it stands for.
func refuseKey(call *call, taken *idempotency.Taken) error {
	call.execution = taken.Execution
	switch {
	case errors.Is(taken, idempotency.ErrReused):
		call.execution = "" // it has nothing to do with this call
		return refuse(codeKeyReused, "a call with other parameters has used this "+headerIdempotencyKey+": a new call takes a new key")
	case errors.Is(taken, idempotency.ErrInProgress):
		return refuseForNow(delivery.CodeInProgress, "the call with this "+headerIdempotencyKey+" has not ended", inProgressAfter)
	case errors.Is(taken, idempotency.ErrTooLarge):
		return started(refuse(codeAnswerNotKept, "the call with this "+headerIdempotencyKey+" has ended, and its answer was too large to be kept: see the execution"))
	}
	return started(refuse(codeOutcomeUnknown,
		"the gateway that ran the call with this "+headerIdempotencyKey+" has died, and the action may have done its work: see what the execution left, and take a new key to run it again"))
}

// started says of a refusal that the action's program may have run.
func started(err *execution.Error) *execution.Error {
	err.Started = true
	return err
}

// run has an action run, and keeps the answer where the call has claimed a key.
func (s *Server) run(ctx context.Context, call *call, request execution.Request) (*execution.Outcome, error) {
	outcome, err := s.invokeWithin(ctx, call, request)
	if call.claim != nil {
		s.settle(ctx, call, outcome, err)
	}
	return outcome, err
}

// settle keeps the answer of what may have run, and gives the key of anything
// else back: a call that was refused, or did not get to its program, may be tried
// again. The answer goes out although it could not be kept; what repeats the call
// is then told that its outcome is unknown, and does not run it again.
func (s *Server) settle(ctx context.Context, call *call, outcome *execution.Outcome, err error) {
	if answer, ran := s.answerOf(ctx, call.id, outcome, err); ran {
		s.keep(call, &answer)
		return
	}
	s.keep(call, nil)
}

// keep puts an answer under the key of a call; nil gives the key back.
func (s *Server) keep(call *call, answer *idempotency.Answer) {
	kept, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	var failed error
	if answer != nil {
		failed = s.Idempotency.Settle(kept, *call.claim, *answer)
	} else {
		failed = s.Idempotency.Release(kept, *call.claim)
	}
	if failed != nil {
		s.Logger.Error("settle an idempotency key", slog.String("request", call.id), slog.String("execution", call.claim.Execution), slog.Any("error", failed))
	}
}

// answerOf is what is kept of the call that a request made; false if its program
// has not run.
func (s *Server) answerOf(ctx context.Context, request string, outcome *execution.Outcome, err error) (idempotency.Answer, bool) {
	if outcome == nil || outcome.Execution == nil {
		return idempotency.Answer{}, false
	}
	x := outcome.Execution
	answer := idempotency.Answer{
		Status: fiber.StatusOK, MediaType: outcome.MediaType, Execution: x.ID, Ended: x.Status, Timing: x.Timing, Body: outcome.Output,
	}
	if err == nil {
		return answer, true
	}
	var failure *execution.Error
	if !errors.As(cutOff(ctx, err), &failure) {
		return answer, false
	}
	// Not of the call itself: whoever answers changes it at the same time.
	problem := describe(&call{id: request, execution: x.ID}, failure)
	body, _ := json.Marshal(problem) // it has no field that could fail
	answer.Status, answer.MediaType, answer.Body = problem.Status, mediaProblem, append(body, '\n')
	return answer, failure.Started
}

// replay gives the answer of the first call: byte for byte, or as the event that
// it would have ended with.
func (s *Server) replay(c *fiber.Ctx, call *call, answer *idempotency.Answer, events string) error {
	call.execution = answer.Execution
	c.Set("Idempotency-Replayed", "true")
	c.Set("Attune-Execution-Id", answer.Execution)
	if events != "" && answer.Ended != "" {
		return s.stream(c, call, events, func() {}, func(out *eventWriter) {
			if answer.MediaType == mediaProblem {
				_ = out.send("problem", json.RawMessage(bytes.TrimSpace(answer.Body))) // the last word
				return
			}
			_ = out.send("result", showResult(&execution.Outcome{
				Execution: &execution.Execution{ID: answer.Execution, Status: answer.Ended, Timing: answer.Timing},
				Output:    answer.Body, MediaType: answer.MediaType,
			}))
		})
	}
	if answer.Location != "" {
		c.Set(fiber.HeaderLocation, answer.Location)
	}
	if answer.Ended != "" {
		c.Set("Server-Timing", serverTiming(call.auth, answer.Timing))
	}
	if answer.Ended == execution.StatusSucceeded {
		return s.writeResult(c, call, answer.MediaType, answer.Body)
	}
	c.Status(answer.Status)
	c.Set(fiber.HeaderContentType, answer.MediaType)
	c.Context().Response.SetBodyRaw(answer.Body)
	return nil
}

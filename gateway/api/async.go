package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/idempotency"
	"attune/gateway/key"
	"attune/gateway/pack"
	"attune/gateway/queue"
)

// This file takes asynchronous executions: calls that nobody waits for, or not to
// the end.

// maxDelay bounds how far ahead an execution can be put.
const maxDelay = 30 * 24 * time.Hour

// lateness is how an asynchronous execution takes its turn.
type lateness struct {
	delay    time.Duration
	priority queue.Priority
}

// priorities by name.
var priorities = map[string]queue.Priority{
	"high": queue.PriorityHigh, "normal": queue.PriorityNormal, "low": queue.PriorityLow,
}

const (
	badDelay    = `delay must be a number of seconds or a duration like "90s", at most 30 days`
	badPriority = "priority must be high, normal or low"
)

// readLateness reads the parameters delay and priority, which mean nothing to a
// call that is answered with its result.
func readLateness(query url.Values, async bool) (lateness, error) {
	var l lateness
	for _, name := range [...]string{"delay", "priority"} {
		if query.Has(name) && !async {
			return l, refuse(codeInvalidQuery, name+` is for asynchronous calls: add "Prefer: respond-async"`)
		}
	}
	var ok bool
	if query.Has("delay") {
		if l.delay, ok = parseDelay(query.Get("delay")); !ok {
			return l, refuse(codeInvalidQuery, badDelay)
		}
	}
	if query.Has("priority") {
		if l.priority, ok = priorities[query.Get("priority")]; !ok {
			return l, refuse(codeInvalidQuery, badPriority)
		}
	}
	return l, nil
}

func parseDelay(text string) (time.Duration, bool) {
	delay, ok := parseTimeout(text)
	return delay, ok && delay <= maxDelay
}

// job makes the job of a call.
func (l lateness) job(request execution.Request, caller string) queue.Job {
	j := queue.Job{
		ID: request.ID, Action: request.Action, Parameters: request.Body, Source: "http", Caller: caller,
		Priority: l.priority, Timeout: request.Timeout, Trace: request.Trace,
	}
	if l.delay > 0 {
		j.NotBefore = request.Arrived.Add(l.delay)
	}
	return j
}

// invokeAsync stores a call, and answers with its result if that comes within the
// time that the caller waits; with the execution otherwise.
func (s *Server) invokeAsync(c *fiber.Ctx, call *call, asked *asked) error {
	job, prefer := asked.late.job(asked.request, call.caller), asked.prefer
	job.Callback = asked.callback
	if prefer.any() {
		c.Set("Preference-Applied", prefer.applied())
	}
	if prefer.wait == 0 {
		x, err := s.Queue.Submit(s.base, job)
		if err != nil {
			s.unclaim(call, err)
			return err
		}
		return s.pending(c, call, x)
	}
	ctx, release := s.audience(c, call)
	defer release()
	x, outcome, err := s.Queue.Call(ctx, job, prefer.wait)
	switch {
	case err == nil && outcome == nil:
		return s.pending(c, call, x)
	case outcome == nil:
		s.unclaim(call, err)
		return err
	}
	if call.claim != nil { // whatever the last of several attempts came to
		answer, _ := s.answerOf(ctx, call.id, outcome, err)
		s.keep(call, &answer)
	}
	return s.answerOutcome(c, call, outcome, err)
}

// pending answers 202, and keeps that under the call's key.
func (s *Server) pending(c *fiber.Ctx, call *call, x *execution.Execution) error {
	if err := s.accepted(c, call, fiber.StatusAccepted, x); err != nil || call.claim == nil {
		return err
	}
	s.keep(call, &idempotency.Answer{
		Status: fiber.StatusAccepted, MediaType: fiber.MIMEApplicationJSON, Execution: x.ID,
		Location: string(c.Response().Header.Peek(fiber.HeaderLocation)), Body: bytes.Clone(c.Response().Body()),
	})
	return nil
}

// accepted answers with an execution that has not ended.
func (s *Server) accepted(c *fiber.Ctx, call *call, status int, x *execution.Execution) error {
	call.execution = x.ID
	c.Set("Attune-Execution-Id", x.ID)
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+x.ID)
	c.Status(status)
	return writeJSON(c, x)
}

// answerOutcome answers with the end of a call.
func (s *Server) answerOutcome(c *fiber.Ctx, call *call, outcome *execution.Outcome, err error) error {
	call.execution = outcome.Execution.ID
	c.Set("Attune-Execution-Id", outcome.Execution.ID)
	c.Set("Server-Timing", serverTiming(call.auth, outcome.Execution.Timing))
	if err != nil {
		return err
	}
	return s.writeResult(c, call, outcome.MediaType, outcome.Output)
}

// execute takes an execution as Attune's own API does.
func (s *Server) execute(c *fiber.Ctx, call *call) error {
	var body struct {
		action, timeout, delay, priority string
		parameters                       json.RawMessage
	}
	err := readMembers(c, map[string]any{
		"action_ref": &body.action, "parameters": &body.parameters, "timeout": &body.timeout, "delay": &body.delay, "priority": &body.priority,
	})
	if err != nil {
		return err
	}
	ref, err := pack.ParseActionRef(body.action)
	if err != nil {
		return invalidMembers(pack.Problem{Pointer: "/action_ref", Detail: "must be pack.action"})
	}
	request := execution.Request{ID: s.NewID(), Action: ref.String(), Body: body.parameters, Arrived: call.arrived}
	var l lateness
	var problems []pack.Problem
	ok := true
	if request.Timeout, ok = parseTimeout(body.timeout); !ok && body.timeout != "" {
		problems = append(problems, pack.Problem{Pointer: "/timeout", Detail: `must be a positive number of seconds or a duration like "500ms"`})
	}
	if l.delay, ok = parseDelay(body.delay); !ok && body.delay != "" {
		problems = append(problems, pack.Problem{Pointer: "/delay", Detail: badDelay})
	}
	if l.priority, ok = priorities[body.priority]; !ok && body.priority != "" {
		problems = append(problems, pack.Problem{Pointer: "/priority", Detail: badPriority})
	}
	if len(problems) > 0 {
		return invalidMembers(problems...)
	}
	if err := s.allow(call, key.Invoke, ref.String()); err != nil {
		return err
	}
	action, err := s.callable(ref)
	if err != nil {
		return err
	}
	if err := s.spend(c.Context(), "action", ref.String(), action.Rate); err != nil {
		return err
	}
	x, err := s.Queue.Submit(s.base, l.job(request, call.caller))
	if err != nil {
		return err
	}
	return s.accepted(c, call, fiber.StatusCreated, x)
}

// retryExecution makes another execution with the parameters of one that has
// ended.
func (s *Server) retryExecution(c *fiber.Ctx, call *call) error {
	before, err := s.execution(c, call, key.Read)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	if err := s.allow(call, key.Invoke, before.Action); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	x, err := s.Queue.Retry(ctx, before.ID, call.caller)
	if errors.Is(err, queue.ErrNoJob) {
		return refuse(codeNothingKept, "the parameters are kept only of asynchronous executions, until they have succeeded")
	}
	if err != nil {
		return err
	}
	return s.accepted(c, call, fiber.StatusCreated, x)
}

// awaitCancelled waits for the end of an execution that runs on another gateway,
// which hears of the cancel by and by.
func (s *Server) awaitCancelled(ctx context.Context, c *fiber.Ctx, call *call) error {
	late := time.NewTimer(cancelTimeout)
	defer late.Stop()
	for {
		found, err := s.execution(c, call, key.Operate)
		if err != nil {
			return err
		}
		if found.Status.Ended() {
			return cancelledAnswer(c, found)
		}
		select {
		case <-time.After(cancelPoll):
		case <-late.C:
			c.Status(fiber.StatusAccepted)
			return writeJSON(c, found)
		case <-ctx.Done():
			return cutOff(ctx, refuse(execution.CodeCancelled, "the client left before the execution had ended"))
		}
	}
}

// cancelPoll is how often is asked whether an execution of another gateway has
// ended.
const cancelPoll = 100 * time.Millisecond

// cancelledAnswer answers with an execution that was to be cancelled.
func cancelledAnswer(c *fiber.Ctx, found *execution.Execution) error {
	if found.Status != execution.StatusCancelled {
		return refuse(codeEnded, fmt.Sprintf("the execution has ended (%s); there is nothing to cancel", found.Status))
	}
	return writeJSON(c, found)
}

// applied is what a caller who prefers something gets, in RFC 7240's words.
func (p preferences) applied() string {
	wait := "wait=" + strconv.Itoa(int(p.wait/time.Second))
	switch {
	case p.wait == 0:
		return "respond-async"
	case p.async:
		return "respond-async, " + wait
	}
	return wait
}

package execution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// fail makes an Error that a retry does not help; Retryable is for who knows better.
func fail(code, component, phase, reason string) *Error {
	return &Error{Failure: Failure{Code: code, Component: component, Phase: phase, Reason: reason}}
}

// Status is what an execution that ended in this error has become.
func (e *Error) Status() Status {
	switch e.Code {
	case CodeTimedOut:
		return StatusTimedOut
	case CodeCancelled:
		return StatusCancelled
	}
	return StatusFailed
}

// judge says what the end of a program means. That it failed is its result;
// that we could not run it would have been an error before.
func (r *Runner) judge(ctx context.Context, call *call, exit agent.Exit, out *output) *Error {
	ran := func(code, reason string) *Error {
		e := fail(code, "action", "run", reason)
		e.Started, e.Log = true, out.stderr.tail()
		return e
	}
	if !exit.TimedOut && !exit.Cancelled {
		out.exitCode = &exit.Code
	}
	switch {
	case exit.Cancelled && errors.Is(context.Cause(ctx), errAbandoned):
		return ran(CodeDraining, "the gateway shut down before the action had ended")
	case exit.Cancelled && errors.Is(context.Cause(ctx), errStopped):
		return ran(CodeCancelled, "the execution was cancelled before the action had ended")
	case exit.Cancelled:
		return ran(CodeCancelled, "the caller left before the action had ended")
	case exit.TimedOut:
		return r.timedOut(call, true)
	case exit.OutOfMemory:
		return ran(CodeOutOfMemory, outOfMemory(call.action.Limits.Or(r.Limits.Defaults)))
	case exit.Incomplete:
		return ran(CodeInstanceLost, "the end of the action's output was lost, or a process of it could not be killed")
	case exit.Code != 0:
		return ran(CodeActionFailed, fmt.Sprintf("the action ended with exit code %d", exit.Code))
	case out.stdout.total() > out.resultLimit:
		return ran(CodeResultTooLarge, fmt.Sprintf("the action printed %d bytes; a result may have %d (limits.result)",
			out.stdout.total(), out.resultLimit))
	}
	return r.parse(call, out, ran)
}

// parse reads the output in the action's format and checks it.
func (r *Runner) parse(call *call, out *output, ran func(code, reason string) *Error) *Error {
	if call.action.OutputFormat == pack.FormatText {
		return nil
	}
	parsed, chatter, err := pack.ParseOutput(call.action.OutputFormat, out.stdout.kept.Bytes())
	if err != nil {
		return badOutput(ran, call.action.OutputFormat, err)
	}
	out.chatter = chatter
	return r.check(call, parsed, out, ran)
}

// check validates a result and makes it that of the execution.
func (r *Runner) check(call *call, parsed json.RawMessage, out *output, ran func(code, reason string) *Error) *Error {
	if call.action.Output != nil {
		problems, err := call.action.Output.Validate(parsed)
		if err != nil || len(problems) > 0 {
			bad := ran(CodeBadOutput, "the action's output does not match its output_schema")
			bad.Parameters, bad.cause = problems, err
			return bad
		}
	}
	out.parsed = parsed
	return nil
}

// timedOut names where the time went.
func (r *Runner) timedOut(call *call, started bool) *Error {
	t := call.execution.Timing
	e := fail(CodeTimedOut, "action", "run", fmt.Sprintf(
		"timed out after %s: validation %.0f ms, environment %.0f ms, queue %.0f ms, start %.0f ms, run %.0f ms",
		call.timeout.Round(time.Millisecond), t.Validate, t.Environment, t.Queue, t.Start, t.Run))
	e.Started = started
	if !started {
		e.Component, e.Phase, e.Retryable = "gateway", "queue", true
	}
	return e
}

// explain turns an error of a part of the gateway into one that may be shown.
// where is the phase the call was in.
func (r *Runner) explain(ctx context.Context, call *call, where string, err error) *Error {
	if errors.Is(err, container.ErrNoImage) {
		r.Images.Refresh() // it was removed or replaced: the next call asks anew
	}
	e := r.classify(ctx, call, where, err)
	e.Reason = call.masker.String(e.Reason)
	e.cause = err
	return e
}

func (r *Runner) classify(ctx context.Context, call *call, where string, err error) *Error {
	later := func(code, component, reason string, after time.Duration) *Error {
		e := fail(code, component, where, reason)
		e.Retryable, e.RetryAfter = true, after
		return e
	}
	var (
		failed     *envcache.FailedError
		building   *envcache.BuildingError
		overloaded *runtimes.OverloadedError
		start      *agent.StartError
	)
	switch {
	case errors.As(err, &failed):
		e := later(CodeEnvironmentFailed, "environment", failed.Reason, max(time.Until(failed.NextRetry), time.Second))
		e.Log = failed.Log
		return e
	case errors.As(err, &building):
		return later(CodeEnvironmentBuild, "environment", "the environment is being built", building.RetryAfter)
	case errors.Is(err, envcache.ErrStorageFull):
		return later(CodeEnvironmentStorage, "environment", "there is not enough free space for another environment", time.Minute)
	case errors.Is(err, envcache.ErrBusy):
		return later(CodeOverloaded, "environment", "too many environments wait to be built", 10*time.Second)
	case errors.Is(err, runtimes.ErrTooBig):
		return fail(CodeLimitExceeded, "pack", where, "the action's limits are more than this gateway's instances may have together (pool.memory, pool.cpu)")
	case errors.As(err, &overloaded):
		return later(CodeOverloaded, "gateway", "too many calls wait for this action", overloaded.RetryAfter)
	case errors.Is(err, agent.ErrLost):
		e := fail(CodeInstanceLost, "instance", "run", "the instance was lost while the action ran")
		e.Started = true
		return e
	case errors.As(err, &start):
		return fail(CodeActionFailed, "action", "start", startReason(call, start))
	case errors.Is(err, agent.ErrTooLarge):
		return fail(CodeLimitExceeded, "request", where, "the parameters are too large for an instance")
	case errors.Is(err, runtimes.ErrClosed), errors.Is(err, envcache.ErrClosed), errors.Is(context.Cause(ctx), errAbandoned):
		return later(CodeDraining, "gateway", "the gateway is shutting down", time.Second)
	// Whatever the error: a caller who has left, or whose time is up, is why.
	case errors.Is(context.Cause(ctx), errStopped):
		return fail(CodeCancelled, "request", where, "the execution was cancelled before the action had started")
	case errors.Is(ctx.Err(), context.Canceled):
		return fail(CodeCancelled, "request", where, "the caller left before the action had started")
	case ctx.Err() != nil, time.Now().After(call.deadline):
		return r.timedOut(call, false)
	case errors.Is(err, agent.ErrNotStarted):
		return later(CodeInstanceLost, "instance", "the instance was lost before the action had started", time.Second)
	}
	return r.classifyEngine(where, err, later)
}

func (r *Runner) classifyEngine(where string, err error, later func(code, component, reason string, after time.Duration) *Error) *Error {
	switch {
	case errors.Is(err, container.ErrNoImage):
		return later(CodeEngineUnavailable, "engine", "the engine doesn't have the runtime's image", 30*time.Second)
	case errors.Is(err, container.ErrUnavailable):
		return later(CodeEngineUnavailable, "engine", "the container engine does not answer", 5*time.Second)
	case errors.Is(err, errBadImage):
		return fail(CodeEngineUnavailable, "engine", where, "the runtime's image declares a VOLUME and is refused")
	case errors.Is(err, fs.ErrNotExist):
		return later(CodeEngineUnavailable, "gateway", "a file that the instance needs is gone", 5*time.Second)
	}
	return later(CodeEngineUnavailable, "engine", "the instance could not be started", 5*time.Second)
}

// startReason says what a program that can't be executed needs. The agent's own
// words hold the interpreter's path, which is the container's and no secret.
func startReason(call *call, start *agent.StartError) string {
	return fmt.Sprintf("the action's program can't be started by runtime %s: %s", call.action.Runtime.Name, start.Reason)
}

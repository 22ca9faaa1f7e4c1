package execution

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"attune/gateway/pack"
	"attune/gateway/trace"
	"attune/runtimes"
	"attune/runtimes/agent"
)

// handle calls the action's handler in a worker.
func (r *Runner) handle(ctx, waiting context.Context, call *call, plan *plan, out *output) *Error {
	request := agent.Call{
		ID: call.execution.ID, Action: call.execution.Action, Pack: call.execution.Pack, File: plan.file,
		Parameters: call.parameters, Secrets: call.action.Parameters.Secrets(), Deadline: call.deadline, ResultLimit: out.resultLimit,
		StdoutLimit: out.stdout.limit, StderrLimit: out.stderr.limit, ItemsLimit: out.items.limit,
	}
	var reply agent.Reply
	err := r.inSlot(waiting, call, plan.shape, func(slot *runtimes.Slot, place trace.Context) (use, error) {
		var err error
		request.Traceparent, request.Tracestate = place.Parent, place.State
		reply, err = slot.Call(ctx, request, agent.Output{Stdout: &out.stdout, Stderr: &out.stderr, Items: &out.items})
		// A request that is too large was never sent; a slot knows of its
		// worker what can be said of a process only by its exit.
		return use{reusable: true, started: !errors.Is(err, agent.ErrNotStarted) && (err == nil || reply.Duration > 0)}, err
	})
	out.stdout.end(reply.StdoutDropped, err != nil)
	out.stderr.end(reply.StderrDropped, err != nil)
	out.items.end(reply.ItemsDropped, err != nil)
	call.mask(&reply)
	if err != nil {
		return r.explainCall(ctx, call, reply, err)
	}
	return r.judgeReply(call, reply, out)
}

// explainCall says why a handler gave no reply.
func (r *Runner) explainCall(ctx context.Context, call *call, reply agent.Reply, err error) *Error {
	started := call.execution.StartedAt != nil
	ended := func(code, reason string) *Error {
		e := fail(code, "action", "run", reason)
		e.Started, e.cause = true, err
		return e
	}
	switch {
	case !started:
		return r.explain(ctx, call, "start", err)
	case errors.Is(err, agent.ErrTooLarge):
		return ended(CodeResultTooLarge, fmt.Sprintf("the action's result is larger than %d bytes (limits.result)", r.Limits.Result))
	case errors.Is(err, runtimes.ErrOutOfMemory):
		return ended(CodeOutOfMemory, outOfMemory(call.action.Limits.Or(r.Limits.Defaults)))
	case errors.Is(err, agent.ErrLost):
		return ended(CodeInstanceLost, "the worker was lost while the action ran")
	case errors.Is(context.Cause(ctx), errAbandoned):
		return ended(CodeDraining, "the gateway shut down before the action had ended")
	case errors.Is(context.Cause(ctx), errStopped):
		return ended(CodeCancelled, "the execution was cancelled before the action had ended")
	case errors.Is(ctx.Err(), context.Canceled):
		return ended(CodeCancelled, "the caller left before the action had ended")
	}
	e := r.timedOut(call, true)
	e.cause = err
	return e
}

// judgeReply says what a handler's reply means.
func (r *Runner) judgeReply(call *call, reply agent.Reply, out *output) *Error {
	if failure := reply.Failure; failure != nil {
		e := fail(CodeActionFailed, "action", "run", failureReason(failure))
		e.Started, e.Log = true, failure.Traceback
		if failure.Traceback != "" {
			out.stderr.note(failure.Traceback)
		}
		return e
	}
	ran := func(code, reason string) *Error {
		e := fail(code, "action", "run", reason)
		e.Started, e.Log = true, out.stderr.tail()
		return e
	}
	return r.take(call, reply, out, ran)
}

func failureReason(f *agent.CallFailure) string {
	if f.Message == "" {
		return f.Type
	}
	return f.Type + ": " + f.Message
}

// take makes a handler's result that of the execution, in the action's format.
func (r *Runner) take(call *call, reply agent.Reply, out *output, ran func(code, reason string) *Error) *Error {
	format := call.action.OutputFormat
	if format == pack.FormatText {
		out.body = reply.Result
		return nil
	}
	document := reply.Result
	if reply.Text {
		text, err := json.Marshal(string(reply.Result))
		if err != nil {
			return ran(CodeBadOutput, "the action's result is no text")
		}
		document = text
	}
	var problem *Error
	switch format {
	case pack.FormatJSONL:
		problem = r.takeLines(call, document, out, ran)
	default:
		parsed, err := compactResult(call, document)
		if err != nil {
			return badOutput(ran, format, err)
		}
		problem = r.check(call, parsed, out, ran)
	}
	if problem != nil || format == pack.FormatJSON {
		return problem
	}
	body, err := pack.Write(out.parsed, format)
	if err != nil {
		return badOutput(ran, format, err)
	}
	out.body = body
	return nil
}

// compactResult reads a document that the agent has found to be JSON: closer
// only where something computes with it.
func compactResult(call *call, document []byte) (json.RawMessage, error) {
	if call.action.Output != nil || call.action.OutputFormat != pack.FormatJSON {
		parsed, _, err := pack.ParseOutput(pack.FormatJSON, document)
		return parsed, err
	}
	var out bytes.Buffer
	err := json.Compact(&out, document)
	return out.Bytes(), err
}

// takeLines reads what a generator gave, or else the items of the list that was
// returned.
func (r *Runner) takeLines(call *call, document []byte, out *output, ran func(code, reason string) *Error) *Error {
	if out.items.total() > out.resultLimit {
		return ran(CodeResultTooLarge, fmt.Sprintf("the action gave %d bytes; a result may have %d (limits.result)",
			out.items.total(), out.resultLimit))
	}
	lines := out.items.kept.Bytes()
	parsed, _, err := pack.ParseOutput(pack.FormatJSONL, lines)
	if err != nil {
		return badOutput(ran, pack.FormatJSONL, err)
	}
	if len(lines) == 0 && string(document) != "null" {
		if parsed = document; document[0] != '[' {
			parsed = append(append([]byte{'['}, document...), ']')
		}
	}
	return r.check(call, parsed, out, ran)
}

func badOutput(ran func(code, reason string) *Error, format pack.Format, err error) *Error {
	bad := ran(CodeBadOutput, fmt.Sprintf("the action's output is not %s: %v", format, err))
	bad.cause = err
	return bad
}

func outOfMemory(limits runtimes.Limits) string {
	return fmt.Sprintf("the action used more memory than its %d bytes (limits.memory)", limits.Memory)
}

// use is what a slot was used for.
type use struct {
	reusable bool
	started  bool // the program may have run
}

// inSlot runs f in a slot. One that is lost before its agent took the request is
// replaced once; afterwards the program may have run, and is never run again.
// It gets its place in the call's trace.
func (r *Runner) inSlot(waiting context.Context, call *call, shape *runtimes.Shape, f func(*runtimes.Slot, trace.Context) (use, error)) error {
	for retried := false; ; retried = true {
		call.running.enter(phaseQueue, call.execution.Timing)
		queued := time.Now()
		slot, starting, err := r.Instances.Acquire(waiting, shape)
		started := time.Now()
		call.waited(started.Sub(queued), starting)
		call.span.Past("queue", queued, started.Add(-starting))
		call.span.Past("start", started.Add(-starting), started)
		if err != nil {
			return err
		}
		call.running.enter(phaseRun, call.execution.Timing)
		run := call.span.Child("run")
		used, err := f(slot, call.place(run))
		run.End()
		service := time.Since(started)
		r.Instances.Release(slot, used.reusable, service)
		if errors.Is(err, agent.ErrNotStarted) && !retried && waiting.Err() == nil {
			call.execution.Timing.Start += milliseconds(service)
			continue
		}
		if used.started {
			utc := started.UTC()
			call.execution.StartedAt = &utc
			call.execution.Timing.Run = milliseconds(service)
		}
		return err
	}
}

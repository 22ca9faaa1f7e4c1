package execution

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/gateway/secret"
	"attune/gateway/trace"
	"attune/runtimes"
)

// NewID makes an execution's ID: a ULID, so that IDs sort by time.
func NewID() string {
	var id ulid.ULID
	binary.LittleEndian.PutUint64(id[8:], rand.Uint64()) // of a source without a lock
	binary.LittleEndian.PutUint16(id[6:], uint16(rand.Uint32()))
	ms := uint64(time.Now().UnixMilli())
	id[0], id[1], id[2], id[3], id[4], id[5] = byte(ms>>40), byte(ms>>32), byte(ms>>24), byte(ms>>16), byte(ms>>8), byte(ms)
	return id.String()
}

// call is an accepted request on its way.
type call struct {
	pack       *pack.Pack
	action     *pack.Action
	document   []byte            // the parameters in the action's format, secrets included
	secrets    map[string]string // values of the parameters that are secrets
	masker     *secret.Masker    // of these; nil = none
	parameters []byte            // as JSON
	timeout    time.Duration
	deadline   time.Time
	arrived    time.Time
	progress   func(envcache.Event) // nil = nobody asks
	trace      trace.Context        // of the caller
	span       *trace.Span          // of the execution
	execution  *Execution
	running    *Running // what others see of it
}

// accept finds the action and checks everything that the caller sent.
func (r *Runner) accept(ctx context.Context, request Request) (*call, error) {
	p, action, err := r.find(request.Action)
	if err != nil {
		return nil, err
	}
	stored, err := r.stored(ctx, p.Ref, action)
	if err != nil {
		return nil, err
	}
	parameters, problems, err := action.Parameters.ApplyWith(request.Body, stored)
	if err != nil {
		return nil, &Error{
			Failure: Failure{Code: CodeInvalidJSON, Component: "request", Phase: "validate", Reason: err.Error()},
			cause:   err,
		}
	}
	if len(problems) > 0 {
		invalid := fail(CodeInvalidParameters, "request", "validate", "the parameters don't match the action's schema")
		invalid.Parameters = problems
		return nil, invalid
	}
	var document []byte // a handler gets the parameters as they are
	if action.Warm.Isolation != runtimes.IsolationWorker {
		document, err = encode(parameters, action.ParameterFormat)
	}
	if err != nil {
		return nil, &Error{
			Failure: Failure{
				Code: CodeInvalidParameters, Component: "request", Phase: "validate",
				Reason: fmt.Sprintf("the parameters can't be written as %s", action.ParameterFormat),
			},
			cause: err,
		}
	}
	timeout := min(cmp.Or(request.Timeout, action.Timeout), action.Timeout, r.Limits.MaxTimeout)
	accepted := &call{
		pack: p, action: action, document: document, parameters: parameters, timeout: timeout,
		arrived: request.Arrived, deadline: request.Arrived.Add(timeout), progress: request.Progress,
		trace: trace.Context{Parent: request.Trace, State: request.TraceState},
		execution: &Execution{
			ID: request.ID, Action: action.Ref.String(), Pack: string(p.Ref), Gateway: r.GatewayID,
			Status: StatusRunning, CreatedAt: request.Arrived.UTC(),
		},
	}
	if attempt := request.Attempt; attempt != nil {
		x := accepted.execution
		x.CreatedAt, x.Source, x.Caller, x.Attempt = attempt.Created.UTC(), attempt.Source, attempt.Caller, attempt.Number
	}
	if err := accepted.hide(parameters); err != nil { // it would have been found before
		return nil, &Error{
			Failure: Failure{Code: CodeInternal, Component: "gateway", Phase: "validate", Reason: "the parameters' secrets can't be read"},
			cause:   err,
		}
	}
	accepted.execution.Timing.Validate = milliseconds(time.Since(request.Arrived))
	return accepted, nil
}

// find looks an action up, and says what is wrong with one that can't be called.
func (r *Runner) find(name string) (*pack.Pack, *pack.Action, error) {
	ref, err := pack.ParseActionRef(name)
	if err != nil {
		return nil, nil, fail(CodeInvalidRef, "request", "validate", "an action is called by pack.action")
	}
	catalog := r.Catalog()
	p, found := catalog.Pack(ref.Pack)
	if !found {
		if _, broken := catalog.BrokenPack(ref.Pack); broken {
			return nil, nil, fail(CodeNotFound, "pack", "validate", "the action's pack has faults and is not served")
		}
		return nil, nil, fail(CodeNotFound, "request", "validate", "there is no such action")
	}
	action, found := catalog.Action(ref)
	switch {
	case !found:
		return nil, nil, fail(CodeNotFound, "request", "validate", "there is no such action")
	case !p.Enabled:
		return nil, nil, fail(CodeNotFound, "pack", "validate", "the action's pack is disabled")
	case !action.Enabled:
		return nil, nil, fail(CodeNotFound, "pack", "validate", "the action is disabled")
	case action.Network == runtimes.NetworkOutbound && !r.Outbound(p.Ref):
		return nil, nil, fail(CodeForbidden, "pack", "validate",
			"the action needs the network, which the operator does not allow this pack (network.outbound)")
	}
	return p, action, nil
}

// encode writes parameters as the script reads them. JSON they are already.
func encode(parameters []byte, format pack.Format) ([]byte, error) {
	if format == pack.FormatJSON {
		return append(parameters[:len(parameters):len(parameters)], '\n'), nil
	}
	return pack.Encode(parameters, format)
}

// waited notes where the time before the run went: a wait in which an instance
// was started counts as its start.
func (c *call) waited(total, starting time.Duration) {
	c.execution.Timing.Start += milliseconds(starting)
	c.execution.Timing.Queue += milliseconds(total - starting)
}

// end completes the record.
func (c *call) end(out *output, failure *Error) {
	x := c.execution
	now := time.Now().UTC()
	x.EndedAt = &now
	x.DurationMS = milliseconds(now.Sub(x.CreatedAt))
	x.Status = StatusSucceeded
	if failure != nil {
		x.Status = failure.Status()
		x.Error = &failure.Failure
	}
	if out == nil {
		return
	}
	x.ExitCode = out.exitCode
	x.Result = out.parsed
	var beyond int64
	if out.handler || out.parsed == nil { // stdout isn't the result
		x.Stdout, x.StdoutTruncated = out.stdout.log(Stdout, out.logLimit)
		beyond = out.stdout.beyond(out.logLimit)
	} else {
		x.Stdout, x.StdoutTruncated, beyond = out.stdout.first(out.chatter, Stdout, out.logLimit)
	}
	x.Stderr, x.StderrTruncated = out.stderr.log(Stderr, out.logLimit)
	x.BytesTruncated = out.stderr.beyond(out.logLimit) + beyond
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}

// errBadImage marks an image that can't be made into a box.
var errBadImage = errors.New("image is refused")

package execution

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/gateway/trace"
	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// Environments is the part of envcache that a call needs.
type Environments interface {
	// Ensure returns the built environment, which the caller releases, or why
	// there is none; see envcache.Cache.Ensure.
	Ensure(ctx context.Context, r *envcache.Recipe) (*envcache.Environment, error)
	// Follow is Ensure for a caller who is told what happens; see
	// envcache.Cache.Follow.
	Follow(ctx context.Context, r *envcache.Recipe, told func(envcache.Event)) (*envcache.Environment, error)
}

// Instances is the part of runtimes.Pools that a call needs.
type Instances interface {
	Acquire(ctx context.Context, s *runtimes.Shape) (*runtimes.Slot, time.Duration, error)
	Release(s *runtimes.Slot, reusable bool, service time.Duration)
}

// Options of a Runner. All but Secrets and Tracer are required.
type Options struct {
	Catalog      func() *pack.Catalog
	Environments Environments
	Instances    Instances
	Images       *Images
	Box          *runtimes.Box
	Recorder     *Recorder
	Secrets      Secrets       // nil = none are stored
	Tracer       *trace.Tracer // nil = executions are not drawn
	GatewayID    string
	Limits       Limits
	// Outbound tells whether the operator lets a pack reach the network.
	Outbound func(pack pack.Ref) bool
	Log      *slog.Logger
}

// Limits bound executions; the operator's word.
type Limits struct {
	MaxTimeout time.Duration   // caps every timeout
	Result     int64           // bytes of an action's output that is its result
	Log        int64           // bytes kept of each stream
	Grace      time.Duration   // between SIGTERM and SIGKILL
	Defaults   runtimes.Limits // where neither pack nor action says anything; no zero fields
}

// Runner runs actions. Its methods may be called concurrently.
type Runner struct {
	Options

	plans    atomic.Pointer[plans]
	running  atomic.Int64
	draining atomic.Bool
	drained  chan struct{}   // closed when a draining gateway has no calls any more
	empty    func()          // closes it, once
	work     context.Context // ends when running calls must
	abandon  context.CancelCauseFunc
}

// errAbandoned ends the calls that a draining gateway can't wait for.
var errAbandoned = errors.New("the gateway is shutting down")

// NewRunner returns a Runner that takes calls at once.
func NewRunner(o Options) *Runner {
	r := &Runner{Options: o, drained: make(chan struct{})}
	r.empty = sync.OnceFunc(func() { close(r.drained) })
	r.work, r.abandon = context.WithCancelCause(context.Background())
	return r
}

// Invoke runs one call of one action to its end: find it, check the parameters,
// have its environment, take an instance, run, read the result, record.
//
// The error is always an *Error. With an Outcome beside it the call became an
// execution, which is recorded; without one nothing was done.
func (r *Runner) Invoke(ctx context.Context, request Request) (*Outcome, error) {
	if !r.enter() {
		draining := fail(CodeDraining, "gateway", "queue", "the gateway is shutting down")
		draining.Retryable, draining.RetryAfter = true, time.Second
		return nil, draining
	}
	defer r.leave()
	call, err := r.accept(ctx, request)
	if err != nil {
		return nil, err
	}
	call.span = r.Tracer.Execution(call.trace, call.execution.Action, call.execution.ID)
	defer call.span.End()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call.running = r.Recorder.Begin(call.execution, r.Limits, cancel, func(out *output) { // before anybody can follow it
		out.hide(call.masker)
		if call.action.Warm.Isolation == runtimes.IsolationWorker {
			out.ofHandler()
		}
	})
	defer r.Recorder.abandon(call.running) // after a panic: it would run for ever
	if request.Accepted != nil {
		request.Accepted()
	}
	stop := context.AfterFunc(r.work, func() { cancel(context.Cause(r.work)) })
	defer stop()

	output, failure := r.run(ctx, call)
	call.end(output, failure)
	call.draw(failure)
	outcome := &Outcome{Execution: call.execution}
	if failure == nil {
		outcome.Output, outcome.MediaType = output.answer(call.action.OutputFormat)
	}
	if request.Attempt != nil {
		request.Attempt.Settle(outcome, failure)
	}
	r.Recorder.Record(call.execution)
	r.log(ctx, call, failure)
	if failure != nil {
		return outcome, failure
	}
	return outcome, nil
}

// Check checks a call as Invoke would, and does nothing. The error is an *Error.
func (r *Runner) Check(ctx context.Context, request Request) (*pack.Action, error) {
	call, err := r.accept(ctx, request)
	if err != nil {
		return nil, err
	}
	return call.action, nil
}

// run brings a call from accepted to ended.
func (r *Runner) run(ctx context.Context, call *call) (*output, *Error) {
	// Until the program runs the deadline is ours to watch; then it is the
	// agent's, which knows whether it killed in time.
	waiting, cancel := context.WithDeadline(ctx, call.deadline)
	defer cancel()
	plan, release, err := r.plan(waiting, call)
	if err != nil {
		return nil, r.explain(ctx, call, "environment", err)
	}
	defer release()
	output := call.running.out
	if plan.shape.Isolation == runtimes.IsolationWorker {
		return output, r.handle(ctx, waiting, call, plan, output)
	}
	exit, err := r.execute(ctx, waiting, call, plan, output)
	if err != nil {
		return output, r.explain(ctx, call, "start", err)
	}
	return output, r.judge(ctx, call, exit, output)
}

// execute runs the program in a slot.
func (r *Runner) execute(ctx, waiting context.Context, call *call, plan *plan, out *output) (exit agent.Exit, err error) {
	request := plan.request(call, r.Limits, out)
	env := request.Env
	err = r.inSlot(waiting, call, plan.shape, func(slot *runtimes.Slot, place trace.Context) (use, error) {
		var err error
		request.Env = append(env[:len(env):len(env)], place.Variables()...)
		request.Timeout = max(time.Until(call.deadline), time.Millisecond)
		exit, err = slot.Execute(ctx, request, agent.Output{Stdout: &out.stdout, Stderr: &out.stderr})
		// A request that is too large was never sent.
		return use{
			reusable: exit.Reusable || errors.Is(err, agent.ErrTooLarge),
			started:  err == nil || errors.Is(err, agent.ErrLost),
		}, err
	})
	cut := err != nil || exit.Signal != 0 || exit.Incomplete
	out.stdout.end(exit.StdoutDropped, cut)
	out.stderr.end(exit.StderrDropped, cut)
	return exit, err
}

// enter counts a call in, unless the gateway drains.
func (r *Runner) enter() bool {
	r.running.Add(1)
	if r.draining.Load() {
		r.leave()
		return false
	}
	return true
}

// leave counts a call out; the last one of a draining gateway tells.
func (r *Runner) leave() {
	if r.running.Add(-1) == 0 && r.draining.Load() {
		r.empty()
	}
}

// Drain refuses new calls and waits for the running ones; when ctx ends they
// are killed and answered.
func (r *Runner) Drain(ctx context.Context) {
	r.running.Add(1) // or nobody might be left to tell
	r.draining.Store(true)
	r.leave()
	select {
	case <-r.drained:
	case <-ctx.Done():
		r.abandon(errAbandoned)
		<-r.drained
	}
}

func (r *Runner) log(ctx context.Context, call *call, failure *Error) {
	level := slog.LevelDebug
	if failure != nil {
		level = slog.LevelWarn
	}
	if !r.Log.Enabled(ctx, level) {
		return
	}
	x := call.execution
	attrs := []slog.Attr{
		slog.String("execution", x.ID), slog.String("action", x.Action), slog.String("status", string(x.Status)),
		slog.Float64("duration_ms", x.DurationMS),
	}
	if failure != nil {
		attrs = append(attrs, slog.Any("error", failure))
	}
	r.Log.LogAttrs(ctx, level, "execution ended", attrs...)
}

// recipe is what the environment of a pack and runtime is made from.
func recipe(p *pack.Pack, rt *runtimes.Runtime, image container.Image) *envcache.Recipe {
	return &envcache.Recipe{
		Pack: string(p.Ref), PackDir: p.Dir, Revision: p.Revision, Runtime: rt, Image: image,
		Index: p.Build.Index, Scripts: p.Build.Scripts,
	}
}

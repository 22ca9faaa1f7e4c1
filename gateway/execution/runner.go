package execution

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
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
	Acquire(ctx context.Context, s *runtimes.Shape) (*runtimes.Instance, time.Duration, error)
	Release(i *runtimes.Instance, reusable bool, service time.Duration)
}

// Options of a Runner. All are required.
type Options struct {
	Catalog      func() *pack.Catalog
	Environments Environments
	Instances    Instances
	Images       *Images
	Box          *runtimes.Box
	Recorder     *Recorder
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

	mu       sync.Mutex
	draining bool
	running  sync.WaitGroup
	work     context.Context // ends when running calls must
	abandon  context.CancelCauseFunc
}

// errAbandoned ends the calls that a draining gateway can't wait for.
var errAbandoned = errors.New("the gateway is shutting down")

// NewRunner returns a Runner that takes calls at once.
func NewRunner(o Options) *Runner {
	r := &Runner{Options: o}
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
	defer r.running.Done()
	call, err := r.accept(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	call.running = r.Recorder.Begin(call.execution, r.Limits, cancel)
	defer r.Recorder.abandon(call.running) // after a panic: it would run for ever
	if request.Accepted != nil {
		request.Accepted()
	}
	stop := context.AfterFunc(r.work, func() { cancel(context.Cause(r.work)) })
	defer stop()

	output, failure := r.run(ctx, call)
	call.end(output, failure)
	r.Recorder.Record(call.execution)
	r.log(ctx, call, failure)
	outcome := &Outcome{Execution: call.execution}
	if failure != nil {
		return outcome, failure
	}
	outcome.Output, outcome.MediaType = output.result(call.action.OutputFormat)
	return outcome, nil
}

// run brings a call from accepted to ended.
func (r *Runner) run(ctx context.Context, call *call) (*output, *Error) {
	// Until the program runs the deadline is ours to watch; then it is the
	// agent's, which knows whether it killed in time.
	waiting, cancel := context.WithDeadline(ctx, call.deadline)
	defer cancel()
	shape, release, err := r.shape(waiting, call)
	if err != nil {
		return nil, r.explain(ctx, call, "environment", err)
	}
	defer release()
	process, err := r.Box.Process(shape, call.action.EntryPoint, call.action.Vars, call.reserved(r.Box.Layout))
	if err != nil {
		return nil, r.explain(ctx, call, "start", err)
	}
	output := call.running.out
	exit, err := r.execute(ctx, waiting, call, shape, process, output)
	if err != nil {
		return output, r.explain(ctx, call, "start", err)
	}
	return output, r.judge(ctx, call, exit, output)
}

// shape says what instance the call needs, once its environment is there.
// release ends the call's hold on that.
func (r *Runner) shape(ctx context.Context, call *call) (_ *runtimes.Shape, release func(), err error) {
	start := time.Now()
	defer func() { call.execution.Timing.Environment = milliseconds(time.Since(start)) }()
	image, err := r.Images.Resolve(ctx, call.action.Runtime)
	if err != nil {
		return nil, nil, err
	}
	shape := &runtimes.Shape{
		Pack: string(call.pack.Ref), Revision: call.pack.Revision, PackDir: call.pack.Dir,
		Runtime: call.action.Runtime, Image: image,
		Network: call.action.Network, Limits: call.action.Limits.Or(r.Limits.Defaults),
	}
	if !shape.Runtime.HasEnvironment() {
		return shape, func() {}, nil
	}
	env, err := r.environment(ctx, call, image)
	if err != nil {
		return nil, nil, err
	}
	shape.Digest, shape.EnvDir = env.Digest, env.Dir
	if env.Image.ID != image.ID {
		shape.Image = env.Image // the generation before serves, in the image before
	}
	return shape, env.Release, nil
}

func (r *Runner) environment(ctx context.Context, call *call, image container.Image) (*envcache.Environment, error) {
	recipe := recipe(call.pack, call.action.Runtime, image)
	if call.progress == nil {
		return r.Environments.Ensure(ctx, recipe)
	}
	return r.Environments.Follow(ctx, recipe, call.progress)
}

// execute runs the program in an instance. An instance that is lost before its
// agent took the request is replaced once; afterwards the program may have
// run, and is never run again.
func (r *Runner) execute(ctx, waiting context.Context, call *call, shape *runtimes.Shape, p runtimes.Process, out *output) (agent.Exit, error) {
	request := agent.Request{
		ID: call.execution.ID, Argv: p.Argv, Dir: p.Dir, Env: p.Env, Stdin: call.stdin,
		Grace: r.Limits.Grace, StdoutLimit: out.stdout.limit, StderrLimit: out.stderr.limit,
	}
	for retried := false; ; retried = true {
		call.running.enter(phaseQueue, call.execution.Timing)
		queued := time.Now()
		instance, starting, err := r.Instances.Acquire(waiting, shape)
		call.waited(time.Since(queued), starting)
		if err != nil {
			return agent.Exit{}, err
		}
		request.Timeout = max(time.Until(call.deadline), time.Millisecond)
		call.running.enter(phaseRun, call.execution.Timing)
		started := time.Now()
		exit, err := instance.Execute(ctx, request, agent.Output{Stdout: &out.stdout, Stderr: &out.stderr})
		service := time.Since(started)
		// A request that is too large was never sent.
		r.Instances.Release(instance, exit.Reusable || errors.Is(err, agent.ErrTooLarge), service)
		if errors.Is(err, agent.ErrNotStarted) && !retried && waiting.Err() == nil {
			call.execution.Timing.Start += milliseconds(service)
			continue
		}
		if err == nil || errors.Is(err, agent.ErrLost) {
			utc := started.UTC()
			call.execution.StartedAt = &utc
			call.execution.Timing.Run = milliseconds(service)
		}
		out.stdout.dropped, out.stderr.dropped = exit.StdoutDropped, exit.StderrDropped
		return exit, err
	}
}

// enter counts a call in, unless the gateway drains.
func (r *Runner) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return false
	}
	r.running.Add(1)
	return true
}

// Drain refuses new calls and waits for the running ones; when ctx ends they
// are killed and answered.
func (r *Runner) Drain(ctx context.Context) {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.running.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		r.abandon(errAbandoned)
		<-done
	}
}

func (r *Runner) log(ctx context.Context, call *call, failure *Error) {
	x := call.execution
	attrs := []slog.Attr{
		slog.String("execution", x.ID), slog.String("action", x.Action), slog.String("status", string(x.Status)),
		slog.Float64("duration_ms", x.DurationMS),
	}
	level := slog.LevelDebug
	if failure != nil {
		level = slog.LevelWarn
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

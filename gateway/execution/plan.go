package execution

import (
	"context"
	"sync"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// plan is how an action's executions run in one environment: all that doesn't
// depend on the call. It is shared: nobody changes it.
type plan struct {
	shape   *runtimes.Shape
	process runtimes.Process // without the variables of one call
	via     agent.Via
	file    string // of the action, in the instance
}

// fits tells whether the plan is one for this image and environment.
func (p *plan) fits(image, digest, dir string) bool {
	return p.shape.Image.ID == image && p.shape.Digest == digest && p.shape.EnvDir == dir
}

// plans are the plans of one catalog's actions: with a catalog its plans go.
type plans struct {
	catalog  *pack.Catalog
	byAction sync.Map // *pack.Action → *plan, the latest
}

// plan says how the call runs, once its environment is there. release ends the
// call's hold on that.
func (r *Runner) plan(ctx context.Context, call *call) (_ *plan, release func(), err error) {
	start := time.Now()
	defer func() {
		end := time.Now()
		call.execution.Timing.Environment = milliseconds(end.Sub(start))
		call.span.Past("environment", start, end)
	}()
	rt := call.action.Runtime
	image, err := r.Images.Resolve(ctx, rt)
	if err != nil {
		return nil, nil, err
	}
	env, release := &envcache.Environment{}, func() {}
	if rt.HasEnvironment() {
		if env, err = r.environment(ctx, call, image); err != nil {
			return nil, nil, err
		}
		image, release = env.Image, env.Release // the generation before serves in the image before
	}
	plan, err := r.planFor(call.pack, call.action, image, env.Digest, env.Dir)
	if err != nil {
		release()
		return nil, nil, err
	}
	return plan, release, nil
}

func (r *Runner) environment(ctx context.Context, call *call, image container.Image) (*envcache.Environment, error) {
	recipe := recipe(call.pack, call.action.Runtime, image)
	if call.progress == nil {
		return r.Environments.Ensure(ctx, recipe)
	}
	return r.Environments.Follow(ctx, recipe, call.progress)
}

// planFor returns the action's plan for an image and environment, made at most
// once for each change.
func (r *Runner) planFor(p *pack.Pack, action *pack.Action, image container.Image, digest, dir string) (*plan, error) {
	known := r.plansOf(r.Catalog())
	if found, ok := known.byAction.Load(action); ok && found.(*plan).fits(image.ID, digest, dir) {
		return found.(*plan), nil
	}
	made, err := r.makePlan(p, action, image, digest, dir)
	if err == nil {
		known.byAction.Store(action, made)
	}
	return made, err
}

func (r *Runner) plansOf(catalog *pack.Catalog) *plans {
	known := r.plans.Load()
	if known == nil || known.catalog != catalog {
		known = &plans{catalog: catalog}
		r.plans.Store(known)
	}
	return known
}

func (r *Runner) makePlan(p *pack.Pack, action *pack.Action, image container.Image, digest, dir string) (*plan, error) {
	shape := &runtimes.Shape{
		Pack: string(p.Ref), Revision: p.Revision, PackDir: p.Dir,
		Runtime: action.Runtime, Image: image, Digest: digest, EnvDir: dir,
		Network: action.Network, Limits: action.Limits.Or(r.Limits.Defaults),
	}
	action.Warm.Fill(shape)
	if shape.Isolation == runtimes.IsolationWorker {
		shape.Vars = action.Vars
	}
	process, err := r.Box.Process(shape, action.EntryPoint, action.Vars, reserved(r.Box.Layout, p, action))
	if err != nil {
		return nil, err
	}
	return &plan{shape: shape, process: process, via: via(action), file: process.Argv[len(process.Argv)-1]}, nil
}

// via is how an action's processes come to be. What an interpreter reads at its
// start it must be started with.
func via(action *pack.Action) agent.Via {
	warm := action.Runtime.Warm
	switch {
	case warm.ReadAtStart(action.Vars):
		return agent.ViaExec
	case warm.Parent != "":
		return agent.ViaParent
	case warm.Stock != "":
		return agent.ViaStock
	}
	return agent.ViaExec
}

// reserved are the variables that only the gateway sets, as far as they are the
// same for every call.
func reserved(layout runtimes.Layout, p *pack.Pack, action *pack.Action) map[string]string {
	reserved := map[string]string{
		"ATTUNE_ACTION":             action.Ref.String(),
		"ATTUNE_PACK":               string(p.Ref),
		"ATTUNE_PACK_DIR":           layout.PackDir(string(p.Ref), p.Dir),
		"ATTUNE_PARAMETER_DELIVERY": string(action.Delivery),
		"ATTUNE_PARAMETER_FORMAT":   string(action.ParameterFormat),
	}
	if action.Delivery == pack.DeliverFile {
		reserved[agent.ParameterFile] = parameterFile(action) // the agent knows the directory
	}
	return reserved
}

// request is one execution's.
func (p *plan) request(call *call, limits Limits, out *output) agent.Request {
	env := append(make([]string, 0, len(p.process.Env)+2), p.process.Env...)
	env = append(env,
		"ATTUNE_EXEC_ID="+call.execution.ID,
		"ATTUNE_DEADLINE="+call.deadline.UTC().Format(time.RFC3339Nano))
	request := agent.Request{
		ID: call.execution.ID, Argv: p.process.Argv, Dir: p.process.Dir, Env: env,
		Via: p.via, Script: p.process.Argv[len(p.process.Argv)-1:], Grace: limits.Grace,
		StdoutLimit: out.stdout.limit, StderrLimit: out.stderr.limit,
	}
	call.deliver(&request)
	return request
}

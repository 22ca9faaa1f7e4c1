package execution

import (
	"context"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
)

// warmEvery is how often it is looked whether what is kept warm is still what
// calls would use: another gateway may have changed an environment.
const warmEvery = 15 * time.Second

// Warmth keeps the instances started that actions ask for by min_warm.
type Warmth struct {
	runner *Runner
	cache  *envcache.Cache
	keep   func([]*runtimes.Shape)
	wake   chan struct{}
}

// NewWarmth returns what keeps a runner's actions warm; keep is told the whole
// list each time (runtimes.Pools.Keep).
func NewWarmth(r *Runner, cache *envcache.Cache, keep func([]*runtimes.Shape)) *Warmth {
	return &Warmth{runner: r, cache: cache, keep: keep, wake: make(chan struct{}, 1)}
}

// Look has it looked at once what is to be kept: packs or an environment have
// changed. It doesn't block.
func (w *Warmth) Look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Event is Look for an environment that was built.
func (w *Warmth) Event(e envcache.Event) {
	if e.Phase == envcache.PhasePublished {
		w.Look()
	}
}

// Run keeps what is asked for until ctx ends.
func (w *Warmth) Run(ctx context.Context) error {
	tick := time.NewTicker(warmEvery)
	defer tick.Stop()
	for {
		w.keep(w.shapes(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-w.wake:
		}
	}
}

// shapes are those of the actions that want to be kept warm and can be: their
// environments are ready.
func (w *Warmth) shapes(ctx context.Context) []*runtimes.Shape {
	var shapes []*runtimes.Shape
	for _, p := range w.runner.Catalog().Packs() {
		for _, action := range p.Actions {
			if wanted := action.Warm.MinWarm; !p.Enabled || !action.Enabled || wanted == nil || *wanted == 0 {
				continue
			}
			if action.Network == runtimes.NetworkOutbound && !w.runner.Outbound(p.Ref) {
				continue
			}
			if shape := w.shape(ctx, p, action); shape != nil {
				shapes = append(shapes, shape)
			}
		}
	}
	return shapes
}

// shape is that of an action's next call; nil while there is none.
func (w *Warmth) shape(ctx context.Context, p *pack.Pack, action *pack.Action) *runtimes.Shape {
	ctx, cancel := context.WithTimeout(ctx, imageTimeout)
	defer cancel()
	image, err := w.runner.Images.Resolve(ctx, action.Runtime)
	if err != nil {
		return nil // logged by who calls, or builds
	}
	digest, dir := "", ""
	if action.Runtime.HasEnvironment() {
		env := w.environment(ctx, recipe(p, action.Runtime, image))
		if env == nil {
			return nil
		}
		defer env.Release()
		image, digest, dir = env.Image, env.Digest, env.Dir
	}
	plan, err := w.runner.planFor(p, action, image, digest, dir)
	if err != nil {
		return nil // a call will say why
	}
	return plan.shape
}

// environment is the one that serves, nil if there is none: it is not for us to
// have it built.
func (w *Warmth) environment(ctx context.Context, recipe *envcache.Recipe) *envcache.Environment {
	status, err := w.cache.Status(recipe)
	if err != nil || status.State != envcache.StateReady && status.Serving == "" {
		return nil
	}
	env, err := w.cache.Ensure(ctx, recipe)
	if err != nil {
		return nil
	}
	return env
}

package metrics

import (
	"context"
	"errors"

	"attune/runtimes/container"
)

// Engine counts the calls to a container engine. What goes on for as long as a
// container does (its output, its end) is no call.
func Engine(r *Registry, inner container.Engine) container.Engine {
	calls := r.Counter("engine_calls_total", "Calls to the container engine, by operation and outcome.", "operation", "outcome")
	return &engine{inner, newHandles(func(k engineCall) *Counted { return calls.With(k.operation, k.outcome) })}
}

type engineCall struct{ operation, outcome string }

type engine struct {
	container.Engine
	calls *handles[engineCall, *Counted]
}

func (e *engine) count(operation string, err error) {
	outcome := "error"
	switch {
	case err == nil:
		outcome = "ok"
	case errors.Is(err, container.ErrUnavailable):
		outcome = "unavailable"
	case errors.Is(err, container.ErrNoImage):
		outcome = "no_image"
	case errors.Is(err, container.ErrNameTaken):
		outcome = "name_taken"
	case errors.Is(err, container.ErrNoContainer):
		outcome = "no_container"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		outcome = "given_up"
	}
	e.calls.of(engineCall{operation, outcome}).Inc()
}

// Info implements container.Engine.
func (e *engine) Info(ctx context.Context) (container.Info, error) {
	info, err := e.Engine.Info(ctx)
	e.count("info", err)
	return info, err
}

// Image implements container.Engine.
func (e *engine) Image(ctx context.Context, ref string) (container.Image, error) {
	image, err := e.Engine.Image(ctx, ref)
	e.count("image", err)
	return image, err
}

// Create implements container.Engine.
func (e *engine) Create(ctx context.Context, spec container.Spec) (container.Container, error) {
	made, err := e.Engine.Create(ctx, spec)
	e.count("create", err)
	if err != nil {
		return nil, err
	}
	return &counted{made, e}, nil
}

// Find implements container.Engine.
func (e *engine) Find(ctx context.Context, labels map[string]string) ([]container.Container, error) {
	found, err := e.Engine.Find(ctx, labels)
	e.count("find", err)
	for i, c := range found {
		found[i] = &counted{c, e}
	}
	return found, err
}

// counted is a container whose calls are counted.
type counted struct {
	container.Container
	engine *engine
}

// Start implements container.Container.
func (c *counted) Start(ctx context.Context) error {
	err := c.Container.Start(ctx)
	c.engine.count("start", err)
	return err
}

// State implements container.Container.
func (c *counted) State(ctx context.Context) (container.State, error) {
	state, err := c.Container.State(ctx)
	c.engine.count("state", err)
	return state, err
}

// Remove implements container.Container.
func (c *counted) Remove(ctx context.Context) error {
	err := c.Container.Remove(ctx)
	c.engine.count("remove", err)
	return err
}

// Up shows what the checks of the gateway's health have found last.
func Up(r *Registry, checks func() map[string]bool) {
	r.Gauges("up", "Whether what the gateway depends on works (1) or not (0), by part: engine, redis or state, environments, space.", []string{"part"}, func(emit Emit) {
		for part, ok := range checks() {
			emit(map[bool]float64{true: 1}[ok], part)
		}
	})
}

package envcache

import (
	"context"
	"io"
	"sync"
	"testing"

	"attune/runtimes/container"
)

// spyEngine is an engine that counts builders and can be told to misbehave.
type spyEngine struct {
	container.Engine

	mu         sync.Mutex
	builders   int
	create     func(container.Spec) error                    // before a create
	wrap       func(container.Container) container.Container // what is created or found
	find       func() error
	changeSpec func(*container.Spec) // what is created instead
}

func (e *spyEngine) Create(ctx context.Context, spec container.Spec) (container.Container, error) {
	e.mu.Lock()
	create, change := e.create, e.changeSpec
	e.mu.Unlock()
	if change != nil {
		change(&spec)
	}
	if create != nil {
		if err := create(spec); err != nil {
			return nil, err
		}
	}
	created, err := e.Engine.Create(ctx, spec)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if spec.Labels[container.LabelRole] == container.RoleBuilder {
		e.builders++
	}
	return e.wrapped(created), nil
}

func (e *spyEngine) Find(ctx context.Context, labels map[string]string) ([]container.Container, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.find != nil {
		if err := e.find(); err != nil {
			return nil, err
		}
	}
	found, err := e.Engine.Find(ctx, labels)
	for i, c := range found {
		found[i] = e.wrapped(c)
	}
	return found, err
}

func (e *spyEngine) wrapped(c container.Container) container.Container {
	if e.wrap == nil {
		return c
	}
	return e.wrap(c)
}

// set changes the engine's behaviour.
func (e *spyEngine) set(change func(*spyEngine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change(e)
}

func (e *spyEngine) wantBuilders(t *testing.T, want int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.builders != want {
		t.Errorf("%d builders were made, want %d", e.builders, want)
	}
}

// odd is a container some of whose methods do something else.
type odd struct {
	container.Container
	start  func(context.Context) error
	wait   func(context.Context) (container.Exit, error)
	remove func(context.Context) error
	logs   func(context.Context, io.Writer) error
}

func (o *odd) Start(ctx context.Context) error {
	if o.start != nil {
		return o.start(ctx)
	}
	return o.Container.Start(ctx)
}

func (o *odd) Wait(ctx context.Context) (container.Exit, error) {
	if o.wait != nil {
		return o.wait(ctx)
	}
	return o.Container.Wait(ctx)
}

func (o *odd) Remove(ctx context.Context) error {
	if o.remove != nil {
		return o.remove(ctx)
	}
	return o.Container.Remove(ctx)
}

func (o *odd) Logs(ctx context.Context, w io.Writer) error {
	if o.logs != nil {
		return o.logs(ctx, w)
	}
	return o.Container.Logs(ctx, w)
}

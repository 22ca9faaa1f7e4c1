package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	"attune/runtimes/container"
)

var _ container.Container = (*instance)(nil)

var errStartedBefore = errors.New("it was started before")

type instance struct {
	engine *Engine
	id     string
	spec   container.Spec
	output *output
	exited chan struct{} // closed after the exit, when nothing of the group is left
	gone   chan struct{} // closed when removed

	bury sync.Once

	mu      sync.Mutex
	phase   container.Phase
	exit    container.Exit
	started bool
	group   int // ID of the process group while it can be killed, else 0
}

func newInstance(e *Engine, id string, spec container.Spec) *instance {
	return &instance{
		engine: e, id: id, spec: spec, phase: container.PhaseCreated,
		output: newOutput(), exited: make(chan struct{}), gone: make(chan struct{}),
	}
}

func (i *instance) ID() string                { return i.id }
func (i *instance) Name() string              { return i.spec.Name }
func (i *instance) Labels() map[string]string { return i.spec.Labels }

func (i *instance) wrap(doing string, err error) error {
	return fmt.Errorf("%s container %s: %w", doing, i.spec.Name, err)
}

// Start starts the program as the leader of a session of its own.
func (i *instance) Start(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock() // over the start, so that Remove finds either no process or its group
	switch {
	case ctx.Err() != nil:
		return i.wrap("start", container.Ended(ctx))
	case i.phase == container.PhaseGone:
		return i.wrap("start", container.ErrNoContainer)
	case i.phase != container.PhaseCreated:
		return i.wrap("start", errStartedBefore)
	}
	started := make(chan error)
	go i.run(started)
	if err := <-started; err != nil {
		return i.wrap("start", err)
	}
	i.started = true
	i.phase = container.PhaseRunning
	return nil
}

// State tells where in its life the container is.
func (i *instance) State(context.Context) (container.State, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	select {
	case <-i.gone:
		return container.State{}, i.wrap("inspect", container.ErrNoContainer)
	default:
		return container.State{Phase: i.phase, Exit: i.exit}, nil
	}
}

// Wait returns when the program has exited.
func (i *instance) Wait(ctx context.Context) (container.Exit, error) {
	select {
	case <-i.exited:
	case <-i.gone:
	case <-ctx.Done():
		return container.Exit{}, i.wrap("wait for", container.Ended(ctx))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.phase == container.PhaseGone {
		return container.Exit{}, i.wrap("wait for", container.ErrNoContainer)
	}
	return i.exit, nil
}

// Logs copies what is kept, and follows.
func (i *instance) Logs(ctx context.Context, w io.Writer) error {
	select {
	case <-i.gone:
		return i.wrap("read logs of", container.ErrNoContainer)
	default:
	}
	for at := int64(0); ; {
		chunk, next, more := i.output.from(at)
		if len(chunk) > 0 {
			if _, err := w.Write(chunk); err != nil {
				return i.wrap("write logs of", err)
			}
		}
		if at = next; more == nil {
			return nil
		}
		select {
		case <-more:
		case <-i.gone:
			return nil
		case <-ctx.Done():
			return i.wrap("read logs of", container.Ended(ctx))
		}
	}
}

// Remove ends the program, and returns when its process group is gone. An agent
// is told first: what it runs is in sessions of its own, and only it can find
// all of that.
func (i *instance) Remove(ctx context.Context) error {
	if i.condemn() {
		unheard := time.AfterFunc(termGrace, i.endGroup)
		defer unheard.Stop()
		select {
		case <-i.exited:
		case <-ctx.Done():
			return i.wrap("remove", container.Ended(ctx))
		}
	}
	i.bury.Do(func() {
		i.engine.forget(i)
		close(i.gone)
	})
	return nil
}

// condemn tells whether there is an exit to wait for.
func (i *instance) condemn() (started bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.phase = container.PhaseGone
	if i.group != 0 {
		i.signal(i.group, syscall.SIGTERM)
	}
	return i.started
}

package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"attune/runtimes/container"

	"github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
)

var _ container.Container = (*instance)(nil)

// instance is a handle: it knows nothing that the engine could change.
type instance struct {
	engine   *Engine
	id, name string
	labels   map[string]string
}

func (i *instance) ID() string                { return i.id }
func (i *instance) Name() string              { return i.name }
func (i *instance) Labels() map[string]string { return i.labels }

func (i *instance) wrap(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s container %s: %w", doing, i.name, portError(ctx, err, container.ErrNoContainer))
}

func (i *instance) Start(ctx context.Context) error {
	_, err := ask(ctx, i.engine, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, i.engine.client.ContainerStart(ctx, i.id, api.StartOptions{})
	})
	return i.wrap(ctx, "start", err)
}

func (i *instance) State(ctx context.Context) (container.State, error) {
	found, err := ask(ctx, i.engine, func(ctx context.Context) (api.InspectResponse, error) {
		return i.engine.client.ContainerInspect(ctx, i.id)
	})
	if err != nil {
		return container.State{}, i.wrap(ctx, "inspect", err)
	}
	return stateOf(found.State), nil
}

func stateOf(s *api.State) container.State {
	switch s.Status {
	case api.StateCreated:
		return container.State{Phase: container.PhaseCreated}
	case api.StateExited:
		return container.State{
			Phase: container.PhaseExited,
			Exit:  container.Exit{Code: s.ExitCode, OutOfMemory: s.OOMKilled},
		}
	case api.StateRemoving, api.StateDead:
		return container.State{Phase: container.PhaseGone}
	}
	return container.State{Phase: container.PhaseRunning} // also paused
}

// Wait first subscribes to the next exit, then looks whether it was before:
// the other way round an exit in between would be missed, and the engine's
// "not running" is also true of a container that was not started yet. Now and
// then it looks again: an engine that hangs never says so.
func (i *instance) Wait(ctx context.Context) (container.Exit, error) {
	subscription, cancel := context.WithCancel(ctx)
	defer cancel()
	unheard := time.AfterFunc(i.engine.options.RequestTimeout, cancel) // the client waits for the answer to begin
	exits, errs := i.engine.client.ContainerWait(subscription, i.id, api.WaitConditionNextExit)
	unheard.Stop()
	exit, over, err := i.exit(ctx)
	again := time.NewTicker(i.engine.options.RequestTimeout)
	defer again.Stop()
	for announced := false; !announced; { // also joins the client's goroutine
		if over {
			cancel()
		}
		select {
		case <-exits:
			announced = true
		case waitErr := <-errs:
			if !over {
				return container.Exit{}, i.wrap(ctx, "wait for", waitErr)
			}
			announced = true
		case <-again.C:
			if !over {
				exit, over, err = i.exit(ctx)
			}
		}
	}
	if !over {
		exit, over, err = i.exit(ctx)
	}
	if !over {
		err = fmt.Errorf("wait for container %s: its exit was announced, but it is not over", i.name)
	}
	return exit, err
}

// exit tells whether there is nothing to wait for any more, and the result.
func (i *instance) exit(ctx context.Context) (exit container.Exit, over bool, err error) {
	state, err := i.State(ctx)
	switch {
	case err != nil:
		return container.Exit{}, true, err
	case state.Phase == container.PhaseExited:
		return state.Exit, true, nil
	case state.Phase == container.PhaseGone:
		return container.Exit{}, true, fmt.Errorf("wait for container %s: %w", i.name, container.ErrNoContainer)
	}
	return container.Exit{}, false, nil
}

// Remove returns nil only when the container is really gone and its name free.
// The engine refuses while another removal is in progress, and now and then
// fails on a file system that is still busy; both pass.
func (i *instance) Remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.engine.options.RemoveTimeout)
	defer cancel()
	for {
		err := i.engine.client.ContainerRemove(ctx, i.id, api.RemoveOptions{Force: true, RemoveVolumes: true})
		switch {
		case err == nil, errdefs.IsNotFound(err):
			return nil
		case !errdefs.IsConflict(err) && !errdefs.IsInternal(err):
			return i.wrap(ctx, "remove", err)
		}
		if i.awaitRemoval(ctx) {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(i.wrap(ctx, "remove", container.Ended(ctx)), err)
		}
	}
}

// retryRemoval is how long another's removal is waited for before the next try.
const retryRemoval = 250 * time.Millisecond

func (i *instance) awaitRemoval(ctx context.Context) (gone bool) {
	pause, cancel := context.WithTimeout(ctx, retryRemoval)
	defer cancel()
	removed, errs := i.engine.client.ContainerWait(pause, i.id, api.WaitConditionRemoved)
	select {
	case <-removed:
		return true
	case err := <-errs:
		if errdefs.IsNotFound(err) {
			return true
		}
		<-pause.Done() // whatever it was, the next try will tell
		return false
	}
}

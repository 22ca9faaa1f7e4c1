package containertest

import (
	"errors"
	"io"
	"testing"

	"attune/runtimes/container"
)

func exerciseRemove(t *testing.T, b *bench) {
	for state, prepare := range map[string]func(t *testing.T, c container.Container){
		"created": func(*testing.T, container.Container) {},
		"running": start,
		"exited":  func(t *testing.T, c container.Container) { start(t, c); b.fixture.Kill(t, c); wait(t, c) },
	} {
		t.Run(state, func(t *testing.T) {
			c := Create(t, b.engine, b.spec(blocks))
			prepare(t, c)
			for range 2 { // the second finds nothing, and is content
				if err := c.Remove(t.Context()); err != nil {
					t.Errorf("Remove(): %v", err)
				}
			}
			wantGone(t, c)
		})
	}
	t.Run("several at once", func(t *testing.T) {
		spec := b.spec(blocks)
		spec.Name = b.gateway + "-once"
		c := Start(t, b.engine, spec)
		removed := make(chan error)
		for range 4 {
			go func() {
				err := c.Remove(t.Context())
				// The name is free whoever did it.
				if _, stateErr := c.State(t.Context()); err == nil && !errors.Is(stateErr, container.ErrNoContainer) {
					err = errors.New("Remove() returned before the container was gone")
				}
				removed <- err
			}()
		}
		for range 4 {
			if err := <-removed; err != nil {
				t.Errorf("Remove(): %v", err)
			}
		}
		Create(t, b.engine, spec)
	})
}

func start(t *testing.T, c container.Container) {
	t.Helper()
	if err := c.Start(t.Context()); err != nil {
		t.Fatalf("Start(): %v", err)
	}
}

// wantGone asks everything of a container that was removed.
func wantGone(t *testing.T, c container.Container) {
	t.Helper()
	_, stateErr := c.State(t.Context())
	_, waitErr := c.Wait(t.Context())
	for call, err := range map[string]error{
		"State()": stateErr,
		"Wait()":  waitErr,
		"Start()": c.Start(t.Context()),
		"Logs()":  c.Logs(t.Context(), io.Discard),
	} {
		if !errors.Is(err, container.ErrNoContainer) {
			t.Errorf("%s = %v, want ErrNoContainer", call, err)
		}
	}
}

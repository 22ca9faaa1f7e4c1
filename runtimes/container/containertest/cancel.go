package containertest

import (
	"context"
	"errors"
	"testing"
)

var errLeft = errors.New("the client left")

func exerciseCancel(t *testing.T, b *bench) {
	t.Run("while waiting and reading", func(t *testing.T) {
		c := Start(t, b.engine, b.spec(blocks))
		for call, do := range map[string]func(ctx context.Context, ready func()) error{
			"Wait()": func(ctx context.Context, ready func()) error {
				ready()
				_, err := c.Wait(ctx)
				return err
			},
			"Logs()": func(ctx context.Context, ready func()) error {
				return c.Logs(ctx, notifying(ready))
			},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			wantEnded(t, call, do(ctx, func() { cancel(errLeft) }))
		}
		if err := c.Remove(t.Context()); err != nil {
			t.Errorf("Remove(): %v", err)
		}
	})
	t.Run("before anything", func(t *testing.T) {
		c := Create(t, b.engine, b.spec("true"))
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errLeft)
		wantEnded(t, "Start()", c.Start(ctx))
		start(t, c)
		_, err := c.Wait(ctx)
		if err != nil { // the exit may have been first
			wantEnded(t, "Wait()", err)
		}
		_, err = b.engine.Find(ctx, nil)
		wantEnded(t, "Find()", err)
		_, err = b.engine.Create(ctx, b.spec("true"))
		wantEnded(t, "Create()", err)
		_, err = b.engine.Image(ctx, b.fixture.Image)
		wantEnded(t, "Image()", err)
		_, err = b.engine.Info(ctx)
		wantEnded(t, "Info()", err)
	})
}

func wantEnded(t *testing.T, call string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) || !errors.Is(err, errLeft) {
		t.Errorf("%s = %v, want context.Canceled and its cause", call, err)
	}
}

// notifying is a writer that reports each write.
type notifying func()

func (n notifying) Write(p []byte) (int, error) {
	n()
	return len(p), nil
}

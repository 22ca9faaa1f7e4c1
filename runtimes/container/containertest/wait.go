package containertest

import (
	"errors"
	"testing"

	"attune/runtimes/container"
)

func exerciseWait(t *testing.T, b *bench) {
	t.Run("an exit that was before", func(t *testing.T) {
		c := Start(t, b.engine, b.spec("exit 4"))
		for range 3 {
			if exit := wait(t, c); exit.Code != 4 {
				t.Errorf("exit = %+v, want code 4", exit)
			}
		}
	})
	t.Run("one that is not started yet", func(t *testing.T) {
		c := Create(t, b.engine, b.spec("exit 5"))
		result := waiting(t, c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatalf("Start(): %v", err)
		}
		if r := <-result; r.err != nil || r.exit.Code != 5 {
			t.Errorf("Wait() = %+v, %v; want code 5", r.exit, r.err)
		}
	})
	t.Run("all who wait are told", func(t *testing.T) {
		c := Start(t, b.engine, b.spec("exit 6"))
		results := []<-chan waitResult{waiting(t, c), waiting(t, c), waiting(t, c)}
		for _, result := range results {
			if r := <-result; r.err != nil || r.exit.Code != 6 {
				t.Errorf("Wait() = %+v, %v; want code 6", r.exit, r.err)
			}
		}
	})
	t.Run("a removed container", func(t *testing.T) {
		c := Start(t, b.engine, b.spec("true"))
		if err := c.Remove(t.Context()); err != nil {
			t.Fatalf("Remove(): %v", err)
		}
		if _, err := c.Wait(t.Context()); !errors.Is(err, container.ErrNoContainer) {
			t.Errorf("Wait() = %v, want ErrNoContainer", err)
		}
	})
	t.Run("removed meanwhile", func(t *testing.T) {
		for _, start := range []bool{true, false} {
			c := Create(t, b.engine, b.spec(blocks))
			if start {
				if err := c.Start(t.Context()); err != nil {
					t.Fatalf("Start(): %v", err)
				}
			}
			result := waiting(t, c)
			if err := c.Remove(t.Context()); err != nil {
				t.Fatalf("Remove(): %v", err)
			}
			if r := <-result; !errors.Is(r.err, container.ErrNoContainer) {
				t.Errorf("started %v: Wait() = %+v, %v; want ErrNoContainer", start, r.exit, r.err)
			}
		}
	})
}

type waitResult struct {
	exit container.Exit
	err  error
}

func waiting(t *testing.T, c container.Container) <-chan waitResult {
	result := make(chan waitResult, 1)
	go func() {
		exit, err := c.Wait(t.Context())
		result <- waitResult{exit, err}
	}()
	return result
}

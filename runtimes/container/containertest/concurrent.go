package containertest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"attune/runtimes/container"
)

func exerciseConcurrent(t *testing.T, b *bench) {
	t.Run("one of many gets the name", func(t *testing.T) {
		spec := b.spec("true")
		spec.Name = b.gateway + "-mutex"
		var won atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				_, err := b.engine.Create(t.Context(), spec)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, container.ErrNameTaken) {
					t.Errorf("Create(): %v, want ErrNameTaken", err)
				}
			})
		}
		if all.Wait(); won.Load() != 1 {
			t.Errorf("%d creates got the name", won.Load())
		}
	})
	t.Run("whole lives side by side", func(t *testing.T) {
		for n := range 6 {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				exit, output := Run(t, b.engine, b.spec(fmt.Sprintf("echo %d; exit %d", n, n)))
				if exit.Code != n || output != fmt.Sprintln(n) {
					t.Errorf("exit = %+v, output %q; want %d", exit, output, n)
				}
			})
		}
	})
}

package tests

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// shared is one gateway with the example packs for the tests that change
// nothing about it.
var shared struct {
	sync.Once
	*gateway
	failed bool
	home   home
}

// sharedTB stands for the whole run: the shared gateway outlives the test that
// happens to start it.
type sharedTB struct {
	testing.TB
	cleanups []func()
}

func (s *sharedTB) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

var sharedCleanups []func()

// examples returns the shared gateway.
func examples(t testing.TB) *gateway {
	t.Helper()
	containertest.RequireDocker(t)
	shared.Do(func() {
		shared.failed = true
		tb := &sharedTB{TB: t}
		h := newHome(tb, "core", "python_example", "nodejs_example", "shell_example")
		shared.gateway = h.launch(tb)
		sharedCleanups = tb.cleanups
		shared.failed = false
	})
	if shared.failed {
		t.Fatal("the shared gateway could not be started")
	}
	return shared.gateway
}

// closeShared stops the shared gateway, which must end as any other: in time,
// and without a complaint.
func closeShared() (err error) {
	if g := shared.gateway; g != nil {
		shapes := g.checkShapes()
		g.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-g.ended:
		case <-time.After(time.Minute):
			g.cmd.Process.Kill()
			<-g.ended
		}
		if code := g.cmd.ProcessState.ExitCode(); code != 0 {
			err = fmt.Errorf("the shared gateway ended with exit code %d:\n%s", code, g.text())
		}
		err = errors.Join(err, shapes)
	}
	for _, f := range sharedCleanups {
		f()
	}
	return err
}

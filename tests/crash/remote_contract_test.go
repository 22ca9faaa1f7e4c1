package crash

import (
	"sync"
	"syscall"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
)

// What the gateways of these tests are given is an engine like any other.
func TestBorrowedEngineKeepsTheContract(t *testing.T) {
	t.Parallel()
	var hosts sync.Map // by the remote that borrows from it
	containertest.Exercise(t, func(t *testing.T) container.Engine {
		h := newHost(t)
		r := newRemote(h.socket)
		hosts.Store(r, h)
		return r
	}, containertest.Fixture{
		Image: "any",
		Kill: func(t *testing.T, c container.Container) {
			h, _ := hosts.Load(c.(*borrowed).engine)
			if err := h.(*host).signal(c.ID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
	})
}

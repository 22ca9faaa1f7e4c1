package api

import (
	"context"
	"errors"
	"net"
	"time"
)

// errClientLeft is the cause with which a call is cancelled whose client left.
var errClientLeft = errors.New("the client left")

// disconnectPoll is how often a running call looks for its client.
const disconnectPoll = 200 * time.Millisecond

// watch returns a context that ends when the client leaves: fasthttp reads
// nothing while a handler runs, and so never notices. The caller must call
// release, which returns when the watching has ended.
func (s *Server) watch(c net.Conn) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(s.base)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(disconnectPoll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if disconnected(c) {
					cancel(errClientLeft)
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

package api

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
)

// errClientLeft is the cause with which a call is cancelled whose client left.
var errClientLeft = errors.New("the client left")

// disconnectPoll is how often the clients of running calls are looked for.
const disconnectPoll = 200 * time.Millisecond

// watched is a call that ends when its client leaves.
type watched struct{ cancel context.CancelCauseFunc }

// watch returns a context that ends when the client leaves: fasthttp reads
// nothing while a handler runs, and so never notices. The caller must call
// release, after which the connection may have its next call.
func (s *Server) watch(c net.Conn) (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(s.base)
	own, ok := c.(*conn)
	if !ok {
		return ctx, func() { cancel(nil) }
	}
	own.watched.Store(&watched{cancel})
	return ctx, func() {
		own.watched.Store(nil)
		cancel(nil)
	}
}

// audience is watch for a call. One that runs under a key goes on without its
// client, who may come back for the answer.
func (s *Server) audience(c *fiber.Ctx, call *call) (ctx context.Context, release func()) {
	if call.claim != nil {
		return s.base, func() {}
	}
	return s.watch(c.Context().Conn())
}

// watchClients looks for the clients of all running calls until done is closed:
// one goroutine for all, as most calls end before it has looked once.
func (l *listener) watchClients(done <-chan struct{}) {
	tick := time.NewTicker(disconnectPoll)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		for _, c := range l.chosen(func(c *conn) bool { return c.watched.Load() != nil }) {
			// First the call, then the look: if that ends meanwhile, cancelling it
			// is nothing, and the connection's next call is looked for next time.
			if call := c.watched.Load(); call != nil && disconnected(c) {
				call.cancel(errClientLeft)
			}
		}
	}
}

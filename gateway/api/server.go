// Package api is the gateway's HTTP side: it refuses what is not a well-formed
// request, turns the others into calls of the gateway's parts, and answers in
// JSON, every error as a problem of RFC 9457.
//
// A request passes guard.go (framing, target, origin), the table in routes.go,
// and one handler in the file of its resource. Whatever fails comes back as an
// error and is written by problem.go alone. It is the only package that knows
// Fiber, and no Fiber type leaves it.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"attune/gateway/key"
	"attune/gateway/limit"
	"attune/gateway/mcp"
)

// errDrained is the cause with which calls are cancelled that outlive the
// time a Shutdown was given.
var errDrained = errors.New("the gateway stopped")

// Server answers HTTP requests. Listen, then Serve; Shutdown may be called at
// any time, and more than once.
type Server struct {
	Options

	app      *fiber.App
	route    fasthttp.RequestHandler // Fiber's router
	http     *fasthttp.Server        // Fiber's, with our handlers around it
	listener *listener
	gate     *gate
	tools    *mcp.Handler
	openapi  documents
	health   *health
	made     time.Time // now
	leave    func()    // gate.leave, made once

	anonymous key.Key // what everybody may do where a key is needed for the rest
	slots     limit.Slots

	// base is the context of every call: it outlives the client, and ends only
	// when a Shutdown runs out of time.
	base context.Context
	stop context.CancelCauseFunc
}

// New returns a Server that does not listen yet.
func New(options Options) (*Server, error) {
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("make the api: %w", err)
	}
	s := &Server{Options: options.withDefaults(), gate: newGate()}
	s.leave = s.gate.leave
	s.tools = mcp.New(s.Version, s.Logger)
	s.anonymous.Scopes = s.Anonymous
	s.base, s.stop = context.WithCancelCause(context.Background())
	s.health, s.made = newHealth(s.Health, s.base), time.Now().UTC()
	s.app = fiber.New(fiber.Config{
		AppName:                      "attune",
		Immutable:                    true, // strings from Fiber outlive the request
		CaseSensitive:                true,
		StrictRouting:                true,
		UnescapePath:                 false, // a ref is checked as it was sent
		RequestMethods:               methods,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true,
		BodyLimit:                    s.Limits.Body,
		ReadBufferSize:               s.Limits.Header,
		ReadTimeout:                  s.Limits.ReadTimeout,
		WriteTimeout:                 s.Limits.WriteTimeout,
		IdleTimeout:                  s.Limits.IdleTimeout,
		ReduceMemoryUsage:            true, // see ahead.go
		ErrorHandler:                 func(c *fiber.Ctx, err error) error { s.fail(c.Context(), err); return nil },
	})
	s.register()
	s.route = s.app.Handler()
	s.http = s.app.Server()
	s.http.Handler = s.handle
	s.http.ErrorHandler = s.malformed
	s.http.CloseOnShutdown = true
	return s, nil
}

// Listen takes the address, "127.0.0.1:8080"; port 0 picks a free one.
func (s *Server) Listen(addr string) error {
	var config net.ListenConfig
	l, err := config.Listen(s.base, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on %s: %w: stop the program that has it, or choose another port with ATTUNE__SERVER__PORT", addr, err)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	s.listener = newListener(l.(*net.TCPListener), s.Limits.ConnectionsPerIP, s.Limits.ReadTimeout)
	if s.BaseURL == "" {
		s.BaseURL = "http://" + reachable(s.listener.Addr())
	}
	return nil
}

// reachable turns "any address" into one that a curl on this machine reaches.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return addr.String()
	}
	return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
}

// Addr is the address listened on, nil before Listen.
func (s *Server) Addr() net.Addr {
	if s.listener == nil {
		return nil
	}
	return s.listener.Addr()
}

// Serve answers requests until ctx ends or Shutdown closes the port. When ctx
// ends it shuts down by itself, within Limits.Drain.
func (s *Server) Serve(ctx context.Context) error {
	if s.listener == nil {
		return errors.New("serve: not listening")
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { s.listener.watchClients(done) })
	defer watching.Wait()
	defer close(done)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		if err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	case <-ctx.Done():
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Limits.Drain)
		defer cancel()
		err := s.Shutdown(ctx)
		return errors.Join(err, <-served)
	}
}

// Drain makes /readyz and every new call answer 503 while what runs goes on.
// Calling it some seconds before Shutdown lets a load balancer look elsewhere.
func (s *Server) Drain() { s.gate.shut() }

// answerOn waits until Limits.Settle has passed since the last answer, or for ctx.
func (s *Server) answerOn(ctx context.Context) {
	rest := time.NewTimer(s.Limits.Settle - time.Since(s.gate.lastLeft()))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
}

// Shutdown drains, waits for running calls until ctx ends, cancels those that
// are left, and closes every connection. The port stays open to the end, so
// that a new call is told 503 instead of being refused.
func (s *Server) Shutdown(ctx context.Context) error {
	var cut error
	idle := s.gate.shut()
	select {
	case <-idle:
	case <-ctx.Done():
		cut = fmt.Errorf("shut down: %d calls were cut off: %w", s.gate.running(), ctx.Err())
		s.stop(errDrained)
		select {
		case <-idle:
		case <-time.After(2 * time.Second): // for a cancelled call to be answered
		}
	}
	if s.listener == nil {
		s.stop(errDrained)
		return cut
	}
	s.answerOn(ctx)
	s.stop(errDrained)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s.listener.closeUnused()
	if err := s.http.ShutdownWithContext(ctx); err != nil {
		s.Logger.Warn("connections closed with an answer half written", slog.Any("error", err))
	}
	// Twice in general, but fasthttp does not know a listener that Serve has not
	// given it yet.
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		cut = errors.Join(cut, fmt.Errorf("shut down: %w", err))
	}
	s.listener.closeAll()
	return cut
}

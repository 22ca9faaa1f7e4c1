package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
)

// healthTimeout bounds all checks of one question together.
const healthTimeout = 5 * time.Second

type indexPayload struct {
	Name    string            `json:"name"`
	Version string            `json:"version"`
	Links   map[string]string `json:"links"`
}

// index says what answers here.
func (s *Server) index(c *fiber.Ctx, _ *call) error {
	return writeJSON(c, indexPayload{"Attune Gateway", s.Version, map[string]string{
		"actions":      "/api/v1/actions",
		"docs":         "/docs",
		"environments": "/api/v1/environments",
		"executions":   "/api/v1/executions",
		"health":       "/healthz",
		"mcp":          "/mcp",
		"openapi":      "/openapi.json",
		"metrics":      "/metrics",
		"packs":        "/api/v1/packs",
		"problems":     "/problems",
		"readiness":    "/readyz",
	}})
}

type healthPayload struct {
	Status  string        `json:"status"`
	Version string        `json:"version"`
	Checks  []HealthCheck `json:"checks,omitempty"`
}

// alive answers as long as the program does.
func (s *Server) alive(c *fiber.Ctx, _ *call) error {
	return writeJSON(c, healthPayload{Status: "ok", Version: s.Version})
}

// ready answers 200 while new calls should be sent here.
func (s *Server) ready(c *fiber.Ctx, call *call) error {
	checks := s.Checks()
	if i := slices.IndexFunc(checks, func(check HealthCheck) bool { return check.Required && !check.OK }); i >= 0 {
		refused := refuseForNow(codeNotReady, "something that the gateway needs does not work", time.Second)
		if checks[i].Name == checkAccepting {
			refused = errDraining()
		}
		problem := s.problem(call, refused)
		problem.Checks = checks
		s.writeProblem(c.Context(), problem)
		return nil
	}
	return writeJSON(c, healthPayload{Status: "ready", Version: s.Version, Checks: checks})
}

// checkAccepting is the check of the server's own: whether it takes requests. It
// comes first.
const checkAccepting = "accepting"

// Checks tells what the gateway depends on, and since when each is as it is. What
// Options.Health finds is used for a second, whoever asks how often.
func (s *Server) Checks() []HealthCheck {
	accepting := HealthCheck{Name: checkAccepting, Required: true, OK: !s.gate.isShut(), Since: s.made}
	if !accepting.OK {
		accepting.Detail, accepting.Since = "the gateway is stopping and takes no new requests", s.gate.since()
	}
	return append([]HealthCheck{accepting}, s.health.checks()...)
}

// healthFor is how long checks count.
const healthFor = time.Second

// health remembers the last checks, so that probes cost the engine next to nothing.
type health struct {
	ask func() []HealthCheck

	mu    sync.Mutex // held while asking: who comes meanwhile gets the same answer
	asked time.Time
	last  []HealthCheck
	since map[string]HealthCheck // by name, with the time of its last change
}

func newHealth(source Health, base context.Context) *health {
	ask := func() []HealthCheck { return nil }
	if source != nil {
		ask = func() []HealthCheck {
			ctx, cancel := context.WithTimeout(base, healthTimeout)
			defer cancel()
			return source.Check(ctx)
		}
	}
	return &health{ask: ask, since: make(map[string]HealthCheck)}
}

func (h *health) checks() []HealthCheck {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.asked.IsZero() && time.Since(h.asked) < healthFor {
		return h.last
	}
	checks := slices.Clone(h.ask())
	h.asked = time.Now() // after the answer: one that came late is no older than it
	for i := range checks {
		before, known := h.since[checks[i].Name]
		if !known || before.OK != checks[i].OK {
			before = HealthCheck{OK: checks[i].OK, Since: h.asked.UTC()}
			h.since[checks[i].Name] = before
		}
		checks[i].Since = before.Since
	}
	h.last = checks
	return checks
}

// metrics shows what the gateway has counted.
func (s *Server) metrics(c *fiber.Ctx, call *call) error {
	if err := s.allow(call, key.Read, "*"); err != nil {
		return err
	}
	if s.Metrics == nil {
		return refuse(execution.CodeNotFound, "this gateway has no metrics")
	}
	contentType, body, err := s.Metrics.Expose()
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, contentType)
	c.Context().Response.SetBodyRaw(body)
	return nil
}

// Stats are what a Server does at a moment.
type Stats struct {
	Requests    int // that are being answered, probes left out
	Connections int // that are open
}

// Stats tell what the server does.
func (s *Server) Stats() Stats {
	stats := Stats{Requests: s.gate.running()}
	if l := s.listener; l != nil {
		l.mu.Lock()
		stats.Connections = len(l.open)
		l.mu.Unlock()
	}
	return stats
}

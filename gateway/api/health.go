package api

import (
	"context"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
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
		"packs":        "/api/v1/packs",
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
	if s.gate.isShut() {
		return refuseForNow(execution.CodeDraining, "the gateway takes no new requests", time.Second)
	}
	var checks []HealthCheck
	if s.Health != nil {
		ctx, cancel := context.WithTimeout(s.base, healthTimeout)
		defer cancel()
		checks = s.Health.Check(ctx)
	}
	for _, check := range checks {
		if check.Required && !check.OK {
			problem := s.problem(call, refuseForNow(codeNotReady, "something that the gateway needs does not work", time.Second))
			problem.Checks = checks
			s.writeProblem(c.Context(), problem)
			return nil
		}
	}
	return writeJSON(c, healthPayload{Status: "ready", Version: s.Version, Checks: checks})
}

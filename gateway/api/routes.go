package api

import (
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"attune/gateway/key"
)

// route is one line of the table below.
type route struct {
	method    string // GET is also HEAD
	pattern   string
	handle    func(*fiber.Ctx, *call) error
	verb      string   // what a key must be allowed somewhere; the handler asks for its resource by allow. Empty = open to all
	own       bool     // open, too, to a key that may call actions: for the executions that it has asked for itself
	query     []string // the parameters that it has; any other is refused
	openQuery bool     // any parameter, any number of times: the handler sees to them
	health    bool     // answers while draining, logged at debug level
}

// changes tells whether a route is for operators, who are trusted with more than
// callers of actions.
func (r route) changes() bool {
	return r.method != fiber.MethodGet && strings.HasPrefix(r.pattern, "/api/v1/")
}

// routes is everything that the gateway answers.
func (s *Server) routes() []route {
	table := []route{
		{method: "GET", pattern: "/", handle: s.index},
		{method: "GET", pattern: "/healthz", handle: s.alive, health: true},
		{method: "GET", pattern: "/readyz", handle: s.ready, health: true},
		{method: "GET", pattern: "/metrics", verb: key.Read, handle: s.metrics, health: true},
		{method: "GET", pattern: "/problems", handle: s.listProblems},
		{method: "GET", pattern: "/problems/:slug", handle: s.showProblem},

		{method: "POST", pattern: "/hooks/:key", handle: s.receiveHook, openQuery: true},
		{method: "GET", pattern: "/hooks/:key", handle: s.challengeHook, openQuery: true},

		{method: "POST", pattern: "/invoke/:ref", verb: key.Invoke, handle: s.invoke, query: []string{"timeout", "stream", "delay", "priority"}},

		{method: "POST", pattern: "/mcp", verb: key.Invoke, handle: s.serveTools},
		{method: "GET", pattern: "/openapi.json", handle: s.showOpenAPI},
		{method: "GET", pattern: "/docs", handle: s.showDocs},
		{method: "GET", pattern: "/docs/:file", handle: s.showDocs},

		{method: "GET", pattern: "/api/v1/packs", verb: key.Read, handle: s.listPacks},
		{method: "POST", pattern: "/api/v1/packs/register", verb: key.Operate, handle: s.registerPack},
		{method: "GET", pattern: "/api/v1/packs/:ref", verb: key.Read, handle: s.showPack},
		{method: "GET", pattern: "/api/v1/packs/:ref/actions", verb: key.Read, handle: s.listPackActions},
		{method: "GET", pattern: "/api/v1/packs/:ref/secrets", verb: key.Operate, handle: s.listSecrets},
		{method: "PUT", pattern: "/api/v1/packs/:ref/secrets/:name", verb: key.Operate, handle: s.setSecret},
		{method: "DELETE", pattern: "/api/v1/packs/:ref/secrets/:name", verb: key.Operate, handle: s.deleteSecret},

		{method: "GET", pattern: "/api/v1/actions", verb: key.Read, handle: s.listActions},
		{method: "GET", pattern: "/api/v1/actions/:ref", verb: key.Read, handle: s.showAction},

		{method: "GET", pattern: "/api/v1/environments", verb: key.Read, handle: s.listEnvironments},
		{method: "POST", pattern: "/api/v1/environments/prune", verb: key.Operate, handle: s.pruneEnvironments},
		{method: "GET", pattern: "/api/v1/environments/:pack/:runtime", verb: key.Read, handle: s.showEnvironment},
		{method: "DELETE", pattern: "/api/v1/environments/:pack/:runtime", verb: key.Operate, handle: s.removeEnvironment},
		{method: "GET", pattern: "/api/v1/environments/:pack/:runtime/log", verb: key.Read, handle: s.showEnvironmentLog},
		{method: "GET", pattern: "/api/v1/environments/:pack/:runtime/events", verb: key.Read, handle: s.watchEnvironment},
		{method: "POST", pattern: "/api/v1/environments/:pack/:runtime/build", verb: key.Operate, handle: s.buildEnvironment},
		{method: "POST", pattern: "/api/v1/environments/:pack/:runtime/rebuild", verb: key.Operate, handle: s.rebuildEnvironment},
		{method: "POST", pattern: "/api/v1/environments/:pack/:runtime/rollback", verb: key.Operate, handle: s.rollbackEnvironment},
		{method: "POST", pattern: "/api/v1/environments/:pack/:runtime/verify", verb: key.Operate, handle: s.verifyEnvironment},

		{method: "GET", pattern: "/api/v1/hooks", verb: key.Read, handle: s.listHooks},
		{method: "GET", pattern: "/api/v1/hooks/:ref", verb: key.Read, handle: s.showHook},
		{method: "POST", pattern: "/api/v1/hooks/:ref/rotate", verb: key.Operate, handle: s.rotateHook},
		{method: "POST", pattern: "/api/v1/hooks/:ref/test", verb: key.Operate, handle: s.testHook},
		{method: "GET", pattern: "/api/v1/hooks/:ref/deliveries", verb: key.Read, handle: s.listDeliveries, query: []string{"cursor", "limit"}},
		{method: "GET", pattern: "/api/v1/hooks/:ref/deliveries/:id", verb: key.Operate, handle: s.showDelivery},
		{method: "POST", pattern: "/api/v1/hooks/:ref/deliveries/:id/replay", verb: key.Operate, handle: s.replayDelivery},

		{method: "GET", pattern: "/api/v1/keys", verb: key.AdminVerb, handle: s.listKeys},
		{method: "POST", pattern: "/api/v1/keys", verb: key.AdminVerb, handle: s.createKey},
		{method: "DELETE", pattern: "/api/v1/keys/:id", verb: key.AdminVerb, handle: s.revokeKey},

		{method: "GET", pattern: "/api/v1/executions", verb: key.Read, handle: s.listExecutions,
			query: []string{"action", "status", "since", "cursor", "limit"}},
		{method: "GET", pattern: "/api/v1/executions/:id", verb: key.Read, own: true, handle: s.showExecution},
		{method: "GET", pattern: "/api/v1/executions/:id/logs/stdout", verb: key.Read, own: true, handle: s.showStdout, query: []string{"follow"}},
		{method: "GET", pattern: "/api/v1/executions/:id/logs/stderr", verb: key.Read, own: true, handle: s.showStderr, query: []string{"follow"}},
		{method: "POST", pattern: "/api/v1/executions/:id/cancel", verb: key.Operate, own: true, handle: s.cancelExecution},
		{method: "POST", pattern: "/api/v1/executions/execute", verb: key.Invoke, handle: s.execute},
		{method: "POST", pattern: "/api/v1/executions/:id/retry", verb: key.Invoke, own: true, handle: s.retryExecution},

		{method: "GET", pattern: "/api/v1/dead", verb: key.Read, handle: s.listDead, query: []string{"cursor", "limit"}},
		{method: "GET", pattern: "/api/v1/dead/:id", verb: key.Read, handle: s.showDead},
		{method: "DELETE", pattern: "/api/v1/dead/:id", verb: key.Operate, handle: s.removeDead},
		{method: "POST", pattern: "/api/v1/dead/:id/redrive", verb: key.Operate, handle: s.redriveDead},

		{method: "GET", pattern: "/api/v1/schedules", verb: key.Read, handle: s.listSchedules},
		{method: "POST", pattern: "/api/v1/schedules", verb: key.Operate, handle: s.createSchedule},
		{method: "GET", pattern: "/api/v1/schedules/:ref", verb: key.Read, handle: s.showSchedule},
		{method: "DELETE", pattern: "/api/v1/schedules/:ref", verb: key.Operate, handle: s.deleteSchedule},
		{method: "POST", pattern: "/api/v1/schedules/:ref/run", verb: key.Operate, handle: s.runSchedule},
		{method: "POST", pattern: "/api/v1/schedules/:ref/pause", verb: key.Operate, handle: s.pauseSchedule},
		{method: "POST", pattern: "/api/v1/schedules/:ref/resume", verb: key.Operate, handle: s.resumeSchedule},
	}
	return append(table, s.ownRoutes(key.Invoke)...)
}

// register puts the table into the router.
func (s *Server) register() {
	for _, r := range s.routes() {
		handler := func(c *fiber.Ctx) error { return s.answer(c, r) }
		if r.method == fiber.MethodGet {
			s.app.Get(r.pattern, handler) // and HEAD
			continue
		}
		s.app.Add(r.method, r.pattern, handler)
	}
}

// answer runs a route's handler with what all routes share around it.
func (s *Server) answer(c *fiber.Ctx, r route) error {
	call := callOf(c.Context())
	call.route, call.quiet, call.changes = r.pattern, r.health, r.changes()
	if !r.health {
		s.place(c.Context(), call)
		if err := s.admit(); err != nil {
			return err
		}
		call.leave = s.leave
		defer func() {
			if !call.streams {
				call.leave()
			}
		}()
	}
	if r.changes() {
		if err := s.checkBrowser(&c.Request().Header); err != nil {
			return err
		}
	}
	if err := s.authorize(c.Context(), call, r); err != nil {
		return err
	}
	query, err := readQuery(c.Context(), r)
	if err != nil {
		return err
	}
	call.query = query
	return r.handle(c, call)
}

// readQuery parses a query of known parameters, each at most once, unless the
// route has an open one.
func readQuery(ctx *fasthttp.RequestCtx, r route) (url.Values, error) {
	if len(ctx.URI().QueryString()) == 0 {
		return nil, nil // readable, as it is
	}
	query, err := url.ParseQuery(string(ctx.URI().QueryString()))
	if err != nil {
		return nil, refuse(codeInvalidQuery, "the query is not form-encoded")
	}
	if r.openQuery {
		return query, nil
	}
	for name, values := range query {
		if !slices.Contains(r.query, name) {
			return nil, refuse(codeInvalidQuery, "the query has a parameter that this resource does not have")
		}
		if len(values) > 1 {
			return nil, refuse(codeInvalidQuery, "the query repeats a parameter")
		}
	}
	return query, nil
}

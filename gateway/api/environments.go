package api

import (
	"cmp"
	"slices"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

const noEnvironment = "there is no such environment"

func (s *Server) listEnvironments(c *fiber.Ctx, call *call) error {
	items := slices.DeleteFunc(slices.Clone(s.Environments.List()), func(e envcache.Status) bool { return !call.sees(e.Pack) })
	slices.SortFunc(items, func(a, b envcache.Status) int {
		return cmp.Or(cmp.Compare(a.Pack, b.Pack), cmp.Compare(a.Runtime, b.Runtime))
	})
	return writeJSON(c, wholePage(items))
}

func (s *Server) showEnvironment(c *fiber.Ctx, call *call) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Read)
	if err != nil {
		return err
	}
	status, ok := s.Environments.Show(packRef, runtime)
	if !ok {
		return refuse(execution.CodeNotFound, noEnvironment)
	}
	return writeJSON(c, status)
}

func (s *Server) showEnvironmentLog(c *fiber.Ctx, call *call) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Read)
	if err != nil {
		return err
	}
	log, ok := s.Environments.Log(packRef, runtime)
	if _, known := s.Environments.Show(packRef, runtime); known && !ok {
		return refuse(execution.CodeNotFound, "the environment was never built")
	}
	if !ok {
		return refuse(execution.CodeNotFound, noEnvironment)
	}
	return writeLog(c, log)
}

// environmentOf checks both parts of an environment's name, which are components
// of a path later on, and whether it is the caller's business.
func (s *Server) environmentOf(c *fiber.Ctx, call *call, verb string) (packRef, runtime string, err error) {
	packRef, runtime = c.Params("pack"), c.Params("runtime")
	if _, err := pack.ParseRef(packRef); err != nil {
		return "", "", refuse(execution.CodeInvalidRef, packGrammar)
	}
	if _, err := pack.ParseRef(runtime); err != nil { // same grammar
		return "", "", refuse(execution.CodeInvalidRef, "a runtime's name is a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	return packRef, runtime, s.allow(call, verb, packRef)
}

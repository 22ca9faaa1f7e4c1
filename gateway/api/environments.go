package api

import (
	"cmp"
	"slices"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/pack"
)

const noEnvironment = "there is no such environment"

func (s *Server) listEnvironments(c *fiber.Ctx, _ *call) error {
	items := slices.Clone(s.Environments.List())
	slices.SortFunc(items, func(a, b envcache.Status) int {
		return cmp.Or(cmp.Compare(a.Pack, b.Pack), cmp.Compare(a.Runtime, b.Runtime))
	})
	return writeJSON(c, wholePage(items))
}

func (s *Server) showEnvironment(c *fiber.Ctx, _ *call) error {
	packRef, runtime, err := environmentRef(c)
	if err != nil {
		return err
	}
	status, ok := s.Environments.Show(packRef, runtime)
	if !ok {
		return refuse(execution.CodeNotFound, noEnvironment)
	}
	return writeJSON(c, status)
}

func (s *Server) showEnvironmentLog(c *fiber.Ctx, _ *call) error {
	packRef, runtime, err := environmentRef(c)
	if err != nil {
		return err
	}
	log, ok := s.Environments.Log(packRef, runtime)
	if !ok {
		return refuse(execution.CodeNotFound, "there is no such environment, or it was never built")
	}
	return writeLog(c, log)
}

// environmentRef checks both parts of an environment's name, which are
// components of a path later on.
func environmentRef(c *fiber.Ctx) (packRef, runtime string, err error) {
	packRef, runtime = c.Params("pack"), c.Params("runtime")
	if _, err := pack.ParseRef(packRef); err != nil {
		return "", "", refuse(execution.CodeInvalidRef, packGrammar)
	}
	if _, err := pack.ParseRef(runtime); err != nil { // same grammar
		return "", "", refuse(execution.CodeInvalidRef, "a runtime's name is a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	return packRef, runtime, nil
}

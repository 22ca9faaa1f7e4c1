package api

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
	"attune/runtimes/container"
)

// This file holds what operators do with environments.

func (s *Server) buildEnvironment(c *fiber.Ctx, call *call) error {
	return s.startBuild(c, call, s.Environments.Build)
}

func (s *Server) rebuildEnvironment(c *fiber.Ctx, call *call) error {
	return s.startBuild(c, call, s.Environments.Rebuild)
}

// startBuild answers with the state of a build that nobody waits for.
func (s *Server) startBuild(c *fiber.Ctx, call *call, start func(pack, runtime string) (envcache.Status, error)) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Operate)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	status, err := start(packRef, runtime)
	if err != nil {
		return explain(context.Background(), err)
	}
	c.Status(fiber.StatusAccepted)
	c.Set(fiber.HeaderLocation, environmentPath(packRef, runtime))
	return writeJSON(c, status)
}

// digestGrammar is that of a generation's name.
var digestGrammar = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (s *Server) rollbackEnvironment(c *fiber.Ctx, call *call) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Operate)
	if err != nil {
		return err
	}
	var digest string
	if err := readMembers(c, map[string]any{"digest": &digest}); err != nil {
		return err
	}
	if digest != "" && !digestGrammar.MatchString(digest) {
		return invalidMembers(pack.Problem{Pointer: "/digest", Detail: "must be the 32 digits and letters of a generation"})
	}
	status, err := s.Environments.Rollback(packRef, runtime, digest)
	if err != nil {
		return explain(context.Background(), err)
	}
	return writeJSON(c, status)
}

func (s *Server) verifyEnvironment(c *fiber.Ctx, call *call) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Operate)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	verification, err := s.Environments.Verify(ctx, packRef, runtime)
	if err != nil {
		return explain(ctx, err)
	}
	return writeJSON(c, verification)
}

func (s *Server) pruneEnvironments(c *fiber.Ctx, call *call) error {
	if err := s.allow(call, key.Operate, "*"); err != nil {
		return err
	}
	var all bool
	if err := readMembers(c, map[string]any{"all": &all}); err != nil {
		return err
	}
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	pruned, err := s.Environments.Prune(ctx, all)
	if err != nil {
		return explain(ctx, err)
	}
	return writeJSON(c, wholePage(pruned))
}

func (s *Server) removeEnvironment(c *fiber.Ctx, call *call) error {
	packRef, runtime, err := s.environmentOf(c, call, key.Operate)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	if err := s.Environments.Remove(ctx, packRef, runtime); err != nil {
		return explain(ctx, err)
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

func environmentPath(packRef, runtime string) string {
	return "/api/v1/environments/" + packRef + "/" + runtime
}

const (
	noSpace       = "there is not enough free space for another environment"
	tooManyBuilds = "too many environments wait to be built"
)

// explain turns an error of what an operator has asked for into one that may be
// shown. One that is not known here is the gateway's own fault, and logged.
func explain(ctx context.Context, err error) error {
	later := func(code, component, reason string, after time.Duration) error {
		refused := refuseForNow(code, reason, after)
		refused.Component, refused.Phase = component, "environment"
		return refused
	}
	switch {
	case errors.Is(err, execution.ErrNoEnvironment):
		return refuse(execution.CodeNotFound, noEnvironment)
	case errors.Is(err, envcache.ErrNoGeneration):
		return refuse(codeNoGeneration, "there is no other generation, or not the one that was named")
	case errors.Is(err, envcache.ErrNotBuilt):
		return refuse(codeNoGeneration, "the environment was never built")
	case errors.Is(err, envcache.ErrStorageFull):
		return later(execution.CodeEnvironmentStorage, "environment", noSpace, time.Minute)
	case errors.Is(err, envcache.ErrBusy):
		return later(execution.CodeOverloaded, "environment", tooManyBuilds, 10*time.Second)
	case errors.Is(err, envcache.ErrClosed), errors.Is(context.Cause(ctx), errDrained):
		return later(execution.CodeDraining, "gateway", "the gateway is shutting down", time.Second)
	case errors.Is(context.Cause(ctx), errClientLeft):
		return refuse(execution.CodeCancelled, "the client left before this was done")
	case errors.Is(err, container.ErrNoImage):
		return later(execution.CodeEngineUnavailable, "engine", "the engine doesn't have the runtime's image", 30*time.Second)
	case errors.Is(err, container.ErrUnavailable):
		return later(execution.CodeEngineUnavailable, "engine", "the container engine does not answer", 5*time.Second)
	}
	return err
}

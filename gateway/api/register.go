package api

import (
	"errors"
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/hashicorp/go-multierror"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

// registrationPayload is a pack that was taken into the catalog.
type registrationPayload struct {
	Pack         packPayload       `json:"pack"`
	Created      bool              `json:"created"`      // false: it was known, and has been read again
	Environments []envcache.Status `json:"environments"` // as they stand; nobody has waited for them
}

func (s *Server) registerPack(c *fiber.Ctx, call *call) error {
	var path string
	var force bool
	if err := readMembers(c, map[string]any{"path": &path, "force": &force}); err != nil {
		return err
	}
	if path == "" {
		return invalidMembers(pack.Problem{Pointer: "/path", Detail: "is required"})
	}
	if err := s.allow(call, key.Operate, packAt(path)); err != nil {
		return err
	}
	ctx, release := s.watch(c.Context().Conn())
	defer release()
	registered, err := s.Registrar.Register(ctx, path, force)
	var faults *multierror.Error
	switch {
	case errors.Is(err, execution.ErrRegistered):
		return refuse(codeAlreadyRegistered, "force reads it again")
	case errors.Is(err, execution.ErrOutsidePacks):
		return refuse(codeInvalidPack, "path must name a directory directly below packs_base_dir")
	case errors.As(err, &faults):
		problem := s.problem(call, refuse(codeInvalidPack, "the pack has faults, and nothing was changed"))
		problem.Errors = showFaults(faults)
		s.writeProblem(c.Context(), problem)
		return nil
	case err != nil:
		return explain(ctx, err)
	}
	if registered.Created {
		c.Status(fiber.StatusCreated)
		c.Set(fiber.HeaderLocation, "/api/v1/packs/"+string(registered.Pack.Ref))
	}
	return writeJSON(c, registrationPayload{
		Pack: showPack(registered.Pack), Created: registered.Created,
		Environments: append([]envcache.Status{}, registered.Environments...),
	})
}

// packAt is the pack that a directory would be, for what a pack is called its
// directory is; "*" where it could be any.
func packAt(path string) string {
	path = strings.TrimRight(path, "/")
	name := path[strings.LastIndexByte(path, '/')+1:]
	if _, err := pack.ParseRef(name); err != nil {
		return "*"
	}
	return name
}

// showFaults lists all faults of a pack; their files are relative to it.
func showFaults(faults *multierror.Error) []problemError {
	list := make([]problemError, len(faults.Errors))
	for i, err := range faults.Errors {
		list[i].Detail = err.Error()
		var fault *pack.Fault
		if errors.As(err, &fault) {
			list[i] = problemError{File: fault.File, Line: fault.Line, Detail: fault.Text}
		}
	}
	return list
}

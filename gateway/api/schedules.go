package api

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
	"attune/gateway/schedule"
)

const (
	scheduleGrammar = "a schedule's ref is pack.name, each a lower-case letter and up to 62 of a-z, 0-9, _ and -"
	noSchedule      = "there is no such schedule"
	// maxScheduleBody bounds a schedule with its parameters, in bytes.
	maxScheduleBody = 64 << 10
)

// listSchedules leaves out what the caller may not see.
func (s *Server) listSchedules(c *fiber.Ctx, call *call) error {
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	all, err := s.Schedules.List(ctx)
	if err != nil {
		return s.explainSchedule(call, err)
	}
	var shown []schedule.Entry
	for _, entry := range all {
		if call.sees(entry.Pack) {
			shown = append(shown, entry)
		}
	}
	return writeJSON(c, wholePage(shown))
}

func (s *Server) showSchedule(c *fiber.Ctx, call *call) error {
	ref, err := s.scheduleRef(c, call, key.Read)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	entry, err := s.Schedules.Show(ctx, ref)
	if err != nil {
		return s.explainSchedule(call, err)
	}
	return writeJSON(c, entry)
}

// createSchedule stores a schedule. It calls actions of its own pack alone: who
// may operate a pack may have its actions called.
func (s *Server) createSchedule(c *fiber.Ctx, call *call) error {
	body := c.Request().Body()
	if err := checkChangeBody(&c.Request().Header, len(body)); err != nil {
		return err
	}
	spec, problems, err := pack.ParseScheduleSpec(body)
	if err != nil {
		return refuse(execution.CodeInvalidJSON, "the body is not one JSON object")
	}
	if len(body) > maxScheduleBody {
		return refuse(codeBodyTooLarge, "a schedule may have 64 KiB")
	}
	ref, err := pack.ParseActionRef(spec.Ref)
	if err != nil && len(problems) == 0 {
		problems = []pack.Problem{{Pointer: "/ref", Detail: "is required: " + scheduleGrammar}}
	}
	if len(problems) > 0 {
		return invalidMembers(problems...)
	}
	if err := s.allow(call, key.Operate, string(ref.Pack)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	entry, err := s.Schedules.Create(ctx, spec)
	if err != nil {
		return s.explainSchedule(call, err)
	}
	c.Status(fiber.StatusCreated)
	c.Set(fiber.HeaderLocation, "/api/v1/schedules/"+entry.Ref)
	return writeJSON(c, entry)
}

func (s *Server) deleteSchedule(c *fiber.Ctx, call *call) error {
	ref, err := s.changedSchedule(c, call)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	if err := s.Schedules.Delete(ctx, ref); err != nil {
		return s.explainSchedule(call, err)
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// runSchedule answers with an execution that nobody waits for.
func (s *Server) runSchedule(c *fiber.Ctx, call *call) error {
	ref, err := s.changedSchedule(c, call)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	made, err := s.Schedules.RunNow(ctx, ref, s.NewID(), call.caller)
	if err != nil {
		return s.explainSchedule(call, err)
	}
	call.execution = made.ID
	c.Status(fiber.StatusAccepted)
	c.Set(fiber.HeaderLocation, "/api/v1/executions/"+made.ID)
	c.Set("Attune-Execution-Id", made.ID)
	return writeJSON(c, made)
}

func (s *Server) pauseSchedule(c *fiber.Ctx, call *call) error { return s.setPaused(c, call, true) }

func (s *Server) resumeSchedule(c *fiber.Ctx, call *call) error { return s.setPaused(c, call, false) }

func (s *Server) setPaused(c *fiber.Ctx, call *call, paused bool) error {
	ref, err := s.changedSchedule(c, call)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	entry, err := s.Schedules.SetPaused(ctx, ref, paused)
	if err != nil {
		return s.explainSchedule(call, err)
	}
	return writeJSON(c, entry)
}

// changedSchedule is the schedule of a request that changes it and says no more.
func (s *Server) changedSchedule(c *fiber.Ctx, call *call) (string, error) {
	ref, err := s.scheduleRef(c, call, key.Operate)
	if err != nil {
		return "", err
	}
	return ref, readMembers(c, nil)
}

// scheduleRef is the schedule in the path, if the caller may do this to its pack.
func (s *Server) scheduleRef(c *fiber.Ctx, call *call, verb string) (string, error) {
	ref, err := pack.ParseActionRef(c.Params("ref"))
	if err != nil {
		return "", refuse(execution.CodeInvalidRef, scheduleGrammar)
	}
	return ref.String(), s.allow(call, verb, string(ref.Pack))
}

func (s *Server) explainSchedule(call *call, err error) error {
	var invalid *schedule.Invalid
	var failure *execution.Error
	switch {
	case errors.Is(err, schedule.ErrNone):
		return refuse(execution.CodeNotFound, noSchedule)
	case errors.Is(err, schedule.ErrExists):
		return refuse(codeAlreadyExists, "delete the schedule of that ref first, or take another")
	case errors.Is(err, schedule.ErrInPack):
		return refuse(codeInPack, "it goes when its file goes; to stop it, pause it")
	case errors.Is(err, schedule.ErrTooMany):
		return refuse(execution.CodeLimitExceeded, "as many schedules are stored as may be")
	case errors.As(err, &invalid):
		return invalidMembers(invalid.Problems...)
	case errors.As(err, &failure):
		return failure
	}
	s.Logger.Warn("store of schedules", slog.String("request", call.id), slog.Any("error", err))
	return refuseForNow(execution.CodeStateUnavailable, "the schedules can't be read or written now", time.Second)
}

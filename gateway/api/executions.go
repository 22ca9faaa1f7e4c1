package api

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

// storeTimeout bounds one question to the store.
const storeTimeout = 5 * time.Second

// statuses are those that a listing can be narrowed to.
var statuses = []execution.Status{
	execution.StatusQueued, execution.StatusRunning, execution.StatusSucceeded,
	execution.StatusFailed, execution.StatusTimedOut, execution.StatusCancelled, execution.StatusDead,
}

func (s *Server) listExecutions(c *fiber.Ctx, call *call) error {
	query, err := executionQuery(call.query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	found, err := s.visible(ctx, call, query)
	if errors.Is(err, execution.ErrBadCursor) {
		return refuse(codeInvalidQuery, "cursor must be the next of the page before")
	}
	if err != nil {
		return s.storeAway(call, err)
	}
	answer := wholePage([]executionSummary{})
	for _, e := range found.Executions {
		answer.Items = append(answer.Items, summarizeExecution(e))
	}
	if found.Next != "" {
		answer.Next = &found.Next
	}
	return writeJSON(c, answer)
}

// executionQuery reads the parameters of a listing; an empty one is an error,
// for it would select everything.
func executionQuery(values url.Values) (execution.Query, error) {
	var query execution.Query
	for name, value := range values {
		text, ok := value[0], true
		switch name {
		case "action":
			_, err := pack.ParseActionRef(text)
			query.Action, ok = text, err == nil
		case "status":
			query.Status = execution.Status(text)
			ok = slices.Contains(statuses, query.Status)
		case "since":
			since, err := time.Parse(time.RFC3339, text)
			query.Since, ok = since, err == nil
		case "cursor":
			query.Cursor, ok = text, text != ""
		case "limit":
			limit, err := strconv.Atoi(text)
			query.Limit, ok = limit, err == nil && limit >= 1 && limit <= execution.MaxLimit
		}
		if !ok {
			return query, refuse(codeInvalidQuery, name+" is not valid: action is pack.action, status one of "+
				statusNames()+", since a time of RFC 3339, limit 1 to "+strconv.Itoa(execution.MaxLimit))
		}
	}
	return query, nil
}

func statusNames() string {
	names := make([]string, len(statuses))
	for i, status := range statuses {
		names[i] = string(status)
	}
	return strings.Join(names, ", ")
}

// maxScan is how many pages of the store a page for a key may take. Beyond it the
// page is short, perhaps empty, and next goes on.
const maxScan = 20

// visible is a page of those executions that the caller may see.
func (s *Server) visible(ctx context.Context, call *call, query execution.Query) (execution.Page, error) {
	if call.seesAll() || query.Action != "" && call.sees(query.Action) {
		return s.Store.List(ctx, query)
	}
	if query.Action != "" {
		return execution.Page{}, nil
	}
	var page execution.Page
	size := query.PageSize()
	query.Limit = execution.MaxLimit
	for range maxScan {
		found, err := s.Store.List(ctx, query)
		if err != nil {
			return execution.Page{}, err
		}
		for _, e := range found.Executions {
			if !call.sees(e.Pack) {
				continue
			}
			if len(page.Executions) == size {
				last, err := page.Executions[size-1].Position()
				page.Next = last.Cursor()
				return page, err
			}
			page.Executions = append(page.Executions, e)
		}
		if page.Next = found.Next; page.Next == "" {
			break
		}
		query.Cursor = found.Next
	}
	return page, nil
}

func (s *Server) showExecution(c *fiber.Ctx, call *call) error {
	found, err := s.execution(c, call, key.Read)
	if err != nil {
		return err
	}
	return writeJSON(c, found)
}

// executionID is the grammar of a ULID.
var executionID = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

func idOf(c *fiber.Ctx) (string, error) {
	id := c.Params("id")
	if !executionID.MatchString(id) {
		return "", refuse(execution.CodeInvalidRef, "an execution's ID has 26 digits and capital letters")
	}
	return id, nil
}

// execution finds the execution that a path names, if it is the caller's business.
func (s *Server) execution(c *fiber.Ctx, call *call, verb string) (*execution.Execution, error) {
	id, err := idOf(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	found, err := s.Store.Get(ctx, id)
	if errors.Is(err, execution.ErrNoExecution) {
		return nil, refuse(execution.CodeNotFound, noExecuted)
	}
	if err != nil {
		return nil, s.storeAway(call, err)
	}
	if err := s.allowExecution(call, verb, found); err != nil {
		return nil, err
	}
	return found, nil
}

// storeAway logs why the store did not answer, which a caller need not know.
func (s *Server) storeAway(call *call, err error) error {
	s.Logger.Warn("read executions", slog.String("request", call.id), slog.Any("error", err))
	return refuseForNow(execution.CodeStateUnavailable, "the executions can't be read now", time.Second)
}

func summarizeExecution(e *execution.Execution) executionSummary {
	return executionSummary{
		ID: e.ID, Action: e.Action, Pack: e.Pack, Gateway: e.Gateway,
		Status: e.Status, ExitCode: e.ExitCode,
		CreatedAt: e.CreatedAt, StartedAt: e.StartedAt, EndedAt: e.EndedAt, DurationMS: e.DurationMS,
		Error: e.Error, Timing: e.Timing, Source: e.Source, Caller: e.Caller, Attempt: e.Attempt,
	}
}

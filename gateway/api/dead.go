package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/queue"
)

// letterPayload is a dead letter: an asynchronous execution whose attempts are
// spent, with what it takes to try it again.
type letterPayload struct {
	executionSummary
	Priority   string     `json:"priority"`
	Callback   string     `json:"callback,omitempty"`
	NotBefore  *time.Time `json:"not_before,omitempty"`
	Parameters any        `json:"parameters,omitempty"` // of one letter alone; none where they hold a secret
	Sealed     bool       `json:"sealed"`               // the parameters hold a secret
}

func showLetter(l queue.Letter, whole bool) letterPayload {
	p := letterPayload{
		executionSummary: summarizeExecution(l.Execution), Callback: l.Callback, Sealed: l.Key != "",
	}
	for name, priority := range priorities {
		if priority == l.Priority {
			p.Priority = name
		}
	}
	if !l.NotBefore.IsZero() {
		p.NotBefore = &l.NotBefore
	}
	if whole && len(l.Parameters) > 0 {
		p.Parameters = json.RawMessage(l.Parameters)
	}
	return p
}

// listDead lists dead letters, the youngest execution first.
func (s *Server) listDead(c *fiber.Ctx, call *call) error {
	limit, after := execution.DefaultLimit, ""
	if text := call.query.Get("limit"); call.query.Has("limit") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > execution.MaxLimit {
			return refuse(codeInvalidQuery, "limit must be 1 to "+strconv.Itoa(execution.MaxLimit))
		}
		limit = n
	}
	if call.query.Has("cursor") {
		id, err := base64.RawURLEncoding.Strict().DecodeString(call.query.Get("cursor"))
		if err != nil || !executionID.Match(id) {
			return refuse(codeInvalidQuery, "cursor must be the next of the page before")
		}
		after = string(id)
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	letters, next, err := s.Queue.Dead(ctx, after, limit)
	if err != nil {
		return err
	}
	answer := wholePage([]letterPayload{})
	for _, letter := range letters {
		if call.sees(letter.Execution.Pack) {
			answer.Items = append(answer.Items, showLetter(letter, false))
		}
	}
	if next != "" {
		cursor := base64.RawURLEncoding.EncodeToString([]byte(next))
		answer.Next = &cursor
	}
	return writeJSON(c, answer)
}

// letter finds the dead letter that a path names, if the caller may do something
// to it.
func (s *Server) letter(ctx context.Context, c *fiber.Ctx, call *call, verb string) (queue.Letter, error) {
	id, err := idOf(c)
	if err != nil {
		return queue.Letter{}, err
	}
	letter, err := s.Queue.Letter(ctx, id)
	if err != nil {
		return letter, noLetter(err)
	}
	return letter, s.allow(call, verb, letter.Execution.Pack)
}

func noLetter(err error) error {
	if errors.Is(err, queue.ErrNoJob) {
		return refuse(execution.CodeNotFound, noLetters)
	}
	return err
}

func (s *Server) showDead(c *fiber.Ctx, call *call) error {
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	letter, err := s.letter(ctx, c, call, key.Read)
	if err != nil {
		return err
	}
	return writeJSON(c, showLetter(letter, true))
}

// redriveDead makes another execution of a dead letter, which is gone then.
func (s *Server) redriveDead(c *fiber.Ctx, call *call) error {
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	letter, err := s.letter(ctx, c, call, key.Operate)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	x, err := s.Queue.Redrive(ctx, letter.ID, call.caller)
	if err != nil {
		return noLetter(err)
	}
	return s.accepted(c, call, fiber.StatusCreated, x)
}

// removeDead forgets a dead letter; the record of its execution stays.
func (s *Server) removeDead(c *fiber.Ctx, call *call) error {
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	letter, err := s.letter(ctx, c, call, key.Operate)
	if err != nil {
		return err
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	if err := s.Queue.Discard(ctx, letter.ID); err != nil {
		return noLetter(err)
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

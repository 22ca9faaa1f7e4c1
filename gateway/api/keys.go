package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/limit"
	"attune/gateway/pack"
)

// newKeyPayload is a key at the only time at which anybody can read its token.
type newKeyPayload struct {
	key.Key
	Token string `json:"token"`
}

func (s *Server) listKeys(c *fiber.Ctx, call *call) error {
	if err := s.allow(call, key.AdminVerb, "*"); err != nil {
		return err
	}
	ring := s.Keys.Ring()
	if ring == nil {
		return s.explainKeys(call, errNotRead)
	}
	return writeJSON(c, wholePage(ring.Keys()))
}

var errNotRead = errors.New("the API keys were never read")

// createKey makes a key. Its token is in the answer and nowhere else.
func (s *Server) createKey(c *fiber.Ctx, call *call) error {
	if err := s.allow(call, key.AdminVerb, "*"); err != nil {
		return err
	}
	order, err := readOrder(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	made, token, err := s.Keys.Create(ctx, order)
	if err != nil {
		return s.explainKeys(call, err)
	}
	call.resource = made.ID
	c.Status(fiber.StatusCreated)
	return writeJSON(c, newKeyPayload{made, token})
}

// readOrder reads the body of a request for a key.
func readOrder(c *fiber.Ctx) (key.Order, error) {
	var name, expires, rate, quota string
	var scopes []string
	var concurrent int
	if err := readMembers(c, map[string]any{
		"name": &name, "scopes": &scopes, "expires_at": &expires, "rate": &rate, "quota": &quota, "max_concurrent": &concurrent,
	}); err != nil {
		return key.Order{}, err
	}
	order := key.Order{Name: name, MaxConcurrent: concurrent}
	var problems []pack.Problem
	for i, text := range scopes {
		scope, err := key.ParseScope(text)
		if err != nil {
			problems = append(problems, pack.Problem{Pointer: fmt.Sprintf("/scopes/%d", i), Detail: "must be " + key.ScopeGrammar})
		}
		order.Scopes = append(order.Scopes, scope)
	}
	if expires != "" {
		var err error
		if order.ExpiresAt, err = time.Parse(time.RFC3339, expires); err != nil {
			problems = append(problems, pack.Problem{Pointer: "/expires_at", Detail: "must be a time of RFC 3339"})
		}
	}
	for _, bound := range []struct {
		pointer, text string
		to            *limit.Rate
	}{{"/rate", rate, &order.Rate}, {"/quota", quota, &order.Quota}} {
		if err := bound.to.UnmarshalText([]byte(bound.text)); err != nil {
			problems = append(problems, pack.Problem{Pointer: bound.pointer, Detail: "is not valid: " + err.Error()})
		}
	}
	if len(problems) > 0 {
		return key.Order{}, invalidMembers(problems...)
	}
	return order, nil
}

// revokeKey ends a key: here at once, on other gateways within seconds.
func (s *Server) revokeKey(c *fiber.Ctx, call *call) error {
	if err := s.allow(call, key.AdminVerb, "*"); err != nil {
		return err
	}
	id := c.Params("id")
	if !executionID.MatchString(id) { // both are ULIDs
		return refuse(execution.CodeInvalidRef, "an API key's ID has 26 digits and capital letters")
	}
	if err := readMembers(c, nil); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.base, storeTimeout)
	defer cancel()
	if err := s.Keys.Revoke(ctx, id); err != nil {
		return s.explainKeys(call, err)
	}
	call.resource = id
	c.Status(fiber.StatusNoContent)
	return nil
}

func (s *Server) explainKeys(call *call, err error) error {
	var wrong *key.OrderError
	switch {
	case errors.As(err, &wrong):
		return invalidMembers(pack.Problem{Detail: wrong.Error()})
	case errors.Is(err, key.ErrFirst):
		return invalidMembers(pack.Problem{Pointer: "/scopes", Detail: "must have admin: " + key.ErrFirst.Error()})
	case errors.Is(err, key.ErrLastAdmin):
		return refuse(codeLastAdminKey, key.ErrLastAdmin.Error())
	case errors.Is(err, key.ErrNone):
		return refuse(execution.CodeNotFound, "there is no such API key")
	}
	s.Logger.Warn("store of API keys", slog.String("request", call.id), slog.Any("error", err))
	return refuseForNow(execution.CodeStateUnavailable, "the API keys can't be read or written now", time.Second)
}

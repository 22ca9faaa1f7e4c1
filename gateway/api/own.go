package api

import (
	"bytes"
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/pack"
)

// This file answers at the paths that actions have of their own, all of them below
// /p/{pack}: nothing there can hide a path of the gateway's or of another pack.

// nothingHere is the detail of a path that nobody has.
const nothingHere = "there is nothing at this path"

// ownPattern is the pattern of all of them.
const ownPattern = "/p/:pack/*"

// ownRoutes are the rows of the table for them.
func (s *Server) ownRoutes(verb string) []route {
	rows := make([]route, len(pack.RouteMethods))
	for i, method := range pack.RouteMethods {
		rows[i] = route{method: method, pattern: ownPattern, verb: verb, handle: s.own, openQuery: true}
	}
	return rows
}

// own runs the action that has this method and path.
func (s *Server) own(c *fiber.Ctx, call *call) error {
	found, err := s.routed(c, call)
	if err != nil {
		return err
	}
	call.envelope = found.Route.Envelope
	query := call.query
	call.query = nil // it is the action's: the gateway's own parameters are not in it
	if err := checkOwnQuery(found, query); err != nil {
		return err
	}
	asked, err := s.ask(c, call, found.Action.Ref)
	if err != nil {
		return err
	}
	if asked.request.Body, err = ownParameters(c, found, query); err != nil {
		return err
	}
	return s.perform(c, call, asked)
}

// routed finds the action.
func (s *Server) routed(c *fiber.Ctx, call *call) (*pack.Routed, error) {
	ref, err := pack.ParseRef(c.Params("pack"))
	if err != nil {
		return nil, refuse(execution.CodeInvalidRef, packGrammar)
	}
	method := c.Method()
	if method == fiber.MethodHead {
		method = fiber.MethodGet
	}
	p, ok := s.Catalog().Pack(ref)
	if !ok {
		return nil, fiber.ErrNotFound
	}
	found, allowed := p.Route(method, c.Params("*"))
	switch {
	case found != nil:
		return found, s.allow(call, key.Invoke, found.Action.Ref.String())
	case len(allowed) == 0, !call.sees(string(ref)): // nobody learns the paths of a pack that isn't theirs
		return nil, fiber.ErrNotFound
	case slices.Contains(allowed, fiber.MethodGet):
		allowed = append(allowed, fiber.MethodHead)
	}
	c.Set(fiber.HeaderAllow, strings.Join(allowed, ", "))
	return nil, fiber.ErrMethodNotAllowed
}

// checkOwnQuery refuses what the action has no parameter for, and repetition of
// what is no array.
func checkOwnQuery(found *pack.Routed, query url.Values) error {
	for name, values := range query {
		switch {
		case !found.Knows(name):
			return refuse(codeInvalidQuery, "the query has a parameter that this resource does not have")
		case len(values) > 1 && !found.Repeats(name):
			return refuse(codeInvalidQuery, "the query repeats a parameter that is no array")
		case slices.ContainsFunc(values, func(value string) bool { return !utf8.ValidString(value) }) || !utf8.ValidString(name):
			return refuse(codeInvalidQuery, "the query is not UTF-8")
		}
	}
	return nil
}

// ownParameters makes parameters of all places of a request.
func ownParameters(c *fiber.Ctx, found *pack.Routed, query url.Values) ([]byte, error) {
	given := pack.Given{Query: query, Headers: map[string]string{}}
	for name, header := range found.Route.Headers {
		lines := c.Request().Header.PeekAll(header)
		switch {
		case len(lines) == 0:
			continue
		case len(lines) > 1 || !utf8.Valid(lines[0]):
			return nil, refuse(codeInvalidHeader, "a header that is a parameter must be there once, in UTF-8")
		}
		given.Headers[name] = string(lines[0])
	}
	var err error
	if given.Body, err = ownBody(c, found.Route.Body); err != nil {
		return nil, err
	}
	parameters, problems, err := found.Parameters(given)
	switch {
	case errors.Is(err, pack.ErrBodyNone), errors.Is(err, pack.ErrBodyText):
		return nil, refuse(codeMediaType, err.Error())
	case errors.Is(err, pack.ErrInvalidJSON):
		return nil, refuse(execution.CodeInvalidJSON, err.Error())
	case err != nil:
		return nil, err
	case len(problems) > 0:
		refused := refuse(execution.CodeInvalidParameters, "the parameters don't match the action's route")
		refused.Parameters = problems
		return nil, refused
	}
	return parameters, nil
}

func ownBody(c *fiber.Ctx, mode pack.BodyMode) ([]byte, error) {
	if mode == pack.BodyJSON {
		return parameters(c)
	}
	header := &c.Request().Header
	if coding := header.ContentEncoding(); len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return nil, refuse(codeEncoding, "a body must not be compressed")
	}
	return bytes.Clone(c.Request().Body()), nil
}

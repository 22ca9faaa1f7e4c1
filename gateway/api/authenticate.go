package api

import (
	"bytes"
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/key"
)

// This file says who calls; allow.go says what they may do.

// authorize lets a request pass to its handler, which still has to ask for its
// resource: who calls, how often, and whether the route is for them at all.
func (s *Server) authorize(ctx *fasthttp.RequestCtx, call *call, r route) error {
	begun := time.Now()
	err := s.authenticate(&ctx.Request.Header, call, r.verb, begun)
	call.auth = time.Since(begun)
	call.span.Past("auth", begun, begun.Add(call.auth))
	if err != nil || r.verb == "" {
		return err
	}
	if call.caller != "" {
		return s.admitKey(ctx, call, r)
	}
	if call.key != nil && !call.key.MaySomewhere(r.verb) {
		return s.deny(call, "missing")
	}
	if r.verb == key.Invoke {
		// A page that has no key must not profit from where its visitor is.
		return s.checkBrowser(&ctx.Request.Header)
	}
	return nil
}

// admitKey takes the request from the key's budgets. A request that is refused
// later on counts, too.
func (s *Server) admitKey(ctx *fasthttp.RequestCtx, call *call, r route) error {
	k := call.key
	if err := s.spend(ctx, "key", k.ID, k.Rate); err != nil {
		return err
	}
	if err := s.spend(ctx, "quota", k.ID, k.Quota); err != nil {
		return err
	}
	if !k.MaySomewhere(r.verb) && !(r.own && k.MaySomewhere(key.Invoke)) {
		return refuse(codeForbidden, notAllowed)
	}
	return nil
}

const bearer = "Bearer "

// authenticate finds the key of a request. Without keys, and without
// Options.RequireKeys, there is nothing to find: everybody may do everything, and
// the header isn't looked at. It costs no question to a store.
func (s *Server) authenticate(header *fasthttp.RequestHeader, call *call, verb string, now time.Time) error {
	if verb == "" {
		return nil
	}
	sent := header.Peek(fasthttp.HeaderAuthorization) // once at most: framing.go
	ring := s.Keys.Ring()
	switch {
	case ring == nil:
		return refuseForNow(execution.CodeStateUnavailable, "the API keys can't be read yet", time.Second)
	case !s.RequireKeys && !ring.Needed():
		return nil
	case len(sent) == 0:
		call.key = &s.anonymous
		return nil
	}
	if len(sent) < len(bearer) || !bytes.EqualFold(sent[:len(bearer)], []byte(bearer)) {
		return s.deny(call, "malformed")
	}
	found, err := ring.Authenticate(string(bytes.TrimLeft(sent[len(bearer):], " ")), now)
	switch {
	case errors.Is(err, key.ErrExpired):
		call.key = found // for the audit log
		return s.deny(call, "expired")
	case err != nil:
		return s.deny(call, "unknown")
	}
	call.key, call.caller = found, found.ID
	return nil
}

// deny answers that nobody is known to be calling; why is for the audit log.
func (s *Server) deny(call *call, why string) error {
	call.denied = why
	if why == "missing" {
		return refuse(codeUnauthenticated, "this needs an API key, sent as Authorization: Bearer")
	}
	return refuse(codeUnauthenticated, "the API key is malformed, not known, or has expired")
}

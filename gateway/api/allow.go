package api

import (
	"strings"

	"attune/gateway/execution"
	"attune/gateway/key"
)

const (
	notAllowed = "the API key has no scope for this"
	noAction   = "there is no such action"
	noPack     = "there is no such pack"
	noExecuted = "there is no such execution"
	noLetters  = "there is no such dead letter"
)

// allow tells whether the caller may do something to a resource: pack.action of
// key.Invoke, a pack's ref or "*" of key.Read and key.Operate, "*" of
// key.AdminVerb. Handlers ask before they look whether the resource is there: one
// that the caller may not even see is answered like one that isn't.
func (s *Server) allow(call *call, verb, resource string) error {
	k := call.key
	switch {
	case k == nil || k.May(verb, resource):
		call.resource = resource
		return nil
	case call.caller == "":
		return s.deny(call, "missing")
	case resource == "*", !k.MaySomewhere(verb), verb != key.Read && call.sees(resource):
		return refuse(codeForbidden, notAllowed)
	}
	return refuse(execution.CodeNotFound, missing(call.route))
}

// allowExecution is allow for an execution. Whoever has asked for it may look at
// it and cancel it, whatever else is allowed.
func (s *Server) allowExecution(call *call, verb string, x *execution.Execution) error {
	switch {
	case call.caller != "" && call.caller == x.Caller:
		call.resource = x.Pack
		return nil
	case call.key != nil && !call.key.MaySomewhere(verb) && !call.sees(x.Pack):
		return refuse(execution.CodeNotFound, noExecuted)
	}
	return s.allow(call, verb, x.Pack)
}

// may is allow for what is left out of a listing: nobody has asked for it.
func (c *call) may(verb, resource string) bool { return c.key == nil || c.key.May(verb, resource) }

// sees tells whether the caller may know of a pack, or of an action's.
func (c *call) sees(resource string) bool {
	ref, _, _ := strings.Cut(resource, ".")
	return c.key == nil || c.key.May(key.Read, ref)
}

// seesAll tells whether nothing has to be left out for the caller.
func (c *call) seesAll() bool { return c.key == nil || c.key.May(key.Read, "*") }

// missing is what a route's handler says of a resource that isn't there.
func missing(pattern string) string {
	switch {
	case strings.HasPrefix(pattern, "/invoke/"), strings.HasPrefix(pattern, "/api/v1/actions/"), pattern == "/api/v1/executions/execute":
		return noAction
	case strings.HasPrefix(pattern, "/api/v1/packs/"):
		return noPack
	case strings.HasPrefix(pattern, "/api/v1/environments/"):
		return noEnvironment
	case strings.HasPrefix(pattern, "/api/v1/hooks/"):
		return noHook
	case strings.HasPrefix(pattern, "/api/v1/schedules/"):
		return noSchedule
	case strings.HasPrefix(pattern, "/api/v1/dead/"):
		return noLetters
	case strings.HasPrefix(pattern, "/api/v1/executions/"):
		return noExecuted
	case pattern == ownPattern:
		return nothingHere
	}
	return "there is no such resource"
}

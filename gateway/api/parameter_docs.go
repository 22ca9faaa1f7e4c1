package api

import (
	"attune/gateway/execution"
	"attune/gateway/openapi"
)

// Grammars as JSON Schema has them.
const (
	packPattern   = "^[a-z][a-z0-9_-]{0,62}$"
	scopePattern  = `^(admin|invoke:(\*|[a-z][a-z0-9_-]{0,62}\.(\*|[a-z][a-z0-9_-]{0,62}))|(read|operate):(\*|[a-z][a-z0-9_-]{0,62}))$`
	actionPattern = `^[a-z][a-z0-9_-]{0,62}\.[a-z][a-z0-9_-]{0,62}$`
)

var actionParameter = openapi.Parameter{
	Detail: "An action's ref, pack.action.", Schema: openapi.Object{"type": "string", "pattern": actionPattern}, Example: "core.echo",
}

var hookParameter = openapi.Parameter{
	Detail: "A hook's ref, pack.hook.", Schema: openapi.Object{"type": "string", "pattern": actionPattern}, Example: "shop.paid",
}

var scheduleParameter = openapi.Parameter{
	Detail: "A schedule's ref, pack.schedule.", Schema: openapi.Object{"type": "string", "pattern": actionPattern}, Example: "core.nightly",
}

// documentedParameters are the parameters of paths and queries, and the headers
// that mean something to an operation.
var documentedParameters = map[string]openapi.Parameter{
	"path:ref":                                          {Detail: "A pack's ref.", Schema: openapi.Object{"type": "string", "pattern": packPattern}, Example: "core"},
	"path:/invoke/:ref:ref":                             actionParameter,
	"path:/api/v1/actions/:ref:ref":                     actionParameter,
	"path:/api/v1/schedules/:ref:ref":                   scheduleParameter,
	"path:/api/v1/schedules/:ref/run:ref":               scheduleParameter,
	"path:/api/v1/schedules/:ref/pause:ref":             scheduleParameter,
	"path:/api/v1/schedules/:ref/resume:ref":            scheduleParameter,
	"path:/api/v1/hooks/:ref:ref":                       hookParameter,
	"path:/api/v1/hooks/:ref/rotate:ref":                hookParameter,
	"path:/api/v1/hooks/:ref/test:ref":                  hookParameter,
	"path:/api/v1/hooks/:ref/deliveries:ref":            hookParameter,
	"path:/api/v1/hooks/:ref/deliveries/:id:ref":        hookParameter,
	"path:/api/v1/hooks/:ref/deliveries/:id/replay:ref": hookParameter,
	"path:key":     {Detail: "A hook's random key.", Schema: openapi.Object{"type": "string", "pattern": "^[A-Z2-7]{26}$"}, Example: "AB47HGBPYJR75Z6LTIBXY62JCZ"},
	"path:pack":    {Detail: "A pack's ref.", Schema: openapi.Object{"type": "string", "pattern": packPattern}, Example: "core"},
	"path:runtime": {Detail: "A runtime's name.", Schema: openapi.Object{"type": "string", "pattern": packPattern}, Example: "python"},
	"path:name": {Detail: "A secret's name.",
		Schema: openapi.Object{"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"}, Example: "token"},
	"path:id": {Detail: "The ID of an execution, or of a key.",
		Schema: openapi.Object{"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"}, Example: "01HZX3V7Q8R9S0T1V2W3X4Y5Z6"},
	"path:slug": {Detail: "A problem's code.", Schema: openapi.Object{"type": "string", "pattern": "^[a-z][a-z-]*$"}, Example: "not-found"},
	"path:file": {Detail: "A file of the page.", Schema: openapi.Object{"type": "string", "enum": docFiles()}, Example: "docs.js"},

	"query:timeout": {Detail: "The call's limit: seconds, or a duration. The smallest of this, the action's and the operator's limit holds.",
		Schema: openapi.Object{"type": "string", "pattern": `^([1-9][0-9]{0,5}(\.[0-9]{1,6})?|0\.[0-9]{0,5}[1-9])(ms|s|m|h)?$`}, Example: "5"},
	"query:delay": {Detail: "With Prefer: respond-async: it starts no sooner. Seconds, or a duration.",
		Schema: openapi.Object{"type": "string", "pattern": `^([1-9][0-9]{0,4}(\.[0-9]{1,6})?|0\.[0-9]{0,5}[1-9])(ms|s)?$`}, Example: "90s"},
	"query:priority": {Detail: "With Prefer: respond-async.", Schema: openapi.Object{"type": "string", "enum": []any{"high", "normal", "low"}}},
	"query:stream":   {Detail: "The output is the body as it is printed.", Schema: openapi.Object{"type": "string", "enum": []any{"0", "1", "false", "true"}}},
	"query:follow":   {Detail: "To the end of the execution.", Schema: openapi.Object{"type": "string", "enum": []any{"0", "1", "false", "true"}}},
	"query:action":   {Detail: "Of this action alone.", Schema: openapi.Object{"type": "string", "pattern": actionPattern}, Example: "core.echo"},
	"query:status":   {Detail: "Of this status alone.", Schema: openapi.Object{"type": "string", "enum": values(statuses)}},
	"query:since":    {Detail: "Not older than this.", Schema: openapi.Object{"type": "string", "format": "date-time"}, Example: "2026-11-24T08:00:00Z"},
	"query:cursor":   {Detail: "The next of the page before.", Schema: openapi.Object{"type": "string", "minLength": 1}},
	"query:limit":    {Detail: "How many.", Schema: openapi.Object{"type": "integer", "minimum": 1, "maximum": execution.MaxLimit}},

	"header:Prefer": {Detail: "`respond-async` answers at once, and the action runs later; `wait=N` waits N seconds for its result. What is not understood is ignored.", Schema: openapi.Object{"type": "string"}, Example: "wait=5"},
}

package api

import (
	"maps"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/openapi"
	"attune/gateway/secret"
)

// routeDoc is what the OpenAPI document says about a route, beside what the
// table of routes knows. A route without one fails a test.
type routeDoc struct {
	tag     string
	summary string // one line
	detail  string // Markdown
	headers []string
	body    any // a value of the type of the JSON body, or its schema; nil = none
	answers []openapi.Answer
	// problems are the codes beside those that the verb and the query bring.
	problems []string
}

// Groups of routes.
const (
	tagOperations   = "operations"
	tagInvoke       = "invoke"
	tagPacks        = "packs"
	tagActions      = "actions"
	tagEnvironments = "environments"
	tagExecutions   = "executions"
	tagSecrets      = "secrets"
	tagKeys         = "keys"
)

// answersJSON is one answer of JSON.
func answersJSON(status int, body any, headers ...string) []openapi.Answer {
	return []openapi.Answer{{Status: status, Media: []string{"application/json"}, Body: body, Headers: headers}}
}

var (
	noAnswer   = []openapi.Answer{{Status: 204}}
	textAnswer = []openapi.Answer{{Status: 200, Media: []string{"text/plain; charset=utf-8"}}}
	logAnswer  = []openapi.Answer{{Status: 200, Media: []string{"text/plain; charset=utf-8", mediaEvents, mediaLines}}}

	environmentAnswer = answersJSON(200, envcache.Status{})
	buildAnswer       = answersJSON(202, envcache.Status{}, "Location")

	noMembers = openapi.Object{"type": "object", "additionalProperties": false}

	keyOrder = members(openapi.Object{
		"name":   openapi.Object{"type": "string", "minLength": 1, "maxLength": 100, "description": "For people."},
		"scopes": openapi.Object{"type": "array", "minItems": 1, "description": key.ScopeGrammar, "items": openapi.Object{"type": "string", "pattern": scopePattern}},
		"expires_at": openapi.Object{"description": "A time of RFC 3339; empty or missing = never.",
			"anyOf": []any{openapi.Object{"type": "string", "format": "date-time"}, openapi.Object{"const": ""}}},
		"rate":           described("string", "Requests, such as 100/m."),
		"quota":          described("string", "Likewise, over a longer time."),
		"max_concurrent": openapi.Object{"type": "integer", "minimum": 0, "description": "Calls that run at once; 0 = not bounded."},
	}, "name", "scopes")

	// problemMedia are the forms of a problem's page.
	problemMedia = []string{"application/json", "text/html; charset=utf-8", "text/markdown; charset=utf-8"}

	// changeProblems are those of every body that changes something.
	changeProblems = []string{
		execution.CodeInvalidRef, execution.CodeInvalidJSON, execution.CodeInvalidParameters, codeMediaType, codeEncoding, codeForbidden,
	}
	environmentProblems = append([]string{
		codeNoGeneration, execution.CodeOverloaded, execution.CodeEngineUnavailable, execution.CodeEnvironmentStorage,
	}, changeProblems...)
	refProblems   = []string{execution.CodeInvalidRef}
	storeProblems = []string{execution.CodeInvalidRef, execution.CodeStateUnavailable}
)

// members is the schema of a body with these members, which may have no others.
func members(properties openapi.Object, required ...any) openapi.Object {
	schema := openapi.Object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		schema["required"] = required
	}
	return schema
}

func described(kind, detail string) openapi.Object {
	return openapi.Object{"type": kind, "description": detail}
}

// routeDocs are those of all routes, by method and pattern.
var routeDocs = joined(servingDocs, laterDocs, hookDocs)

func joined(parts ...map[string]routeDoc) map[string]routeDoc {
	all := map[string]routeDoc{}
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

var servingDocs = map[string]routeDoc{
	"GET /": {tag: tagOperations, summary: "What answers here", answers: answersJSON(200, indexPayload{})},
	"GET /healthz": {tag: tagOperations, summary: "Alive", answers: answersJSON(200, healthPayload{}),
		detail: "Answers as long as the program does, also while it drains."},
	"GET /readyz": {tag: tagOperations, summary: "Ready, with reasons", answers: answersJSON(200, healthPayload{}),
		detail: "200 while new calls should be sent here; otherwise a problem with the checks.", problems: []string{codeNotReady}},

	"POST /invoke/:ref": {tag: tagInvoke, summary: "Run an action", headers: []string{"Prefer"}, body: openapi.Object{"type": "object"},
		detail: "Every action also has an operation of its own in this document, with its schemas. " +
			"The answer is the result in its own media type; " + mediaEvents + " or " + mediaLines + " in Accept ask for events as they happen.",
		answers: []openapi.Answer{{Status: 200, Detail: "The result.", Media: []string{"*/*"}, Body: openapi.Object{},
			Headers: []string{"Attune-Execution-Id", "Server-Timing"}}, acceptedLater},
		problems: append(openapi.ActionProblems(), refProblems...)},
	"POST /mcp": {tag: tagInvoke, summary: "Actions as tools of the Model Context Protocol",
		detail: "Streamable HTTP without sessions: one JSON-RPC message, answered in JSON, or in server-sent events where a call asks for progress.",
		body: members(openapi.Object{
			"jsonrpc": openapi.Object{"const": "2.0"}, "id": openapi.Object{"type": []any{"string", "integer"}},
			"method": openapi.Object{"type": "string", "enum": []any{"initialize", "notifications/initialized", "ping", "server/discover", "tools/list", "tools/call"}},
			"params": openapi.Object{"type": "object"},
		}, "jsonrpc", "method"),
		answers: []openapi.Answer{
			{Status: 200, Media: []string{"application/json", mediaEvents}, Body: openapi.Object{"type": "object"}, Headers: []string{"Attune-Execution-Id"}},
			{Status: 202, Detail: "A notification was taken."},
		},
		problems: []string{execution.CodeInvalidJSON, codeInvalidMessage, codeNotAcceptable, codeMediaType}},
	"GET /openapi.json": {tag: tagOperations, summary: "This document", problems: nil,
		detail: "It has the actions that the key may call or see.",
		answers: []openapi.Answer{
			{Status: 200, Media: []string{"application/json"}, Body: openapi.Object{"type": "object"}, Headers: []string{"ETag"}},
			{Status: 304, Detail: "It is the one that If-None-Match names.", Headers: []string{"ETag"}},
		}},
	"GET /docs": {tag: tagOperations, summary: "This document as a page",
		answers: []openapi.Answer{{Status: 200, Media: []string{"text/html; charset=utf-8"}}}},
	"GET /docs/:file": {tag: tagOperations, summary: "A part of that page", problems: refProblems,
		answers: []openapi.Answer{{Status: 200, Media: []string{"text/javascript; charset=utf-8", "text/css; charset=utf-8"}}}},

	"GET /metrics": {tag: tagOperations, summary: "Metrics for Prometheus", problems: []string{execution.CodeNotFound},
		answers: []openapi.Answer{{Status: 200, Media: []string{"text/plain; version=0.0.4; charset=utf-8"}}}},
	"GET /problems": {tag: tagOperations, summary: "Every problem that there is",
		answers: []openapi.Answer{{Status: 200, Media: problemMedia, Body: openapi.Object{}}}},
	"GET /problems/:slug": {tag: tagOperations, summary: "What a problem means, and what to do", problems: refProblems,
		answers: []openapi.Answer{{Status: 200, Media: problemMedia, Body: openapi.Object{}}}},

	"GET /api/v1/packs": {tag: tagPacks, summary: "All packs, the broken ones with their faults", answers: answersJSON(200, page[packPayload]{})},
	"POST /api/v1/packs/register": {tag: tagPacks, summary: "Take a pack in, or read it again",
		body: members(openapi.Object{
			"path":  openapi.Object{"type": "string", "minLength": 1, "description": "A directory directly below packs_base_dir."},
			"force": described("boolean", "Read a pack again that is known."),
		}, "path"),
		answers: []openapi.Answer{
			{Status: 200, Detail: "It was known, and has been read again.", Media: []string{"application/json"}, Body: registrationPayload{}},
			{Status: 201, Media: []string{"application/json"}, Body: registrationPayload{}, Headers: []string{"Location"}},
		},
		problems: append([]string{codeAlreadyRegistered, codeInvalidPack}, changeProblems...)},
	"GET /api/v1/packs/:ref":         {tag: tagPacks, summary: "One pack", answers: answersJSON(200, packPayload{}), problems: refProblems},
	"GET /api/v1/packs/:ref/actions": {tag: tagPacks, summary: "The actions of a pack", answers: answersJSON(200, page[actionSummary]{}), problems: refProblems},

	"GET /api/v1/packs/:ref/secrets": {tag: tagSecrets, summary: "The names of a pack's secrets", answers: answersJSON(200, page[secret.Entry]{}), problems: storeProblems},
	"PUT /api/v1/packs/:ref/secrets/:name": {tag: tagSecrets, summary: "Store a secret", answers: noAnswer, detail: "No call gives a value back.",
		body:     members(openapi.Object{"value": openapi.Object{"type": "string", "minLength": 1, "maxLength": secret.MaxValue, "writeOnly": true}}, "value"),
		problems: append([]string{codeNoSecretsKey, execution.CodeStateUnavailable, codeBodyTooLarge}, changeProblems...)},
	"DELETE /api/v1/packs/:ref/secrets/:name": {tag: tagSecrets, summary: "Delete a secret", answers: noAnswer,
		problems: append([]string{execution.CodeStateUnavailable}, changeProblems...)},

	"GET /api/v1/actions":      {tag: tagActions, summary: "All actions", answers: answersJSON(200, page[actionSummary]{})},
	"GET /api/v1/actions/:ref": {tag: tagActions, summary: "Schema, examples, limits, how to call it", answers: answersJSON(200, actionPayload{}), problems: refProblems},

	"GET /api/v1/environments": {tag: tagEnvironments, summary: "Where each environment stands", answers: answersJSON(200, page[envcache.Status]{})},
	"POST /api/v1/environments/prune": {tag: tagEnvironments, summary: "Delete generations that nobody uses", answers: answersJSON(200, page[envcache.Pruned]{}),
		body: members(openapi.Object{"all": described("boolean", "Those that are younger than build.prune_after, too.")}), problems: environmentProblems},
	"GET /api/v1/environments/:pack/:runtime": {tag: tagEnvironments, summary: "One environment", answers: environmentAnswer, problems: refProblems},
	"DELETE /api/v1/environments/:pack/:runtime": {tag: tagEnvironments, summary: "Forget an environment", answers: noAnswer,
		problems: environmentProblems},
	"GET /api/v1/environments/:pack/:runtime/log": {tag: tagEnvironments, summary: "What the last build printed", answers: textAnswer, problems: refProblems},
	"GET /api/v1/environments/:pack/:runtime/events": {tag: tagEnvironments, summary: "Follow the builds",
		detail:   "`state` first and after each change, `phase` and `log` of a build. It ends when the client leaves or the gateway stops.",
		answers:  []openapi.Answer{{Status: 200, Media: []string{mediaEvents, mediaLines}}},
		problems: append([]string{codeNotAcceptable}, refProblems...)},
	"POST /api/v1/environments/:pack/:runtime/build": {tag: tagEnvironments, summary: "Build now", answers: buildAnswer, body: noMembers,
		problems: environmentProblems},
	"POST /api/v1/environments/:pack/:runtime/rebuild": {tag: tagEnvironments, summary: "Build anew beside what serves", answers: buildAnswer,
		body: noMembers, problems: environmentProblems},
	"POST /api/v1/environments/:pack/:runtime/rollback": {tag: tagEnvironments, summary: "Serve an earlier generation", answers: environmentAnswer,
		body: members(openapi.Object{"digest": openapi.Object{"type": "string", "pattern": "^([0-9a-f]{32})?$",
			"description": "Empty or missing: the generation before."}}),
		problems: environmentProblems},
	"POST /api/v1/environments/:pack/:runtime/verify": {tag: tagEnvironments, summary: "Compare the files with what was published",
		answers: answersJSON(200, envcache.Verification{}), body: noMembers, problems: environmentProblems},

	"GET /api/v1/keys": {tag: tagKeys, summary: "All API keys", answers: answersJSON(200, page[key.Key]{}), problems: storeProblems},
	"POST /api/v1/keys": {tag: tagKeys, summary: "Make an API key", answers: answersJSON(201, newKeyPayload{}), body: keyOrder,
		detail:   "The answer has its token, which no call gives again. The first key must have the scope admin; from then on a key is needed.",
		problems: append([]string{execution.CodeStateUnavailable}, changeProblems...)},
	"DELETE /api/v1/keys/:id": {tag: tagKeys, summary: "Revoke an API key", answers: noAnswer,
		problems: append([]string{codeLastAdminKey, execution.CodeStateUnavailable}, changeProblems...)},

	"GET /api/v1/executions":     {tag: tagExecutions, summary: "What runs and ran, newest first", answers: answersJSON(200, page[executionSummary]{}), problems: []string{execution.CodeStateUnavailable}},
	"GET /api/v1/executions/:id": {tag: tagExecutions, summary: "One execution", answers: answersJSON(200, execution.Execution{}), problems: storeProblems},
	"GET /api/v1/executions/:id/logs/stdout": {tag: tagExecutions, summary: "What it printed on stdout", answers: logAnswer,
		detail: "With follow, until it ends, as text or as events.", problems: append([]string{codeElsewhere}, storeProblems...)},
	"GET /api/v1/executions/:id/logs/stderr": {tag: tagExecutions, summary: "What it printed on stderr", answers: logAnswer,
		detail: "With follow, until it ends, as text or as events.", problems: append([]string{codeElsewhere}, storeProblems...)},
	"POST /api/v1/executions/:id/cancel": {tag: tagExecutions, summary: "Kill it", body: noMembers,
		answers: []openapi.Answer{
			{Status: 200, Media: []string{"application/json"}, Body: execution.Execution{}},
			{Status: 202, Detail: "It is being killed.", Media: []string{"application/json"}, Body: execution.Execution{}},
		},
		problems: append([]string{codeEnded, codeElsewhere, execution.CodeStateUnavailable}, changeProblems...)},
}

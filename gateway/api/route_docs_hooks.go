package api

import (
	"attune/gateway/delivery"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/openapi"
)

const tagHooks = "hooks"

var (
	hookProblems     = append([]string{execution.CodeStateUnavailable, execution.CodeSecretsUnreadable}, changeProblems...)
	deliveryProblems = append([]string{delivery.CodeInvalidSignature, delivery.CodeIDReuse, delivery.CodeInProgress, codeInvalidHeader}, queueProblems...)
)

// hookDocs describe hooks and what they are sent.
var hookDocs = map[string]routeDoc{
	"POST /hooks/:key": {tag: tagHooks, summary: "Take what a webhook delivers", body: openapi.Object{},
		detail: "Proven as the hook's file says, on the bytes as they are; JSON, a form or text. A hook whose senders wait answers with the action's result.",
		answers: []openapi.Answer{
			{Status: 200, Detail: "The result, a repetition of what has succeeded, or a handshake.", Media: []string{"*/*"}, Body: openapi.Object{}},
			{Status: 202, Detail: "It is stored, and will run.", Media: []string{"application/json"}, Body: acknowledgement{}, Headers: []string{"Location", "Attune-Execution-Id"}},
		},
		problems: append(openapi.ActionProblems(), deliveryProblems...)},
	"GET /hooks/:key": {tag: tagHooks, summary: "Answer a handshake", answers: textAnswer, detail: "By hub.mode, hub.verify_token and hub.challenge.",
		problems: []string{execution.CodeInvalidRef, codeInvalidQuery, delivery.CodeInvalidSignature, execution.CodeStateUnavailable, execution.CodeSecretsUnreadable}},
	"GET /api/v1/hooks":      {tag: tagHooks, summary: "All hooks", answers: answersJSON(200, page[hookPayload]{}), problems: []string{execution.CodeStateUnavailable}},
	"GET /api/v1/hooks/:ref": {tag: tagHooks, summary: "One hook", answers: answersJSON(200, hookPayload{}), problems: storeProblems},
	"POST /api/v1/hooks/:ref/rotate": {tag: tagHooks, summary: "Give a hook another URL", answers: answersJSON(200, hookPayload{}), problems: hookProblems,
		body: members(openapi.Object{"grace": described("string", "How long the URL before works on: a duration.")})},
	"POST /api/v1/hooks/:ref/test": {tag: tagHooks, summary: "Send a hook a signed sample of its sender", body: noMembers,
		answers: answersJSON(202, acknowledgement{}, "Attune-Execution-Id"), problems: append(openapi.ActionProblems(), deliveryProblems...)},
	"GET /api/v1/hooks/:ref/deliveries":     {tag: tagHooks, summary: "What came to a hook, newest first", answers: answersJSON(200, page[hook.Entry]{}), problems: storeProblems},
	"GET /api/v1/hooks/:ref/deliveries/:id": {tag: tagHooks, summary: "One delivery, with its body", answers: answersJSON(200, deliveryPayload{}), problems: storeProblems},
	"POST /api/v1/hooks/:ref/deliveries/:id/replay": {tag: tagHooks, summary: "Execute a delivery once more", body: noMembers,
		answers: answersJSON(202, acknowledgement{}, "Location", "Attune-Execution-Id"), problems: append([]string{delivery.CodeNotReplayable}, queueProblems...)},
}

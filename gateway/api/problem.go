package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// mediaProblem is the media type of every error.
const mediaProblem = "application/problem+json"

// Codes of problems that only HTTP has; the others are package execution's.
const (
	codeInvalidRequest      = "invalid-request" // what isn't HTTP, or is ambiguous
	codeInvalidQuery        = "invalid-query"
	codeInvalidHeader       = "invalid-header"
	codeUnauthenticated     = "unauthenticated"
	codeForbidden           = "forbidden"
	codeRateLimited         = "rate-limited"
	codeLastAdminKey        = "last-admin-key"
	codeMethodNotAllowed    = "method-not-allowed"
	codeNotAcceptable       = "not-acceptable"
	codeRequestTimeout      = "request-timeout"
	codeBodyTooLarge        = "body-too-large"
	codeURITooLong          = "uri-too-long"
	codeMediaType           = "unsupported-media-type"
	codeEncoding            = "unsupported-encoding"
	codeExpectation         = "expectation-failed"
	codeHeadersTooLarge     = "headers-too-large"
	codeUnknownMethod       = "unknown-method"
	codeUnsupportedProtocol = "unsupported-protocol"
	codeNotReady            = "not-ready"
	codeNoGeneration        = "no-generation"
	codeAlreadyRegistered   = "already-registered"
	codeInvalidPack         = "invalid-pack"
	codeNoSecretsKey        = "no-secrets-key"
	codeEnded               = "execution-ended"
	codeElsewhere           = "execution-elsewhere"
	codeInvalidEvent        = "invalid-event"
	codeOutcomeUnknown      = "outcome-unknown"
	codeAnswerNotKept       = "answer-not-kept"
	codeKeyReused           = "idempotency-key-reuse"
	codeAlreadyExists       = "already-exists"
	codeInPack              = "in-pack"
	codeNothingKept         = "execution-not-kept"
	codeInvalidMessage      = "invalid-message"
)

// StatusOf is the status of the problem of a code; 0 = there is none.
func StatusOf(code string) int { return kinds[code].status }

// Problem is the body of every error: RFC 9457 with our extensions.
type Problem struct {
	Type      string         `json:"type"` // "/problems/<code>"
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail,omitempty"` // for people; holds nothing of the request
	Instance  string         `json:"instance"`         // the request's ID, also in the gateway's log
	Component string         `json:"component"`
	Phase     string         `json:"phase"`
	Retryable bool           `json:"retryable"`
	Started   bool           `json:"started"` // whether the action's program may have run
	Execution string         `json:"execution,omitempty"`
	Errors    []problemError `json:"errors,omitempty"`
	Log       string         `json:"log,omitempty"`
	Checks    []HealthCheck  `json:"checks,omitempty"`
	// RetryAfter repeats the header of that name, in seconds: a problem that
	// comes as an event has none.
	RetryAfter int64 `json:"retry_after,omitempty"`
	// Environment is where the state of the environment is told which the call
	// needs and has not.
	Environment string `json:"environment,omitempty"`
}

// problemError is one of several things that are wrong: with a document that
// was sent, or with a file of a pack.
type problemError struct {
	Pointer *string `json:"pointer,omitempty"` // RFC 6901; empty = the document itself
	File    string  `json:"file,omitempty"`    // relative to the pack
	Line    int     `json:"line,omitempty"`
	Detail  string  `json:"detail"`
}

func showProblems(problems []pack.Problem) []problemError {
	var list []problemError
	for _, p := range problems {
		list = append(list, problemError{Pointer: &p.Pointer, Detail: p.Detail})
	}
	return list
}

// refuse is an error found here, before any part of the gateway was asked.
func refuse(code, detail string) *execution.Error {
	return &execution.Error{Failure: execution.Failure{
		Code: code, Component: "gateway", Phase: "request", Reason: detail,
	}}
}

// refuseForNow is refuse for what a later request may get.
func refuseForNow(code, detail string, after time.Duration) *execution.Error {
	err := refuse(code, detail)
	err.Retryable = true
	err.RetryAfter = after
	return err
}

// fail answers with the problem that err stands for. It decides by type: texts
// of foreign errors may hold parts of the request.
func (s *Server) fail(ctx *fasthttp.RequestCtx, err error) {
	s.writeProblem(ctx, s.problem(callOf(ctx), err))
}

func (s *Server) problem(call *call, err error) *Problem {
	var failure *execution.Error
	var routing *fiber.Error
	switch {
	case errors.As(err, &failure) && kinds[failure.Code] != kind{}:
		s.logFailure(call, failure)
	case errors.As(err, &routing) && routing.Code == fiber.StatusNotFound:
		failure = refuse(execution.CodeNotFound, nothingHere)
	case errors.As(err, &routing) && routing.Code == fiber.StatusMethodNotAllowed:
		failure = refuse(codeMethodNotAllowed, "the Allow header lists the methods that there are")
	default:
		s.Logger.Error("request failed", slog.String("request", call.id), slog.String("route", call.route), slog.Any("error", err))
		failure = refuse(execution.CodeInternal, "the gateway's log has the cause, under the ID in instance")
		failure.Phase = call.phase()
	}
	return describe(call, failure)
}

// describe is the problem of a failure with a known code.
func describe(call *call, failure *execution.Error) *Problem {
	kind := kinds[failure.Code]
	call.problem = failure.Code
	problem := &Problem{
		Type:      "/problems/" + failure.Code,
		Title:     kind.title,
		Status:    kind.status,
		Detail:    failure.Reason,
		Instance:  call.id,
		Component: failure.Component,
		Phase:     failure.Phase,
		Retryable: failure.Retryable,
		Started:   failure.Started,
		Execution: call.execution,
		Errors:    showProblems(failure.Parameters),
		Log:       failure.Log,
	}
	if failure.RetryAfter > 0 {
		problem.RetryAfter = max(1, int64(math.Ceil(failure.RetryAfter.Seconds())))
	}
	switch failure.Code {
	case execution.CodeEnvironmentBuild, execution.CodeEnvironmentFailed, execution.CodeEnvironmentStorage:
		problem.Environment = call.environment
	}
	return problem
}

// logFailure logs what an operator can do something about. Refused requests are
// in the access log, and whoever made an execution has logged its end.
func (s *Server) logFailure(call *call, failure *execution.Error) {
	level := slog.LevelDebug
	switch {
	case call.execution != "":
	case failure.Code == execution.CodeInternal:
		level = slog.LevelError
	case kinds[failure.Code].status >= 500:
		level = slog.LevelWarn
	}
	s.Logger.Log(context.Background(), level, "request failed", slog.String("request", call.id),
		slog.String("execution", call.execution), slog.String("code", failure.Code), slog.Any("error", failure))
}

// writeProblem is the only writer of errors.
func (s *Server) writeProblem(ctx *fasthttp.RequestCtx, problem *Problem) {
	body, err := json.Marshal(problem)
	if err != nil { // it has no field that could
		body = []byte(`{"type":"/problems/internal","status":500}`)
	}
	ctx.Response.ResetBody()
	ctx.SetStatusCode(problem.Status)
	ctx.SetContentType(mediaProblem)
	if problem.Type == "/problems/"+codeUnauthenticated {
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	}
	if problem.RetryAfter > 0 {
		ctx.Response.Header.Set(fasthttp.HeaderRetryAfter, strconv.FormatInt(problem.RetryAfter, 10))
	}
	if problem.Environment != "" {
		ctx.Response.Header.Set("Link", "<"+problem.Environment+`>; rel="status"`)
	}
	ctx.SetBody(append(body, '\n'))
}

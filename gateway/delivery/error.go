package delivery

import (
	"log/slog"
	"time"

	"attune/gateway/execution"
)

// Codes of failures that only deliveries have: the slugs of their problems.
const (
	CodeInvalidSignature = "invalid-signature"
	CodeIDReuse          = "id-reuse"
	CodeInProgress       = "in-progress"
	CodeNotReplayable    = "not-replayable"
)

// Codes that http has as well.
const (
	codeInvalidHeader = "invalid-header"
	codeInvalidQuery  = "invalid-query"
	codeMediaType     = "unsupported-media-type"
)

// refuse is what the sender has to change.
func refuse(code, phase, reason string) *execution.Error {
	return &execution.Error{Failure: execution.Failure{Code: code, Component: "hook", Phase: phase, Reason: reason}}
}

// later is what the sender may simply repeat.
func later(code, phase, reason string, after time.Duration) *execution.Error {
	err := refuse(code, phase, reason)
	err.Retryable, err.RetryAfter = true, after
	return err
}

// away logs why the store did not answer, which a sender need not know.
func (r *Receiver) away(what string, err error) error {
	r.Logger.Warn("hooks: "+what, slog.Any("error", err))
	return later(execution.CodeStateUnavailable, "request", "the state of hooks can't be read or written now", time.Second)
}

package execution

import (
	"fmt"
	"time"

	"attune/gateway/pack"
)

// Codes of failures: the slugs of the problems that http answers with.
const (
	CodeInvalidRef         = "invalid-ref"
	CodeInvalidJSON        = "invalid-json"
	CodeInvalidParameters  = "invalid-parameters"
	CodeLimitExceeded      = "limit-exceeded" // a timeout above the operator's cap
	CodeForbidden          = "forbidden"
	CodeNotFound           = "not-found"
	CodeActionFailed       = "action-failed"
	CodeBadOutput          = "bad-output"
	CodeResultTooLarge     = "result-too-large"
	CodeOutOfMemory        = "out-of-memory"
	CodeInstanceLost       = "instance-lost"
	CodeEnvironmentBuild   = "environment-building"
	CodeEnvironmentFailed  = "environment-failed"
	CodeEnvironmentStorage = "environment-storage-full"
	CodeOverloaded         = "overloaded"
	CodeEngineUnavailable  = "engine-unavailable"
	CodeStateUnavailable   = "state-unavailable"
	CodeSecretsUnreadable  = "secrets-unreadable" // no key for a stored secret, or not the right one
	CodeDraining           = "draining"
	CodeTimedOut           = "timed-out"
	CodeCancelled          = "cancelled" // the caller left, or somebody cancelled the execution
	CodeInternal           = "internal"
)

// Error is why a call has no result. Its Failure and what else is exported may
// be shown to the caller; the cause is for the log.
type Error struct {
	Failure
	// RetryAfter is when a retry has a chance, computed; 0 = unknown.
	RetryAfter time.Duration
	// Parameters lists what is wrong with each parameter, for
	// CodeInvalidParameters.
	Parameters []pack.Problem
	// Log is the end of what the failing program printed: the installer's
	// output for CodeEnvironmentFailed, stderr for CodeActionFailed.
	Log   string
	cause error
}

// Error implements error with everything an operator needs in a log.
func (e *Error) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("%s: %s", e.Code, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %v", e.Code, e.Reason, e.cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// NewError makes the error of a part beside this package that refuses or ends
// calls. The cause may be nil.
func NewError(code, component, phase, reason string, cause error) *Error {
	e := fail(code, component, phase, reason)
	e.cause = cause
	return e
}

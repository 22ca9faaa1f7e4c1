package execution

import (
	"time"

	"attune/envcache"
)

// Request asks for one call.
type Request struct {
	ID      string        // of the execution, from NewID
	Action  string        // "pack.action", unchecked
	Body    []byte        // parameters as the caller sent them: one JSON object, or empty; owned by the callee
	Timeout time.Duration // the caller's own limit; 0 = the action's
	Arrived time.Time     // durations count from here
	// Trace and TraceState say where in a trace the call is: a valid W3C
	// traceparent and its tracestate. Empty = nowhere.
	Trace, TraceState string
	// Accepted is told once, when nothing is left to refuse: from here on the
	// call is an execution, whatever becomes of it. Nil = nobody asks.
	Accepted func()
	// Progress is told of the environment's events while the call waits for it.
	// Such a caller sees that something happens, and so waits until its own
	// deadline, not only for build.waiter. It must not block. Nil = nobody asks.
	Progress func(envcache.Event)
	// Attempt says that the call is one of an asynchronous execution's. Nil = it
	// is a call that somebody waits for.
	Attempt *Attempt
}

// Attempt is one run of an asynchronous execution.
type Attempt struct {
	Created time.Time // when the execution was accepted
	Source  string    // of the Execution; not empty
	Caller  string
	Number  int
	// Settle keeps how the attempt has ended before anybody is told of it. It may
	// change the record: an attempt that is followed by another one leaves the
	// execution queued. The Runner records nothing itself.
	Settle func(outcome *Outcome, failure *Error)
}

// Outcome is a call that reached an execution, whatever its status.
type Outcome struct {
	Execution *Execution
	// Output is the result in its own media type, exactly as the action printed
	// it (JSON is compacted). Empty unless the execution succeeded.
	Output    []byte
	MediaType string // "application/json", "text/plain; charset=utf-8", …
}

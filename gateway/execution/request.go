package execution

import "time"

// Request asks for one synchronous call.
type Request struct {
	ID      string        // of the execution, from NewID
	Action  string        // "pack.action", unchecked
	Body    []byte        // parameters as the caller sent them: one JSON object, or empty; owned by the callee
	Timeout time.Duration // the caller's own limit; 0 = the action's
	Arrived time.Time     // durations count from here
}

// Outcome is a call that reached an execution, whatever its status.
type Outcome struct {
	Execution *Execution
	// Output is the result in its own media type, exactly as the action printed
	// it (JSON is compacted). Empty unless the execution succeeded.
	Output    []byte
	MediaType string // "application/json", "text/plain; charset=utf-8", …
}

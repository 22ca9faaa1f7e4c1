// Package execution is one call of one action: it finds the environment and an
// instance, runs the action, reads its output, and records what happened.
package execution

import (
	"encoding/json"
	"time"
)

// Status is where an execution stands.
type Status string

const (
	StatusQueued    Status = "queued"
	StatusRunning   Status = "running"
	StatusSucceeded Status = "succeeded"
	StatusFailed    Status = "failed"
	StatusTimedOut  Status = "timed_out"
	StatusCancelled Status = "cancelled"
	StatusDead      Status = "dead" // an asynchronous one whose attempts are spent
)

// Ended tells whether an execution of this status will not change any more.
func (s Status) Ended() bool { return s != StatusQueued && s != StatusRunning }

// Execution is the record of one call.
type Execution struct {
	ID              string          `json:"id"` // ULID: sorts by time of creation
	Action          string          `json:"action"`
	Pack            string          `json:"pack"`
	Gateway         string          `json:"gateway"` // ID of the gateway that ran it
	Status          Status          `json:"status"`
	ExitCode        *int            `json:"exit_code"` // null: the program did not end by itself, or never started
	CreatedAt       time.Time       `json:"created_at"`
	StartedAt       *time.Time      `json:"started_at"` // when the program was started
	EndedAt         *time.Time      `json:"ended_at"`
	DurationMS      float64         `json:"duration_ms"` // from the call's arrival to its end
	Result          json.RawMessage `json:"result"`      // parsed output as JSON; null where there is none
	Stdout          string          `json:"stdout"`      // kept part of the log; empty where stdout is the result
	Stderr          string          `json:"stderr"`
	StdoutTruncated bool            `json:"stdout_truncated"`
	StderrTruncated bool            `json:"stderr_truncated"`
	BytesTruncated  int64           `json:"bytes_truncated"` // of both streams together
	Error           *Failure        `json:"error"`
	Timing          Timing          `json:"timing"`

	// Of asynchronous executions only. Their record is the queue's to write.
	Source  string `json:"source,omitempty"`  // who asked: "http", "hook:shop.order_paid", …
	Caller  string `json:"caller,omitempty"`  // ID of the API key
	Attempt int    `json:"attempt,omitempty"` // of how many runs this is the last one; 0 before the first
}

// Failure says which part failed, why, and whether a retry is safe.
type Failure struct {
	Code      string `json:"code"`      // a problem's slug: "action-failed"
	Component string `json:"component"` // "action", "environment", "engine", "gateway", …
	Phase     string `json:"phase"`     // "validate", "environment", "start", "run", "output"
	Reason    string `json:"reason"`    // for people; holds nothing of the request
	Retryable bool   `json:"retryable"`
	Started   bool   `json:"started"` // whether the action's program may have run
}

// Timing says where a call's time went, in milliseconds.
type Timing struct {
	Validate    float64 `json:"validate_ms"`    // until the call was accepted: reading and checking it
	Queue       float64 `json:"queue_ms"`       // waiting for a slot
	Environment float64 `json:"environment_ms"` // waiting for the environment
	Start       float64 `json:"start_ms"`       // starting an instance; 0 on a warm one
	Run         float64 `json:"run_ms"`
}

// Package queue runs executions that nobody waits for: it keeps them until they have ended, however often a gateway dies
// in between.
package queue

import (
	"context"
	"time"

	"attune/gateway/execution"
)

// Priority orders the jobs of one pack that are due.
type Priority int

// The priorities; the zero value is what a job has that says nothing.
const (
	PriorityNormal Priority = 0
	PriorityHigh   Priority = 1
	PriorityLow    Priority = -1
)

// Job is one asynchronous execution.
type Job struct {
	ID         string        // of the execution, from execution.NewID
	Action     string        // "pack.action"
	Parameters []byte        // one JSON object as the caller sent it, or empty; checked against the schema by Submit
	Source     string        // who asked: "http", "hook:shop.order_paid", "schedule:shop.nightly", "retry:<execution ID>"
	Caller     string        // ID of the API key; empty = none
	Priority   Priority      // PriorityNormal (zero), PriorityHigh, PriorityLow
	NotBefore  time.Time     // zero = at once
	Timeout    time.Duration // the caller's own limit; 0 = the action's
	Callback   string        // URL to deliver the result to; empty = none
	Trace      string        // W3C traceparent; empty = none
}

// Submitter takes jobs.
type Submitter interface {
	// Submit checks a job as a call would be checked and stores it: once it has returned, the job is not lost. The same ID
	// again is no second job, and returns the execution of the first. The error is an *execution.Error.
	Submit(ctx context.Context, job Job) (*execution.Execution, error)
}

package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// end is how a job has ended. A failure is nil on success.
type end struct {
	outcome *execution.Outcome
	failure *execution.Error
}

// waiters wait for jobs that end on this gateway.
type waiters struct {
	mu  sync.Mutex
	all map[string][]chan end // by ID
}

// add returns what the end comes by, and what forgets it.
func (w *waiters) add(id string) (ended <-chan end, forget func()) {
	c := make(chan end, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string][]chan end{}
	}
	w.all[id] = append(w.all[id], c)
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all[id] = slices.DeleteFunc(w.all[id], func(other chan end) bool { return other == c })
		if len(w.all[id]) == 0 {
			delete(w.all, id)
		}
	}
}

// tell tells all who wait for a job.
func (w *waiters) tell(id string, e end) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.all[id] {
		select {
		case c <- e:
		default: // told already
		}
	}
}

// askEvery is how often is asked about a job that may run on another gateway.
const askEvery = 250 * time.Millisecond

// Call is Submit, and a wait for the end. A nil Outcome without an error says that
// it didn't come in time, or can't be told as the action's own output: then there
// is the execution. An error after the execution was accepted has an Outcome
// beside it, as of an execution.Runner.
func (q *Queue) Call(ctx context.Context, job Job, wait time.Duration) (*execution.Execution, *execution.Outcome, error) {
	ended, forget := q.waiters.add(job.ID)
	defer forget()
	x, err := q.Submit(ctx, job)
	if err != nil {
		return nil, nil, err
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	ask := time.NewTicker(askEvery)
	defer ask.Stop()
	for {
		select {
		case e := <-ended:
			if e.failure != nil {
				return x, e.outcome, e.failure
			}
			return x, e.outcome, nil
		case <-ask.C:
			now, err := q.Records.Get(ctx, job.ID)
			if err != nil || !now.Status.Ended() {
				continue // the wait is bounded anyway
			}
			outcome, failure := q.recall(now)
			if failure != nil {
				return now, outcome, failure
			}
			return now, outcome, nil
		case <-late.C:
			return x, nil, nil
		case <-ctx.Done():
			return x, nil, nil
		}
	}
}

// recall makes the outcome of an execution from its record; nil where the record
// doesn't have all of it.
func (q *Queue) recall(x *execution.Execution) (*execution.Outcome, *execution.Error) {
	outcome := &execution.Outcome{Execution: x}
	if x.Error != nil && x.Status != execution.StatusSucceeded {
		return outcome, &execution.Error{Failure: *x.Error}
	}
	ref, err := pack.ParseActionRef(x.Action)
	if err != nil {
		return nil, nil
	}
	action, known := q.Catalog().Action(ref)
	if !known {
		return nil, nil
	}
	outcome.MediaType = execution.MediaType(action.OutputFormat)
	switch {
	case action.OutputFormat == pack.FormatText:
		if x.StdoutTruncated {
			return nil, nil
		}
		outcome.Output = []byte(x.Stdout)
		var text string
		if json.Unmarshal(x.Result, &text) == nil && len(x.Result) > 0 { // a handler's
			outcome.Output = []byte(text)
		}
	case action.OutputFormat == pack.FormatJSONL:
		var lines []json.RawMessage
		if json.Unmarshal(x.Result, &lines) != nil {
			return nil, nil
		}
		for _, line := range lines {
			outcome.Output = append(append(outcome.Output, line...), '\n')
		}
	default: // JSON is YAML, too
		outcome.Output = append(bytes.Clone(x.Result), '\n')
	}
	return outcome, nil
}

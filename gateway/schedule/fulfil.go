package schedule

import (
	"context"
	"errors"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/queue"
)

// maxBackoff bounds the time between two attempts to make an execution.
const maxBackoff = 30 * time.Second

// fulfil makes the execution of a claim that is ours, and writes what came of
// it. It reports whether the claim was still ours.
// Who has claimed a slot finishes, also when the gateway stops: that takes no
// longer than the lease.
func (c *Clockwork) fulfil(ctx context.Context, s *pack.Schedule, state State) (State, bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.Lease)
	defer cancel()
	claim := *state.Claim
	failure := c.submit(ctx, s, state.Run, claim)
	next := state
	next.Version++
	switch {
	case failure == nil:
		next.Claim, next.Run = nil, claim.ID
		next.Last = &Slot{Slot: claim.Slot, At: c.now(), Outcome: Started, Execution: claim.ID}
	case failure.Retryable:
		claim.Attempts++
		claim.Until = c.Now().Add(backoff(claim.Attempts, failure.RetryAfter))
		claim.Code, claim.Reason = failure.Code, failure.Reason
		next.Claim = &claim
	default:
		next.Claim = nil
		next.Last = &Slot{Slot: claim.Slot, At: c.now(), Outcome: Refused, Code: failure.Code, Reason: failure.Reason}
	}
	won, err := c.Store.Swap(ctx, state.Version, next)
	if won {
		c.report(next, state)
	}
	return next, won, err
}

// submit makes an execution, well before the claim expires: later another one
// may have been made, have ended and be forgotten.
func (c *Clockwork) submit(ctx context.Context, s *pack.Schedule, before string, claim Claim) *execution.Error {
	ctx, cancel := context.WithTimeout(ctx, c.Lease*3/5)
	defer cancel()
	if s.Overlap == pack.OverlapReplace && before != "" && before != claim.ID {
		if err := c.Executions.Cancel(ctx, before); err != nil {
			return away("the execution of the slot before can't be cancelled now")
		}
	}
	_, err := c.Queue.Submit(ctx, job(s, claim.ID))
	var failure *execution.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &failure):
		return failure
	}
	return away("the queue does not answer")
}

// job is what a schedule asks for.
func job(s *pack.Schedule, id string) queue.Job {
	return queue.Job{ID: id, Action: s.Action.Ref.String(), Parameters: s.Parameters, Source: "schedule:" + s.Ref.String()}
}

func away(reason string) *execution.Error {
	return &execution.Error{Failure: execution.Failure{
		Code: execution.CodeStateUnavailable, Component: "queue", Phase: "validate", Reason: reason, Retryable: true,
	}}
}

// backoff is the time after an attempt: doubled with each, and at least what
// was asked for.
func backoff(attempts int, atLeast time.Duration) time.Duration {
	return min(max(time.Second<<min(attempts-1, 10), atLeast), maxBackoff)
}

package queue

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// Causes with which an attempt ends beside errStopping.
var (
	errCancelled = errors.New("the execution was cancelled")
	errLostClaim = errors.New("another gateway has taken the job over")
)

// attempt is a claimed job that runs here.
type attempt struct {
	queue  *Queue
	claim  Claim
	steps  context.Context // for what the store is told
	cancel context.CancelCauseFunc
	began  time.Time

	mu        sync.Mutex
	cancelled bool
	lost      bool
	noted     bool // the store shows it as running
}

// run brings a claimed job to the end of one attempt.
func (q *Queue) run(work, steps context.Context, c Claim) {
	ctx, cancel := context.WithCancelCause(work)
	defer cancel(nil)
	a := &attempt{queue: q, claim: c, steps: steps, cancel: cancel, began: time.Now(), cancelled: c.Cancelled}
	q.mu.Lock()
	q.attempts[c.ID] = a
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.attempts, c.ID)
	}()
	if c.Ended {
		a.remove()
		return
	}
	if err := a.invoke(ctx); err != nil { // it never came to run
		x := c.record(err.Status())
		x.Gateway, x.Attempt, x.Error = q.Gateway, c.Attempt, &err.Failure
		a.settle(ctx, &execution.Outcome{Execution: x}, err)
	}
}

// invoke runs the action. The error is for an attempt that settle has not seen.
func (a *attempt) invoke(ctx context.Context) *execution.Error {
	c := a.claim
	if a.isCancelled() {
		return refuse(execution.CodeCancelled, "the execution was cancelled before the action had started", nil, 0)
	}
	if c.Attempt > a.retry().Attempts {
		lost := refuse(execution.CodeInstanceLost, "the gateways that ran the job ended before it had", nil, 0)
		lost.Component, lost.Phase, lost.Retryable, lost.Started = "gateway", "run", true, true
		return lost
	}
	job, err := a.queue.open(c.Entry)
	if err == nil {
		settled := false
		_, err = a.queue.Runner.Invoke(ctx, execution.Request{
			ID: c.ID, Action: c.Action, Body: job.Parameters, Timeout: c.Timeout, Trace: job.Trace, Arrived: time.Now(),
			Attempt: &execution.Attempt{
				Created: c.Created, Source: cmp.Or(c.Source, "http"), Caller: c.Caller, Number: c.Attempt,
				Settle: func(outcome *execution.Outcome, failure *execution.Error) {
					settled = true
					a.settle(ctx, outcome, failure)
				},
			},
		})
		if settled {
			return nil
		}
	}
	var failure *execution.Error
	if !errors.As(err, &failure) {
		failure = refuse(execution.CodeInternal, "the gateway has a fault", err, 0)
	}
	return failure
}

// retry is the action's word; of one that is gone, the usual.
func (a *attempt) retry() pack.Retry {
	if ref, err := pack.ParseActionRef(a.claim.Action); err == nil {
		if action, known := a.queue.Catalog().Action(ref); known {
			return action.Retry
		}
	}
	return pack.DefaultRetry()
}

// settle decides what becomes of the job, and has the store keep it.
func (a *attempt) settle(ctx context.Context, outcome *execution.Outcome, failure *execution.Error) {
	x, q := outcome.Execution, a.queue
	if a.isLost() {
		q.Log.Warn("an attempt ended whose job another gateway has taken over", "execution", x.ID)
		return
	}
	s := situation{
		retry: a.retry(), attempt: a.claim.Attempt, cancelled: a.isCancelled(),
		tooOld: time.Since(a.claim.Created) > q.Limits.MaxAge,
	}
	if failure != nil {
		s.stopping = failure.Code == execution.CodeDraining ||
			failure.Code == execution.CodeCancelled && errors.Is(context.Cause(ctx), errStopping)
	}
	v := judge(failure, s)
	x.Status = v.status
	if v.status != execution.StatusQueued {
		a.end(x, end{outcome, failure})
		return
	}
	x.EndedAt, x.StartedAt = nil, nil
	if v.uncounted {
		x.Attempt--
		if !s.stopping {
			q.pause(x.Action, v.after)
		}
	}
	a.persist("put back", func(ctx context.Context) error { return q.Store.Again(ctx, a.claim, x, v.after, v.uncounted) })
}

// end keeps the end, tells about it, and removes the job.
func (a *attempt) end(x *execution.Execution, e end) {
	q := a.queue
	if x.Status == execution.StatusCancelled && (x.Error == nil || x.Error.Code != execution.CodeCancelled) {
		x.Error = &execution.Failure{Code: execution.CodeCancelled, Component: "request", Phase: "queue", Reason: "the execution was cancelled"}
		e.failure = &execution.Error{Failure: *x.Error}
	}
	keep := q.Store.Done
	if q.Ended != nil {
		keep = q.Store.Note // the job stays until that is told
	}
	if !a.persist("end", func(ctx context.Context) error { return keep(ctx, a.claim, x) }) {
		return
	}
	q.pace.note(time.Now())
	q.waiters.tell(x.ID, e)
	if q.Ended != nil {
		a.tell(x)
	}
}

// tell tells of an end that is kept, and removes the job; where that goes wrong
// it is put back, to be told of again.
func (a *attempt) tell(x *execution.Execution) {
	q := a.queue
	job, err := q.open(a.claim.Entry)
	if err == nil {
		err = q.Ended(a.steps, job, x)
	}
	if err == nil {
		a.persist("remove", func(ctx context.Context) error { return q.Store.Done(ctx, a.claim, x) })
		return
	}
	q.Log.Warn("the end of a job could not be told; trying again", "execution", x.ID, "error", err)
	again := backoff(pack.DefaultRetry(), int(min(a.claim.Turn, 20))) + time.Second
	a.persist("put back", func(ctx context.Context) error { return q.Store.Again(ctx, a.claim, x, again, true) })
}

// remove is tell for a job that another gateway has brought to its end.
func (a *attempt) remove() {
	x, err := a.queue.Records.Get(a.steps, a.claim.ID)
	if errors.Is(err, execution.ErrNoExecution) { // it is old: nobody asks for it any more
		x, err = a.claim.record(execution.StatusFailed), nil
	}
	switch {
	case err != nil: // the claim ends by itself, and somebody tries again
		a.queue.Log.Warn("the record of an ended job can't be read", "execution", a.claim.ID, "error", err)
	case a.queue.Ended == nil:
		a.persist("remove", func(ctx context.Context) error { return a.queue.Store.Done(ctx, a.claim, x) })
	default:
		a.tell(x)
	}
}

// persistEvery is between two tries to tell a store that is away.
const persistEvery = 250 * time.Millisecond

// persist has the store do something until it has, or until the claim is lost: a
// result is not thrown away because the store is away for a moment. The claim
// may be over then, and still ours, where nobody else could ask either.
func (a *attempt) persist(what string, step func(context.Context) error) (done bool) {
	for told := false; ; {
		ctx, cancel := context.WithTimeout(a.steps, storeTimeout)
		err := step(ctx)
		cancel()
		log := a.queue.Log.With("execution", a.claim.ID, "step", what)
		switch {
		case err == nil:
			return true
		case errors.Is(err, ErrLost):
			log.Warn("an attempt ended whose job another gateway has taken over")
			return false
		case a.steps.Err() != nil:
			log.Warn("the queue's store was away when the gateway stopped: the job will be taken over", "error", err)
			return false
		case !told:
			told = true
			log.Warn("the queue's store does not answer; trying again until it is back", "error", err)
		}
		select {
		case <-a.steps.Done():
		case <-time.After(persistEvery):
		}
	}
}

// note shows an attempt that takes a while as running, to who looks from other
// gateways.
func (a *attempt) note(ctx context.Context) error {
	running, here := a.queue.Records.Running(a.claim.ID)
	a.mu.Lock()
	noted := a.noted
	a.mu.Unlock()
	if noted || !here || time.Since(a.began) < noteAfter {
		return nil
	}
	x := running.Summary()
	if x.Status != execution.StatusRunning {
		return nil
	}
	if err := a.queue.Store.Note(ctx, a.claim, x); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noted = true
	return nil
}

// stop cancels the execution.
func (a *attempt) stop() {
	a.mu.Lock()
	a.cancelled = true
	a.mu.Unlock()
	if running, here := a.queue.Records.Running(a.claim.ID); here {
		running.Cancel()
	}
	a.cancel(errCancelled) // the first cause counts
}

// lose ends an attempt whose job is another's by now.
func (a *attempt) lose() {
	a.mu.Lock()
	a.lost = true
	a.mu.Unlock()
	a.cancel(errLostClaim)
}

func (a *attempt) isCancelled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cancelled
}

func (a *attempt) isLost() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lost
}

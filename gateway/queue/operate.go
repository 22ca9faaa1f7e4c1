package queue

import (
	"context"
	"errors"
	"time"

	"attune/gateway/execution"
)

// Cancel ends a job: one that waits at once, one that runs as soon as its gateway
// hears of it, within about a second. ErrNoJob says that there is no such job,
// or that it has ended; other errors are *execution.Errors.
func (q *Queue) Cancel(ctx context.Context, id string) error {
	entry, err := q.Store.Find(ctx, id)
	if errors.Is(err, ErrNoJob) {
		return err
	}
	if err != nil {
		return away(err)
	}
	x := entry.record(execution.StatusCancelled)
	x.Error = &execution.Failure{
		Code: execution.CodeCancelled, Component: "request", Phase: "queue", Reason: "the execution was cancelled before the action had started",
	}
	ended, err := q.Store.Cancel(ctx, x, q.Ended != nil) // somebody must be told
	switch {
	case errors.Is(err, ErrNoJob):
		return err
	case err != nil:
		return away(err)
	case ended:
		q.look()
		q.waiters.tell(id, end{&execution.Outcome{Execution: x}, &execution.Error{Failure: *x.Error}})
		return nil
	}
	q.mu.Lock()
	here := q.attempts[id]
	q.mu.Unlock()
	if here != nil {
		here.stop()
	}
	return nil
}

// Retry makes another execution of what an ended one was called with. The new
// one is the caller's. ErrNoJob says that nothing was kept of the old one: it was
// not asynchronous, or it succeeded; other errors are *execution.Errors.
func (q *Queue) Retry(ctx context.Context, id, caller string) (*execution.Execution, error) {
	x, err := q.Records.Get(ctx, id)
	if errors.Is(err, execution.ErrNoExecution) {
		return nil, ErrNoJob
	}
	if err != nil {
		return nil, away(err)
	}
	if !x.Status.Ended() {
		return nil, refuse(CodeNotEnded, "the execution has not ended", nil, 0)
	}
	entry, err := q.Store.Find(ctx, id)
	if errors.Is(err, ErrNoJob) {
		return nil, err
	}
	if err != nil {
		return nil, away(err)
	}
	return q.repeat(ctx, entry, "retry:"+id, caller, "")
}

// CodeNotEnded is the problem of repeating what has not ended.
const CodeNotEnded = "execution-not-ended"

// Redrive is Retry for a dead letter, which is removed in the same step. ErrNoJob
// says that there is none.
func (q *Queue) Redrive(ctx context.Context, id, caller string) (*execution.Execution, error) {
	letter, err := q.Letter(ctx, id)
	if err != nil {
		return nil, err
	}
	return q.repeat(ctx, letter.Entry, "redrive:"+id, caller, id)
}

// repeat submits a job again, as another one of now.
func (q *Queue) repeat(ctx context.Context, entry Entry, source, caller, instead string) (*execution.Execution, error) {
	job, err := q.open(entry)
	if err != nil {
		return nil, err
	}
	job.ID, job.Source, job.Caller, job.NotBefore = execution.NewID(), source, caller, time.Time{}
	return q.submit(ctx, job, instead)
}

// Dead returns a page of dead letters; see Store.Dead.
func (q *Queue) Dead(ctx context.Context, after string, limit int) (letters []Letter, next string, err error) {
	letters, next, err = q.Store.Dead(ctx, after, limit)
	if err != nil {
		return nil, "", away(err)
	}
	return letters, next, nil
}

// Letter returns one dead letter. ErrNoJob.
func (q *Queue) Letter(ctx context.Context, id string) (Letter, error) {
	letter, err := q.Store.Letter(ctx, id)
	if err != nil && !errors.Is(err, ErrNoJob) {
		return letter, away(err)
	}
	return letter, err
}

// Discard removes a dead letter; its execution stays. ErrNoJob.
func (q *Queue) Discard(ctx context.Context, id string) error {
	err := q.Store.Discard(ctx, id)
	if err != nil && !errors.Is(err, ErrNoJob) {
		return away(err)
	}
	return err
}

// Stats counts jobs.
func (q *Queue) Stats(ctx context.Context) (Stats, error) { return q.Store.Stats(ctx) }

package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// fakeQueue keeps Queue's contract: a job is checked and run by the invoker, when
// somebody waits for it.
type fakeQueue struct {
	invoker *fakeInvoker
	store   *fakeStore

	mu    sync.Mutex
	err   error
	jobs  []queue.Job
	takes time.Duration // until a job has ended
}

var _ Queue = (*fakeQueue)(nil)

// Of dead letters there is always one, whatever was done to it before.
const deadExecution = "01HZX3V7Q8R9S0T1V2W3X4Y5ZB"

// waitingExecution waits in the queue.
const waitingExecution = "01HZX3V7Q8R9S0T1V2W3X4Y5ZC"

func (f *fakeQueue) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeQueue) submitted() []queue.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]queue.Job(nil), f.jobs...)
}

func (f *fakeQueue) Submit(ctx context.Context, job queue.Job) (*execution.Execution, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	// The fake's Invoke does nothing but check.
	outcome, err := f.invoker.Invoke(ctx, execution.Request{ID: job.ID, Action: job.Action, Body: job.Parameters})
	if err != nil && outcome == nil {
		return nil, err
	}
	f.jobs = append(f.jobs, job)
	return queuedExecution(job), nil
}

func queuedExecution(job queue.Job) *execution.Execution {
	return &execution.Execution{
		ID: job.ID, Action: job.Action, Pack: "demo", Status: execution.StatusQueued, Source: job.Source, Caller: job.Caller,
		CreatedAt: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
	}
}

func (f *fakeQueue) Call(ctx context.Context, job queue.Job, wait time.Duration) (*execution.Execution, *execution.Outcome, error) {
	x, err := f.Submit(ctx, job)
	if err != nil {
		return nil, nil, err
	}
	if wait < f.takes {
		return x, nil, nil
	}
	outcome, err := f.invoker.Invoke(ctx, execution.Request{ID: job.ID, Action: job.Action, Body: job.Parameters})
	return x, outcome, err
}

func (f *fakeQueue) Cancel(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.err != nil:
		return f.err
	case id != waitingExecution:
		return queue.ErrNoJob
	}
	f.store.finish(queuedExecution(queue.Job{ID: id, Action: "demo.echo", Source: "http"}), execution.StatusCancelled)
	return nil
}

func (f *fakeQueue) Retry(ctx context.Context, id, caller string) (*execution.Execution, error) {
	if id != cancelledExecution {
		return nil, queue.ErrNoJob
	}
	return f.Submit(ctx, queue.Job{ID: execution.NewID(), Action: "demo.echo", Source: "retry:" + id, Caller: caller})
}

func (f *fakeQueue) Dead(_ context.Context, after string, _ int) ([]queue.Letter, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil || after != "" {
		return nil, "", f.err
	}
	return []queue.Letter{deadLetter()}, deadExecution, nil
}

func deadLetter() queue.Letter {
	job := queue.Job{ID: deadExecution, Action: "demo.echo", Source: "hook:demo.paid", Parameters: []byte(`{"name":"Ada"}`), Priority: queue.PriorityHigh}
	x := queuedExecution(job)
	x.Status, x.Attempt = execution.StatusDead, 3
	x.Error = &execution.Failure{Code: execution.CodeActionFailed, Component: "action", Phase: "run", Reason: "exit code 1", Started: true}
	return queue.Letter{Entry: queue.Entry{Job: job, Created: x.CreatedAt}, Execution: x}
}

func (f *fakeQueue) Letter(_ context.Context, id string) (queue.Letter, error) {
	if id != deadExecution {
		return queue.Letter{}, queue.ErrNoJob
	}
	return deadLetter(), nil
}

func (f *fakeQueue) Redrive(ctx context.Context, id, caller string) (*execution.Execution, error) {
	if id != deadExecution {
		return nil, queue.ErrNoJob
	}
	return f.Submit(ctx, queue.Job{ID: execution.NewID(), Action: "demo.echo", Source: "redrive:" + id, Caller: caller})
}

func (f *fakeQueue) Discard(_ context.Context, id string) error {
	if id != deadExecution {
		return errors.Join(queue.ErrNoJob)
	}
	return nil
}

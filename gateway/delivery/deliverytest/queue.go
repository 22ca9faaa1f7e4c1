// Package deliverytest has what tests of hooks need around them: a queue that
// keeps its contract, secrets in a map, and a pack with a hook of each sort.
package deliverytest

import (
	"context"
	"sync"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/queue"
)

// Queue is a queue.Submitter that stores jobs in a map, and runs none.
type Queue struct {
	Catalog func() *pack.Catalog

	mu   sync.Mutex
	jobs map[string]queue.Job
	err  error
	lose bool
}

var _ queue.Submitter = (*Queue)(nil)

// Fail makes Submit answer err, and store nothing; nil = no more.
func (q *Queue) Fail(err error) { q.set(err, false) }

// Lose makes Submit answer err although it has stored the job.
func (q *Queue) Lose(err error) { q.set(err, true) }

func (q *Queue) set(err error, lose bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err, q.lose = err, lose
}

// Submit implements queue.Submitter.
func (q *Queue) Submit(ctx context.Context, job queue.Job) (*execution.Execution, error) {
	ref, err := pack.ParseActionRef(job.Action)
	if err != nil {
		return nil, failure(execution.CodeInvalidRef)
	}
	action, there := q.Catalog().Action(ref)
	if !there || !action.Enabled {
		return nil, failure(execution.CodeNotFound)
	}
	_, problems, err := action.Parameters.ApplyWith(job.Parameters, nil)
	switch {
	case err != nil:
		return nil, failure(execution.CodeInvalidJSON)
	case len(problems) > 0:
		refused := failure(execution.CodeInvalidParameters)
		refused.Parameters = problems
		return nil, refused
	case ctx.Err() != nil:
		return nil, failure(execution.CodeCancelled)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.jobs == nil {
		q.jobs = map[string]queue.Job{}
	}
	if _, again := q.jobs[job.ID]; !again && (q.err == nil || q.lose) {
		q.jobs[job.ID] = job
	}
	if q.err != nil {
		return nil, q.err
	}
	return &execution.Execution{ID: job.ID, Action: job.Action, Status: execution.StatusQueued}, nil
}

func failure(code string) *execution.Error {
	return &execution.Error{Failure: execution.Failure{Code: code, Component: "gateway", Phase: "validate", Reason: "refused by the queue"}}
}

// Jobs are those that are stored.
func (q *Queue) Jobs() []queue.Job {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]queue.Job, 0, len(q.jobs))
	for _, job := range q.jobs {
		all = append(all, job)
	}
	return all
}

// Secrets are stored secrets by "pack/name"; Err, if any, is what reading them
// gives.
type Secrets struct {
	mu     sync.Mutex
	values map[string]string
	err    error
}

// Set stores a secret; an empty value removes it.
func (s *Secrets) Set(pack, name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]string{}
	}
	s.values[pack+"/"+name] = value
	if value == "" {
		delete(s.values, pack+"/"+name)
	}
}

// Fail makes reading answer err; nil = no more.
func (s *Secrets) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Values opens secrets, as a secret.Vault does.
func (s *Secrets) Values(_ context.Context, pack string, names []string) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]string{}
	for _, name := range names {
		if value, there := s.values[pack+"/"+name]; there {
			found[name] = value
		}
	}
	return found, s.err
}

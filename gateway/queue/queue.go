package queue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/secret"
)

// Runner runs attempts. An execution.Runner is one.
type Runner interface {
	Invoke(ctx context.Context, request execution.Request) (*execution.Outcome, error)
	// Check checks a call as Invoke would, and does nothing.
	Check(ctx context.Context, request execution.Request) (*pack.Action, error)
}

// Records finds executions. An execution.Recorder is one.
type Records interface {
	Get(ctx context.Context, id string) (*execution.Execution, error)
	Running(id string) (*execution.Running, bool)
}

// Sealer encrypts parameters that hold secrets. A secret.Vault is one.
type Sealer interface {
	Seal(pack, purpose, value string) (key string, box []byte, err error)
	Open(pack, purpose, key string, box []byte) (string, error)
}

// Options of a Queue. All but Ended are required.
type Options struct {
	Store   Store
	Records Records
	Runner  Runner
	Catalog func() *pack.Catalog
	Secrets Sealer
	Gateway string // ID
	Limits  Limits
	// Ended is told of each end before the job is removed: until it has returned
	// without an error, it is told again, by this gateway or by another.
	Ended func(ctx context.Context, job Job, x *execution.Execution) error
	Log   *slog.Logger
}

// Limits bound a queue; the operator's word.
type Limits struct {
	Concurrency int           // jobs that this gateway runs at once
	PerKey      int           // jobs of one API key at once, on all gateways; 0 = any number
	Max         int           // jobs that wait or run, on all gateways; 0 = any number
	MaxAge      time.Duration // after which a job isn't put off any more by what is no attempt
	Lease       time.Duration // for how long a dead gateway's jobs are left alone
	Poll        time.Duration // how often is looked for what other gateways have left
	Drain       time.Duration // for running jobs, when the gateway stops
}

// Queue takes jobs and runs them. Its methods may be called concurrently; without
// Run, jobs are only taken.
type Queue struct {
	Options
	owner   string        // of claims: this process
	wake    chan struct{} // buffered: says that there may be a job to take
	pace    pace
	waiters waiters

	mu       sync.Mutex
	attempts map[string]*attempt  // by ID: what runs here
	paused   map[string]time.Time // actions that nothing is taken of until then
	bounds   map[string]int       // max_concurrency of actions …
	catalog  *pack.Catalog        // … of this catalog
}

var _ Submitter = (*Queue)(nil)

// New returns a queue.
func New(o Options) *Queue {
	return &Queue{
		Options: o, owner: o.Gateway + "/" + execution.NewID(), wake: make(chan struct{}, 1),
		attempts: map[string]*attempt{}, paused: map[string]time.Time{},
	}
}

// storeTimeout bounds one step of a store.
const storeTimeout = 5 * time.Second

// Submit implements Submitter.
func (q *Queue) Submit(ctx context.Context, job Job) (*execution.Execution, error) {
	return q.submit(ctx, job, "")
}

// submit stores a job, in place of a dead letter where one is named.
func (q *Queue) submit(ctx context.Context, job Job, instead string) (*execution.Execution, error) {
	action, err := q.Runner.Check(ctx, execution.Request{
		ID: job.ID, Action: job.Action, Body: job.Parameters, Timeout: job.Timeout, Arrived: time.Now(),
	})
	if err != nil {
		return nil, err
	}
	entry, err := q.seal(action, Entry{Job: job, Created: time.Now().UTC()})
	if err != nil {
		return nil, err
	}
	x := entry.record(execution.StatusQueued)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout) // half a submit helps nobody
	defer cancel()
	added, err := q.Store.Add(ctx, Addition{Entry: entry, Execution: x, Most: q.Limits.Max, Instead: instead})
	switch {
	case errors.Is(err, ErrFull):
		return nil, refuse(execution.CodeOverloaded, "too many jobs wait (queue.max)", err, q.pace.until(q.Limits.Max))
	case errors.Is(err, ErrNoJob):
		return nil, refuse(execution.CodeNotFound, "there is no such dead letter", err, 0)
	case err != nil:
		return nil, away(err)
	case added:
		q.look()
		return x, nil
	}
	known, err := q.Records.Get(ctx, job.ID)
	if errors.Is(err, execution.ErrNoExecution) { // it ended so long ago that its record is gone
		return x, nil
	}
	if err != nil {
		return nil, away(err)
	}
	return known, nil
}

// look has the queue look for jobs at once. It doesn't block.
func (q *Queue) look() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func refuse(code, reason string, cause error, after time.Duration) *execution.Error {
	e := execution.NewError(code, "queue", "queue", reason, cause)
	e.Retryable, e.RetryAfter = after > 0, after
	return e
}

// away is the error for a store that did not answer. Whether the job was stored
// is not known.
func away(err error) *execution.Error {
	return refuse(execution.CodeStateUnavailable, "the queue's store does not answer", err, time.Second)
}

// codeNoSecretsKey is the problem of storing a secret without a key.
const codeNoSecretsKey = "no-secrets-key"

// seal hides parameters that hold a secret.
func (q *Queue) seal(action *pack.Action, e Entry) (Entry, error) {
	values, err := action.Parameters.SecretValues(e.Parameters)
	if len(e.Parameters) == 0 || err == nil && len(values) == 0 {
		return e, nil
	}
	key, box, err := q.Secrets.Seal(string(action.Ref.Pack), e.purpose(), string(e.Parameters))
	if errors.Is(err, secret.ErrNoKey) {
		return e, refuse(codeNoSecretsKey, "the parameters hold a secret, which can't be kept for later without a key for secrets (secrets.key_file)", err, 0)
	}
	if err != nil {
		return e, refuse(execution.CodeInternal, "the parameters can't be sealed", err, 0)
	}
	e.Parameters, e.Key, e.Box = nil, key, box
	return e, nil
}

// purpose has a space, which no name of a secret has.
func (e Entry) purpose() string { return "parameters of " + e.ID }

// open returns the job as it was submitted.
func (q *Queue) open(e Entry) (Job, error) {
	if e.Key == "" {
		return e.Job, nil
	}
	text, err := q.Secrets.Open(e.pack(), e.purpose(), e.Key, e.Box)
	if err != nil {
		return e.Job, refuse(execution.CodeSecretsUnreadable, "the parameters can't be opened with the gateway's keys for secrets", err, time.Minute)
	}
	job := e.Job
	job.Parameters = []byte(text)
	return job, nil
}

func (e Entry) pack() string {
	pack, _, _ := strings.Cut(e.Action, ".")
	return pack
}

// record is the execution of a job, as far as the job knows it.
func (e Entry) record(status execution.Status) *execution.Execution {
	x := &execution.Execution{
		ID: e.ID, Action: e.Action, Pack: e.pack(), Status: status, CreatedAt: e.Created, Source: e.Source, Caller: e.Caller,
	}
	if status.Ended() {
		ended := time.Now().UTC()
		x.EndedAt = &ended
		x.DurationMS = float64(ended.Sub(e.Created).Microseconds()) / 1000
	}
	return x
}

package queue_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/secret"
	"attune/gateway/sqlite"
	"attune/runtimes"
)

// patience is how long a test waits for what has to happen.
const patience = 20 * time.Second

// stage is a runner without programs: what an action does is a function. It
// keeps the contract of a runner for jobs.
type stage struct {
	catalog *pack.Catalog
	store   execution.Store

	mu     sync.Mutex
	acts   map[string]act
	bodies map[string][]string // of each action's runs
	now    int
	most   int // runs at once
}

// act runs an attempt; a nil error is success.
type act func(ctx context.Context, request execution.Request) *execution.Error

func (s *stage) Check(_ context.Context, request execution.Request) (*pack.Action, error) {
	ref, err := pack.ParseActionRef(request.Action)
	if err != nil {
		return nil, execution.NewError(execution.CodeInvalidRef, "request", "validate", "no ref", err)
	}
	action, known := s.catalog.Action(ref)
	if !known {
		return nil, execution.NewError(execution.CodeNotFound, "request", "validate", "no action", nil)
	}
	return action, nil
}

func (s *stage) Invoke(ctx context.Context, request execution.Request) (*execution.Outcome, error) {
	if _, err := s.Check(ctx, request); err != nil {
		return nil, err
	}
	s.mu.Lock()
	run := s.acts[request.Action]
	s.bodies[request.Action] = append(s.bodies[request.Action], string(request.Body))
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	a := request.Attempt
	x := &execution.Execution{
		ID: request.ID, Action: request.Action, Pack: "demo", Gateway: "gw", CreatedAt: a.Created, Source: a.Source, Caller: a.Caller, Attempt: a.Number,
		Status: execution.StatusSucceeded, Result: []byte(`{"ok":true}`),
	}
	var failure *execution.Error
	if run != nil {
		failure = run(ctx, request)
	}
	ended := time.Now().UTC()
	x.EndedAt = &ended
	outcome := &execution.Outcome{Execution: x}
	if failure == nil {
		outcome.Output, outcome.MediaType = []byte("{\"ok\":true}\n"), "application/json"
	} else {
		x.Status, x.Error, x.Result = failure.Status(), &failure.Failure, nil
	}
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	a.Settle(outcome, failure)
	if failure != nil {
		return outcome, failure
	}
	return outcome, nil
}

// runs counts the runs of an action.
func (s *stage) runs(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bodies[action])
}

func (s *stage) Get(ctx context.Context, id string) (*execution.Execution, error) {
	return s.store.Get(ctx, id)
}

func (s *stage) Running(string) (*execution.Running, bool) { return nil, false }

// rig is queues of several gateways on one store.
type rig struct {
	*stage
	db     *sqlite.Store
	path   string // of its file
	vault  *secret.Vault
	limits queue.Limits
	log    *slog.Logger
}

// newRig makes a pack "demo": plain, retried (5 attempts), once (one) and secretive.
func newRig(t *testing.T, acts map[string]act) *rig {
	t.Helper()
	packs := t.TempDir()
	files := map[string]string{
		"pack.yaml":              "ref: demo\nversion: 1.0.0\n",
		"actions/run.sh":         "#!/bin/sh\n",
		"actions/plain.yaml":     "ref: demo.plain\nentry_point: run.sh\noutput_format: json\n",
		"actions/narrow.yaml":    "ref: demo.narrow\nentry_point: run.sh\nmax_concurrency: 2\n",
		"actions/retried.yaml":   "ref: demo.retried\nentry_point: run.sh\nretry: {attempts: 5, min: 1ms, max: 20ms, on: [action-failed]}\n",
		"actions/once.yaml":      "ref: demo.once\nentry_point: run.sh\nretry: {attempts: 1}\n",
		"actions/secretive.yaml": "ref: demo.secretive\nentry_point: run.sh\nparameters: {token: {secret: true}, n: {}}\n",
	}
	for name, text := range files {
		path := filepath.Join(packs, "demo", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := pack.LoadCatalog(packs, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range catalog.Broken() {
		t.Fatal(broken.Err)
	}
	path := filepath.Join(t.TempDir(), "attune.db")
	db, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	named := map[string]act{}
	for name, run := range acts {
		named["demo."+name] = run
	}
	return &rig{
		stage: &stage{catalog: catalog, store: db, acts: named, bodies: map[string][]string{}},
		db:    db, path: path, vault: &secret.Vault{Store: db.Secrets()},
		limits: queue.Limits{
			Concurrency: 4, Max: 1000, MaxAge: time.Hour, Lease: time.Minute, Poll: 10 * time.Millisecond, Drain: patience,
		},
		log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}
}

// queue makes a gateway's queue, which doesn't run.
func (r *rig) queue(change ...func(*queue.Options)) *queue.Queue {
	o := queue.Options{
		Store: r.db.Jobs(), Records: r, Runner: r, Catalog: func() *pack.Catalog { return r.catalog }, Secrets: r.vault,
		Gateway: "gw", Limits: r.limits, Log: r.log,
	}
	for _, f := range change {
		f(&o)
	}
	return queue.New(o)
}

// start runs a queue until stop, or the test's end.
func start(t *testing.T, q *queue.Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		if err := q.Run(ctx); err != nil {
			t.Errorf("Run() error = %v", err)
		}
	})
	stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(stop)
	return stop
}

func job(action string, change ...func(*queue.Job)) queue.Job {
	j := queue.Job{ID: execution.NewID(), Action: "demo." + action, Source: "http", Parameters: []byte(`{"n":1}`)}
	for _, f := range change {
		f(&j)
	}
	return j
}

func submit(t *testing.T, q *queue.Queue, j queue.Job) string {
	t.Helper()
	x, err := q.Submit(t.Context(), j)
	if err != nil {
		t.Fatalf("Submit() error = %v", err)
	}
	if x.ID != j.ID || x.Status != execution.StatusQueued {
		t.Fatalf("Submit() = %+v, want a queued execution", x)
	}
	return x.ID
}

// until waits for an execution to be as it should.
func (r *rig) until(t *testing.T, id string, is func(*execution.Execution) bool) *execution.Execution {
	t.Helper()
	var x *execution.Execution
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		var err error
		if x, err = r.db.Get(t.Context(), id); err != nil {
			t.Fatalf("Get(%s) error = %v", id, err)
		}
		if is(x) {
			return x
		}
	}
	t.Fatalf("execution %s stays %+v", id, x)
	return nil
}

func (r *rig) ended(t *testing.T, id string) *execution.Execution {
	t.Helper()
	return r.until(t, id, func(x *execution.Execution) bool { return x.Status.Ended() })
}

// empty waits for all jobs to be removed.
func (r *rig) empty(t *testing.T) {
	t.Helper()
	var stats queue.Stats
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		var err error
		if stats, err = r.db.Jobs().Stats(t.Context()); err != nil {
			t.Fatal(err)
		}
		if stats.Waiting+stats.Claimed == 0 {
			return
		}
	}
	t.Fatalf("the queue stays at %+v", stats)
}

func failing(code string) *execution.Error {
	e := execution.NewError(code, "action", "run", "it failed", nil)
	e.Started = true
	return e
}

func wantCode(t *testing.T, what string, err error, code string) *execution.Error {
	t.Helper()
	var failure *execution.Error
	if !errors.As(err, &failure) || failure.Code != code {
		t.Fatalf("%s error = %v, want %s", what, err, code)
	}
	return failure
}

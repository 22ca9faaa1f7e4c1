package api

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// fakeInvoker keeps Invoker's contract: it checks parameters as the catalog
// says, and answers with them. behave replaces the action's program.
type fakeInvoker struct {
	catalog *pack.Catalog
	mu      sync.Mutex
	seen    []execution.Request
	behave  func(ctx context.Context, request execution.Request) (*execution.Outcome, error)
}

var _ Invoker = (*fakeInvoker)(nil)

func (f *fakeInvoker) Invoke(ctx context.Context, request execution.Request) (*execution.Outcome, error) {
	f.mu.Lock()
	f.seen = append(f.seen, request)
	behave := f.behave
	f.mu.Unlock()
	if behave != nil {
		return behave(ctx, request)
	}
	ref, err := pack.ParseActionRef(request.Action)
	if err != nil {
		return nil, failure(execution.CodeInvalidRef, "gateway", "validate", "not an action's ref")
	}
	action, ok := f.catalog.Action(ref)
	if !ok {
		return nil, failure(execution.CodeNotFound, "gateway", "validate", "there is no such action")
	}
	params, problems, err := action.Parameters.Apply(request.Body)
	if err != nil {
		return nil, failure(execution.CodeInvalidJSON, "gateway", "validate", "the body is not one JSON object")
	}
	if len(problems) > 0 {
		refused := failure(execution.CodeInvalidParameters, "gateway", "validate", "parameters are not valid")
		refused.Parameters = problems
		return nil, refused
	}
	accept(request)
	return succeeded(request, params, execution.MediaType(action.OutputFormat)), nil
}

// accept does what Invoke does when it has nothing left to refuse.
func accept(request execution.Request) {
	if request.Accepted != nil {
		request.Accepted()
	}
}

func (f *fakeInvoker) do(behave func(context.Context, execution.Request) (*execution.Outcome, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behave = behave
}

func (f *fakeInvoker) requests() []execution.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]execution.Request(nil), f.seen...)
}

func succeeded(request execution.Request, output []byte, mediaType string) *execution.Outcome {
	return &execution.Outcome{
		Execution: &execution.Execution{
			ID: request.ID, Action: request.Action, Status: execution.StatusSucceeded,
			Timing: execution.Timing{Validate: 0.125, Queue: 0.25, Environment: 1.5, Run: 2},
		},
		Output:    output,
		MediaType: mediaType,
	}
}

func failure(code, component, phase, reason string) *execution.Error {
	return &execution.Error{Failure: execution.Failure{Code: code, Component: component, Phase: phase, Reason: reason}}
}

const (
	knownExecution   = "01HZX3V7Q8R9S0T1V2W3X4Y5Z6"
	unknownExecution = "01HZX3V7Q8R9S0T1V2W3X4Y5Z7"

	cancelledExecution = "01HZX3V7Q8R9S0T1V2W3X4Y5Z8"
	elsewhereExecution = "01HZX3V7Q8R9S0T1V2W3X4Y5Z9" // runs on another gateway
	liveExecution      = "01HZX3V7Q8R9S0T1V2W3X4Y5ZA" // of tests that have one run
)

// fakeStore has an execution of each kind, and pages of one.
type fakeStore struct {
	mu    sync.Mutex
	err   error
	asked execution.Query
	live  *execution.Live
	ended map[string]*execution.Execution // what ran in live
}

var _ Store = (*fakeStore)(nil)

func (f *fakeStore) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeStore) Get(_ context.Context, id string) (*execution.Execution, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	if x := f.ended[id]; x != nil {
		return x, nil
	}
	if running, ok := f.live.Running(id); ok {
		return running.Execution(), nil
	}
	if status := map[string]execution.Status{
		cancelledExecution: execution.StatusCancelled, elsewhereExecution: execution.StatusRunning, waitingExecution: execution.StatusQueued,
	}[id]; status != "" {
		return &execution.Execution{ID: id, Action: "demo.echo", Pack: "demo", Gateway: "gw-2", Status: status}, nil
	}
	if id != knownExecution {
		return nil, fmt.Errorf("get %s: %w", id, execution.ErrNoExecution)
	}
	return storedExecution(), nil
}

func (f *fakeStore) List(_ context.Context, query execution.Query) (execution.Page, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = query
	switch {
	case f.err != nil:
		return execution.Page{}, f.err
	case query.Cursor == "":
		return execution.Page{Executions: []*execution.Execution{storedExecution()}, Next: "second"}, nil
	case query.Cursor == "second":
		return execution.Page{}, nil
	}
	return execution.Page{}, fmt.Errorf("list: %w", execution.ErrBadCursor)
}

func (f *fakeStore) Running(id string) (*execution.Running, bool) { return f.live.Running(id) }

// run has an execution run, until it is ended with a status; cancelled is closed
// when somebody cancels it.
func (f *fakeStore) run(id string) (running *execution.Running, cancelled chan struct{}, end func(execution.Status)) {
	cancelled = make(chan struct{})
	x := &execution.Execution{ID: id, Action: "demo.echo", Pack: "demo", Gateway: "gw", CreatedAt: time.Now().UTC()}
	limits := execution.Limits{Result: 1 << 20, Log: 1 << 10}
	once := sync.OnceFunc(func() { close(cancelled) })
	running = f.live.Begin(x, limits, func(error) { once() })
	return running, cancelled, func(status execution.Status) {
		ended := running.Execution()
		ended.Status = status
		f.live.End(ended, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ended[id] = ended
		})
	}
}

// finish has an execution ended.
func (f *fakeStore) finish(x *execution.Execution, status execution.Status) {
	x.Status = status
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended[x.ID] = x
}

func (f *fakeStore) query() execution.Query {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func storedExecution() *execution.Execution {
	exit := 0
	return &execution.Execution{
		ID: knownExecution, Action: "demo.echo", Pack: "demo", Status: execution.StatusSucceeded, ExitCode: &exit,
		CreatedAt: time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC),
		Result:    json.RawMessage(`{"name":"Ada"}`), Stdout: "<b>out</b>\n", Stderr: "err\n",
	}
}

// fakeHealth reports what it was told.
type fakeHealth struct {
	mu     sync.Mutex
	checks []HealthCheck
	asked  int
}

var _ Health = (*fakeHealth)(nil)

func (f *fakeHealth) report(checks ...HealthCheck) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.checks = checks
}

func (f *fakeHealth) Check(context.Context) []HealthCheck {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.checks
}

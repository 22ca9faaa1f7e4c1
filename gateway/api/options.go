package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/go-multierror"

	"attune/envcache"
	"attune/gateway/delivery"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/idempotency"
	"attune/gateway/key"
	"attune/gateway/limit"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/schedule"
	"attune/gateway/secret"
	"attune/gateway/trace"
)

// Invoker runs actions.
type Invoker interface {
	// Invoke runs one action and waits for its end. The error, if any, is an
	// *execution.Error; with it comes an Outcome where an execution exists.
	// Cancelling ctx ends the execution. Safe for concurrent use.
	Invoke(ctx context.Context, request execution.Request) (*execution.Outcome, error)
}

// Environments tells about the environments of the packs, and does what
// operators ask of them. List, Show, Log and Subscribe answer from memory and
// disk. What is changed gives execution.ErrNoEnvironment where pack or runtime
// are not known. Safe for concurrent use.
type Environments interface {
	List() []envcache.Status
	Show(pack, runtime string) (envcache.Status, bool)
	Log(pack, runtime string) ([]byte, bool) // what the last build printed

	// Build starts a build now, whatever the back-off says, and answers at once.
	Build(pack, runtime string) (envcache.Status, error)
	// Rebuild is Build of an environment that is there: the new generation is
	// built beside the old one, which serves until it is ready.
	Rebuild(pack, runtime string) (envcache.Status, error)
	// Rollback makes a generation serve again; an empty digest names the one
	// before. envcache.ErrNoGeneration if there is none.
	Rollback(pack, runtime, digest string) (envcache.Status, error)
	// Verify compares a generation with what was published.
	// envcache.ErrNotBuilt if there is none.
	Verify(ctx context.Context, pack, runtime string) (envcache.Verification, error)
	// Prune deletes generations that nobody uses; with all also those that are
	// younger than build.prune_after. What it deleted comes with an error, too.
	Prune(ctx context.Context, all bool) ([]envcache.Pruned, error)
	// Remove forgets an environment; its files go when nobody uses them.
	Remove(ctx context.Context, pack, runtime string) error
	// Subscribe follows the builds of one environment; false if there is none.
	Subscribe(pack, runtime string) (*envcache.Subscription, bool)
}

// Registrar takes packs into the catalog.
type Registrar interface {
	// Register reads the pack in the directory path and starts the builds that
	// it needs. A pack that is known is read again only with force; without, the
	// error is execution.ErrRegistered. Others are execution.ErrOutsidePacks, and
	// a *multierror.Error of every fault of the pack, which changes nothing.
	Register(ctx context.Context, path string, force bool) (execution.Registration, error)
}

// Store reads executions, also those that run. An execution.Recorder is one, with
// the errors of an execution.Store.
type Store interface {
	Get(ctx context.Context, id string) (*execution.Execution, error)
	List(ctx context.Context, query execution.Query) (execution.Page, error)
	// Running finds an execution of this gateway that has not ended. Once it has,
	// Get gives its record.
	Running(id string) (*execution.Running, bool)
}

// Queue takes asynchronous executions and runs them. A queue.Queue is one. Errors
// are *execution.Errors, or queue.ErrNoJob. Safe for concurrent use.
type Queue interface {
	queue.Submitter
	// Call is Submit, and a wait for the end; without an Outcome and an error
	// there is only the execution, which goes on.
	Call(ctx context.Context, job queue.Job, wait time.Duration) (*execution.Execution, *execution.Outcome, error)
	// Cancel has an execution end; queue.ErrNoJob where it is none of the queue's,
	// or has ended.
	Cancel(ctx context.Context, id string) error
	// Retry submits again what an ended execution was called with.
	Retry(ctx context.Context, id, caller string) (*execution.Execution, error)

	// Dead lists dead letters: next is the ID after which another page begins.
	Dead(ctx context.Context, after string, limit int) (letters []queue.Letter, next string, err error)
	Letter(ctx context.Context, id string) (queue.Letter, error)
	// Redrive is Retry of a dead letter, which is gone then.
	Redrive(ctx context.Context, id, caller string) (*execution.Execution, error)
	Discard(ctx context.Context, id string) error
}

// Secrets keeps the secrets of packs. A secret.Vault is one. Safe for concurrent
// use.
type Secrets interface {
	// Set stores a value. secret.ErrNoKey.
	Set(ctx context.Context, pack, name, value string) error
	// List tells about all secrets of a pack, sorted by name, without values.
	List(ctx context.Context, pack string) ([]secret.Entry, error)
	// Delete removes one. secret.ErrNone.
	Delete(ctx context.Context, pack, name string) error
}

// Hooks takes the deliveries of webhooks, and tells about hooks. A
// delivery.Receiver is one, whose errors are *execution.Error. Safe for
// concurrent use.
type Hooks interface {
	Receive(ctx context.Context, key string, q delivery.Request) (delivery.Answer, error)
	Challenge(ctx context.Context, key string, q delivery.Request) (delivery.Answer, error)

	Address(ctx context.Context, h *pack.Hook) (hook.Address, error)
	Rotate(ctx context.Context, h *pack.Hook, grace time.Duration) (hook.Address, error)
	// Unready says why a hook can't take anything at present; nil = it can.
	Unready(ctx context.Context, h *pack.Hook) error
	Deliveries(ctx context.Context, h *pack.Hook, before string, limit int) (entries []hook.Entry, next string, err error)
	Delivery(ctx context.Context, h *pack.Hook, id string) (hook.Entry, error)
	Replay(ctx context.Context, h *pack.Hook, id string) (delivery.Answer, error)
	Test(ctx context.Context, h *pack.Hook) (delivery.Answer, error)
}

// Keys keeps the API keys. A key.Keeper is one. Safe for concurrent use.
type Keys interface {
	// Ring is the present set of keys, from memory; nil while nobody knows.
	Ring() *key.Ring
	// Create makes a key and its token. key.ErrFirst, a *key.OrderError.
	Create(ctx context.Context, order key.Order) (key.Key, string, error)
	// Revoke ends a key. key.ErrNone, key.ErrLastAdmin.
	Revoke(ctx context.Context, id string) error
}

// Schedules looks after schedules. A schedule.Clockwork is one. Safe for
// concurrent use. All but List give schedule.ErrNone where there is no such one.
type Schedules interface {
	List(ctx context.Context) ([]schedule.Entry, error) // sorted by ref
	Show(ctx context.Context, ref string) (schedule.Entry, error)
	// Create stores one. *schedule.Invalid, schedule.ErrExists, schedule.ErrTooMany.
	Create(ctx context.Context, spec pack.ScheduleSpec) (schedule.Entry, error)
	// Delete forgets a stored one. schedule.ErrInPack.
	Delete(ctx context.Context, ref string) error
	// RunNow has an execution made with this ID. *execution.Error, *schedule.Invalid.
	RunNow(ctx context.Context, ref, id, caller string) (*execution.Execution, error)
	// SetPaused stops one, or lets it go on.
	SetPaused(ctx context.Context, ref string, paused bool) (schedule.Entry, error)
}

// Health checks what the gateway depends on.
type Health interface {
	Check(ctx context.Context) []HealthCheck
}

// HealthCheck is the state of one thing that the gateway depends on.
type HealthCheck struct {
	Name     string    `json:"name"`
	OK       bool      `json:"ok"`
	Required bool      `json:"required"` // not ready without it
	Detail   string    `json:"detail,omitempty"`
	Since    time.Time `json:"since,omitzero"` // when OK became what it is; filled in by the api
}

// Metrics counts requests and shows all metrics there are. Safe for concurrent use.
type Metrics interface {
	// Answered counts a request. The route is a pattern, empty if there was none.
	Answered(method, route string, status int, took time.Duration)
	// Expose writes all metrics as Prometheus reads them.
	Expose() (contentType string, body []byte, err error)
}

// Options are what a Server needs. Invoker, Catalog, Environments, Registrar,
// Store, Secrets, Keys, Queue, Schedules and NewID are required.
type Options struct {
	Invoker      Invoker
	Catalog      func() *pack.Catalog // the present snapshot
	Environments Environments
	Registrar    Registrar
	Store        Store
	Secrets      Secrets
	Hooks        Hooks // nil = there are none
	Keys         Keys
	RequireKeys  bool          // also while there is no key
	Anonymous    []key.Scope   // what needs no key where others do; of key.Invoke
	Limiter      limit.Limiter // of the rates of keys and actions. Defaults to one in memory.
	Schedules    Schedules
	Queue        Queue
	Callbacks    Callbacks         // nil = calls with a Callback-Url are refused
	Idempotency  *idempotency.Keys // nil = calls with an Idempotency-Key are refused
	Health       Health            // nil = always ready unless draining
	Metrics      Metrics           // nil = nothing is counted, and there is no /metrics
	Tracer       *trace.Tracer     // nil = requests are not drawn
	NewID        func() string     // of executions and of requests; ULIDs
	Logger       *slog.Logger      // Defaults to discarding.
	Version      string            // Defaults to "dev".
	BaseURL      string            // in examples, "https://functions.example.org". Defaults to the address listened on.
	Limits       Limits
}

// Limits bound what a client may cost. Zero fields mean the default.
type Limits struct {
	Body             int           // bytes of a request's body. Defaults to 6 MiB.
	Header           int           // bytes of request line and headers. Defaults to 16 KiB.
	HeaderFields     int           // header fields. Defaults to 100.
	URI              int           // bytes of path and query. Defaults to 8 KiB.
	ReadTimeout      time.Duration // for a whole request, headers and body. Defaults to 10 s.
	WriteTimeout     time.Duration // for writing one answer. Defaults to 60 s.
	IdleTimeout      time.Duration // between two requests. Defaults to 60 s.
	ConnectionsPerIP int           // open at once; negative = no cap. Defaults to 1024.
	Drain            time.Duration // how long Serve waits for running calls when it is told to stop. Defaults to 30 s.
	// Settle is how long after the last answer requests are still told that the
	// gateway stops: a client that keeps its connection sends its next one before it
	// can know, and would meet a closed one. One that comes later finds it closed, as
	// after any idle time. Defaults to 500 ms; negative = not at all.
	Settle time.Duration
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Version = cmp.Or(o.Version, "dev")
	o.Limiter = cmp.Or(o.Limiter, limit.Limiter(limit.NewMemory()))
	o.Limits = Limits{
		Body:             cmp.Or(o.Limits.Body, 6<<20),
		Header:           cmp.Or(o.Limits.Header, 16<<10),
		HeaderFields:     cmp.Or(o.Limits.HeaderFields, 100),
		URI:              cmp.Or(o.Limits.URI, 8<<10),
		ReadTimeout:      cmp.Or(o.Limits.ReadTimeout, 10*time.Second),
		WriteTimeout:     cmp.Or(o.Limits.WriteTimeout, 60*time.Second),
		IdleTimeout:      cmp.Or(o.Limits.IdleTimeout, 60*time.Second),
		ConnectionsPerIP: cmp.Or(o.Limits.ConnectionsPerIP, 1024),
		Drain:            cmp.Or(o.Limits.Drain, 30*time.Second),
		Settle:           cmp.Or(o.Limits.Settle, 500*time.Millisecond),
	}
	return o
}

func (o Options) validate() error {
	var faults *multierror.Error
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"Invoker", o.Invoker == nil},
		{"Catalog", o.Catalog == nil},
		{"Environments", o.Environments == nil},
		{"Registrar", o.Registrar == nil},
		{"Store", o.Store == nil},
		{"Secrets", o.Secrets == nil},
		{"Keys", o.Keys == nil},
		{"Schedules", o.Schedules == nil},
		{"Queue", o.Queue == nil},
		{"NewID", o.NewID == nil},
	} {
		if required.missing {
			faults = multierror.Append(faults, errors.New("option "+required.name+" is required"))
		}
	}
	return faults.ErrorOrNil()
}

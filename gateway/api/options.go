package api

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hashicorp/go-multierror"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/pack"
)

// Invoker runs actions.
type Invoker interface {
	// Invoke runs one action and waits for its end. The error, if any, is an
	// *execution.Error; with it comes an Outcome where an execution exists.
	// Cancelling ctx ends the execution. Safe for concurrent use.
	Invoke(ctx context.Context, request execution.Request) (*execution.Outcome, error)
}

// Environments tells about the environments of the packs. Its methods answer
// from memory and are safe for concurrent use.
type Environments interface {
	List() []envcache.Status
	Show(pack, runtime string) (envcache.Status, bool)
	Log(pack, runtime string) ([]byte, bool) // what the last build printed
}

// Store reads executions. An execution.Store is one, with the same errors.
type Store interface {
	Get(ctx context.Context, id string) (*execution.Execution, error)
	List(ctx context.Context, query execution.Query) (execution.Page, error)
}

// Health checks what the gateway depends on.
type Health interface {
	Check(ctx context.Context) []HealthCheck
}

// HealthCheck is the state of one thing that the gateway depends on.
type HealthCheck struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"` // not ready without it
	Detail   string `json:"detail,omitempty"`
}

// Options are what a Server needs. Invoker, Catalog, Environments, Store and
// NewID are required.
type Options struct {
	Invoker      Invoker
	Catalog      func() *pack.Catalog // the present snapshot
	Environments Environments
	Store        Store
	Health       Health        // nil = always ready unless draining
	NewID        func() string // of executions and of requests; ULIDs
	Logger       *slog.Logger  // Defaults to discarding.
	Version      string        // Defaults to "dev".
	BaseURL      string        // in examples, "https://functions.example.org". Defaults to the address listened on.
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
}

func (o Options) withDefaults() Options {
	o.Logger = cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	o.Version = cmp.Or(o.Version, "dev")
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
		{"Store", o.Store == nil},
		{"NewID", o.NewID == nil},
	} {
		if required.missing {
			faults = multierror.Append(faults, errors.New("option "+required.name+" is required"))
		}
	}
	return faults.ErrorOrNil()
}

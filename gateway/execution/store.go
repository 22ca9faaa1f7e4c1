package execution

import (
	"context"
	"errors"
	"time"
)

// ErrNoExecution says that a store has no execution of that ID.
var ErrNoExecution = errors.New("no such execution")

// ErrBadCursor says that a cursor was not made by this store.
var ErrBadCursor = errors.New("malformed cursor")

// Store keeps executions. Both adapters (embedded database, Redis) pass
// storetest.Exercise. All methods may be called concurrently.
type Store interface {
	// Save writes executions, replacing those of the same ID; all of them or,
	// on an error, possibly none. Saving the same twice changes nothing.
	Save(ctx context.Context, executions ...*Execution) error
	// Get returns one execution. ErrNoExecution.
	Get(ctx context.Context, id string) (*Execution, error)
	// List returns a page of executions, newest first, without their stdout,
	// stderr and result. ErrBadCursor.
	List(ctx context.Context, query Query) (Page, error)
	// Prune removes what is older than before and, beyond keep executions in
	// all, the oldest; those of jobs stay until the queue has removed them. It
	// reports how many it removed. A zero before and a negative keep are no bound.
	Prune(ctx context.Context, before time.Time, keep int) (int, error)
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
	// Close flushes and releases it.
	Close() error
}

// Query selects executions. Zero fields select everything.
type Query struct {
	Action string // "pack.action"
	Status Status
	Since  time.Time // created at or after
	Cursor string    // Page.Next of the page before
	Limit  int       // 1 to MaxLimit; 0 = DefaultLimit
}

// Page sizes of a listing.
const (
	DefaultLimit = 50
	MaxLimit     = 200
)

// Page is a part of a listing.
type Page struct {
	Executions []*Execution
	Next       string // opaque cursor of the next page; empty on the last
}

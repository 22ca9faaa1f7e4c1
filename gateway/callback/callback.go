// Package callback delivers the results of asynchronous calls to the URLs that
// their callers named, as signed webhooks, until they are taken or a day has
// passed.
//
// A result is stored as a delivery before its job is forgotten (Ended), and any
// gateway on the same store may send it. So it arrives at least once: the
// webhook-id, which is the execution's ID, is the same each time. Where it may be
// sent is decided when the connection is made, on the address that the name has
// then (Guard).
package callback

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// Delivery is one result on its way.
type Delivery struct {
	ID       string // of the execution
	URL      string
	Body     []byte
	Created  time.Time // to the millisecond
	Attempts int       // how often it was taken
}

// Store keeps deliveries until they are done. Every method is atomic, and may be
// repeated with the same arguments. Safe for concurrent use.
type Store interface {
	// Put stores a delivery that is due at once. One that is there stays as it is.
	Put(ctx context.Context, d Delivery) error
	// Take gives out deliveries that are due, at most so many, the longest due
	// first, with their attempts counted up. For the time of the lease nobody else
	// gets them.
	Take(ctx context.Context, most int, lease time.Duration) ([]Delivery, error)
	// Later makes a delivery due after a while, unless somebody has taken it again.
	Later(ctx context.Context, d Delivery, after time.Duration) error
	// Done forgets a delivery. It is no error if there is none.
	Done(ctx context.Context, id string) error
}

// message is the body: the form that Standard Webhooks recommends.
type message struct {
	Type      string               `json:"type"` // "execution.succeeded"
	Timestamp time.Time            `json:"timestamp"`
	Data      *execution.Execution `json:"data"`
}

// Ended stores the result of a job that has a callback. A queue calls it before
// it forgets the job, and again if it died in between.
func (c *Courier) Ended(ctx context.Context, job queue.Job, x *execution.Execution) error {
	if job.Callback == "" {
		return nil
	}
	now := c.Now().UTC().Truncate(time.Millisecond)
	at := now
	if x.EndedAt != nil {
		at = x.EndedAt.UTC()
	}
	body, err := json.Marshal(message{Type: "execution." + string(x.Status), Timestamp: at, Data: x})
	if err != nil {
		return fmt.Errorf("encode execution %s for its callback: %w", x.ID, err)
	}
	if err := c.Store.Put(ctx, Delivery{ID: x.ID, URL: job.Callback, Body: body, Created: now}); err != nil {
		return fmt.Errorf("store the callback of execution %s: %w", x.ID, err)
	}
	c.wake()
	return nil
}

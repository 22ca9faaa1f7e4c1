package execution

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Start values of the recorder.
const (
	recordEvery  = 100 * time.Millisecond
	recordBatch  = 100      // executions saved at once
	batchBytes   = 4 << 20  // … or as many as hold so much
	maxUnsaved   = 10_000   // executions kept for a store that is away
	unsavedBytes = 64 << 20 // … or as many as hold so much
	saveTimeout  = 5 * time.Second
	pruneEvery   = 10 * time.Minute
	pruneTimeout = time.Minute
)

// Retention says how long executions are kept.
type Retention struct {
	MaxAge time.Duration
	Keep   int // executions
}

// Recorder writes synchronous executions to a Store after their answer, in
// batches: a store that is slow or away doesn't hold up calls. Reading through
// the Recorder sees everything that was recorded before.
type Recorder struct {
	store     Store
	retention Retention
	log       *slog.Logger
	wake      chan struct{} // buffered: says that a batch is full

	saving chan struct{} // holds a token while nobody writes: batches keep their order
	away   bool          // the last batch was not written; for who has the token

	mu      sync.Mutex
	pending []*Execution
	bytes   int // what pending holds
	lost    int // dropped because the store was away for too long
}

// NewRecorder returns a recorder; Run makes it write.
func NewRecorder(store Store, retention Retention, log *slog.Logger) *Recorder {
	r := &Recorder{
		store: store, retention: retention, log: log,
		wake: make(chan struct{}, 1), saving: make(chan struct{}, 1),
	}
	r.saving <- struct{}{}
	return r
}

// Record takes an ended execution, which must not be changed any more.
func (r *Recorder) Record(x *Execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(x)
	if len(r.pending) >= recordBatch || r.bytes >= batchBytes {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// add appends to pending and drops the oldest beyond the bounds. r is locked.
func (r *Recorder) add(executions ...*Execution) {
	r.pending = append(r.pending, executions...)
	r.bytes += sizeOf(executions...)
	drop := 0
	for r.bytes > unsavedBytes && drop < len(r.pending)-1 || len(r.pending)-drop > maxUnsaved {
		r.bytes -= sizeOf(r.pending[drop])
		drop++
	}
	r.pending = slices.Delete(r.pending, 0, drop)
	r.lost += drop
}

// sizeOf is about what executions take in memory.
func sizeOf(executions ...*Execution) (bytes int) {
	for _, x := range executions {
		bytes += 1<<10 + len(x.Stdout) + len(x.Stderr) + len(x.Result)
	}
	return bytes
}

// Run writes batches until ctx ends, then the last one.
func (r *Recorder) Run(ctx context.Context) error {
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.last(context.WithoutCancel(ctx))
		case <-prune.C:
			r.prune(ctx)
			continue
		case <-tick.C:
		case <-r.wake:
		}
		_ = r.flush(ctx) // logged, and tried again
	}
}

// last writes what is pending for the last time.
func (r *Recorder) last(ctx context.Context) error {
	if err := r.flush(ctx); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		return fmt.Errorf("%d executions were not recorded: %w", len(r.pending), err)
	}
	return nil
}

// flush writes what is pending. What can't be written stays pending.
func (r *Recorder) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	select {
	case <-r.saving:
		defer func() { r.saving <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("wait for the executions before to be recorded: %w", ctx.Err())
	}
	r.mu.Lock()
	batch, lost := r.pending, r.lost
	r.pending, r.bytes, r.lost = nil, 0, 0
	r.mu.Unlock()
	if lost > 0 {
		r.log.Error("executions were not recorded because the store was away", "count", lost)
	}
	for len(batch) > 0 {
		n := batchLen(batch)
		if err := r.store.Save(ctx, batch[:n]...); err != nil {
			r.putBack(batch)
			r.tell(ctx, err)
			return err
		}
		r.away = false
		batch = batch[n:]
	}
	return nil
}

// batchLen is how many executions are saved at once.
func batchLen(batch []*Execution) int {
	n, bytes := 0, 0
	for n < min(len(batch), recordBatch) && (n == 0 || bytes+sizeOf(batch[n]) <= batchBytes) {
		bytes += sizeOf(batch[n])
		n++
	}
	return n
}

// putBack makes a batch pending again, before what has come since.
func (r *Recorder) putBack(batch []*Execution) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := r.pending
	r.pending, r.bytes = nil, 0
	r.add(append(batch, since...)...)
}

// tell logs that the store is away: once, not ten times a second. A reader that
// left is no reason.
func (r *Recorder) tell(ctx context.Context, err error) {
	if r.away || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	r.away = true
	r.log.Warn("executions can't be recorded; trying again until the store is back", "error", err)
}

func (r *Recorder) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	removed, err := r.store.Prune(ctx, time.Now().Add(-r.retention.MaxAge), r.retention.Keep)
	if err != nil {
		r.log.Warn("old executions could not be removed", "error", err)
	} else if removed > 0 {
		r.log.Info("old executions removed", "count", removed)
	}
}

// Get returns one execution, also one that was recorded a moment ago.
func (r *Recorder) Get(ctx context.Context, id string) (*Execution, error) {
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	return r.store.Get(ctx, id)
}

// List returns a page of executions, the latest included.
func (r *Recorder) List(ctx context.Context, query Query) (Page, error) {
	if err := r.flush(ctx); err != nil {
		return Page{}, err
	}
	return r.store.List(ctx, query)
}

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
)

// Recorder writes synchronous executions to a Store after their answer, in
// batches: a store that is slow or away doesn't hold up calls. Reading through
// the Recorder sees everything that was recorded before, and what still runs.
type Recorder struct {
	store     Store
	retention Retention
	log       *slog.Logger
	live      *Live
	told      []func(*Execution) // of each end
	wake      chan struct{}      // buffered: says that a batch is full

	saving chan struct{} // holds a token while nobody writes: batches keep their order
	away   bool          // the last batch was not written; for who has the token
	saved  int           // since old ones were removed; likewise
	excess chan struct{} // buffered: says that so many were saved that some should go

	mu      sync.Mutex
	pending []*Execution
	bytes   int // what pending holds
	lost    int // dropped because the store was away for too long, and not yet told
	lostAll int // so far
}

// NewRecorder returns a recorder; Run makes it write.
func NewRecorder(store Store, retention Retention, log *slog.Logger) *Recorder {
	r := &Recorder{
		store: store, retention: retention, log: log, live: NewLive(),
		wake: make(chan struct{}, 1), saving: make(chan struct{}, 1), excess: make(chan struct{}, 1),
	}
	r.saving <- struct{}{}
	return r
}

// OnEnd has f told of each execution that ends, before the first one begins. It
// must not block, and not change the execution.
func (r *Recorder) OnEnd(f func(*Execution)) { r.told = append(r.told, f) }

// Begin takes an execution that cancel ends. Record has to follow.
func (r *Recorder) Begin(x *Execution, limits Limits, cancel context.CancelCauseFunc, prepare ...func(*output)) *Running {
	return r.live.Begin(x, limits, cancel, prepare...)
}

// abandon records an execution as failed that has come to no end.
func (r *Recorder) abandon(running *Running) {
	if running.HasEnded() {
		return
	}
	x, ended := running.Execution(), time.Now().UTC()
	x.Status, x.EndedAt = StatusFailed, &ended
	x.Error = &Failure{
		Code: CodeInternal, Component: "gateway", Phase: "run", Reason: "the gateway has a fault", Started: running.Started(),
	}
	r.Record(x)
}

// Record takes an ended execution, which must not be changed any more. That of
// an asynchronous one is with the queue already.
func (r *Recorder) Record(x *Execution) {
	if x.Status.Ended() { // another attempt may follow
		for _, tell := range r.told {
			tell(x)
		}
	}
	r.live.End(x, func() {
		if !x.queued() {
			r.keep(x)
		}
	})
}

// queued tells whether the record is the queue's to write, which alone knows
// whose word counts when two gateways have run the same.
func (x *Execution) queued() bool { return x.Source != "" }

func (r *Recorder) keep(x *Execution) {
	size := sizeOf(x)
	r.mu.Lock()
	r.pending = append(r.pending, x)
	r.bytes += size
	r.bound()
	full := len(r.pending) >= recordBatch || r.bytes >= batchBytes
	r.mu.Unlock()
	if full {
		nudge(r.wake)
	}
}

// bound drops the oldest that are too much. r is locked.
func (r *Recorder) bound() {
	drop := 0
	for r.bytes > unsavedBytes && drop < len(r.pending)-1 || len(r.pending)-drop > maxUnsaved {
		r.bytes -= sizeOf(r.pending[drop])
		drop++
	}
	if drop > 0 {
		clear(r.pending[:drop]) // the array stays, and would hold them
		r.pending = r.pending[drop:]
		r.lost += drop
		r.lostAll += drop
	}
}

// sizeOf is about what an execution takes in memory.
func sizeOf(x *Execution) int {
	return 1<<10 + len(x.Stdout) + len(x.Stderr) + len(x.Result)
}

// Run writes batches until ctx ends, then the last one.
func (r *Recorder) Run(ctx context.Context) error {
	var retention sync.WaitGroup // beside the writing: removing many takes a while
	retention.Go(func() { r.retain(ctx) })
	defer retention.Wait()
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.last(context.WithoutCancel(ctx))
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
	// In this order, and before a batch in which one of them may have ended.
	if err := r.announce(ctx); err != nil {
		r.tell(ctx, err)
		return err
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
		r.saved += n
		batch = batch[n:]
	}
	if r.saved >= max(r.retention.Keep, pruneBeyond) {
		r.saved = 0
		nudge(r.excess)
	}
	return nil
}

// nudge tells a goroutine that there is something to do.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
	bytes := 0
	for _, x := range batch {
		bytes += sizeOf(x)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pending = slices.Concat(batch, r.pending)
	r.bytes += bytes
	r.bound()
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

// Running finds an execution of this gateway that has not ended.
func (r *Recorder) Running(id string) (*Running, bool) { return r.live.Running(id) }

// Get returns one execution, also one that runs, or was recorded a moment ago.
func (r *Recorder) Get(ctx context.Context, id string) (*Execution, error) {
	if running, ok := r.live.Running(id); ok {
		return running.Execution(), nil
	}
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	return r.store.Get(ctx, id)
}

// List returns a page of executions, the latest included.
func (r *Recorder) List(ctx context.Context, query Query) (Page, error) {
	live := r.live.Summaries() // first: what ends meanwhile is in the store then
	if err := r.flush(ctx); err != nil {
		return Page{}, err
	}
	page, err := r.store.List(ctx, query)
	if err != nil {
		return Page{}, err
	}
	return page.withLive(query, live)
}

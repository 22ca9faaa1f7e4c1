package execution

import (
	"context"
	"errors"
	"time"
)

// Start values of what the recorder does beside recording.
const (
	announceAfter = time.Second // calls that are answered sooner are saved once
	pruneEvery    = 10 * time.Minute
	pruneBeyond   = 1000 // executions saved, or as many as are kept: a busy gateway prunes sooner
	pruneTimeout  = time.Minute
)

// Retention says how long executions are kept, and when one that the store has
// as running is taken for lost.
type Retention struct {
	MaxAge time.Duration
	Keep   int // executions
	// Gateway is the ID of the gateway that records. What the store has as
	// running here and does not, was lost with an earlier process.
	Gateway string
	// Longest is the most that an execution may take. One of another gateway that
	// should have ended was lost with it. 0 = nobody knows.
	Longest time.Duration
}

// announce saves executions that take long, for those who look from other
// gateways. The caller has the token.
func (r *Recorder) announce(ctx context.Context) error {
	var news []*Execution
	var told []*Running
	for _, running := range r.live.all() {
		x := running.Summary()
		if !x.queued() && running.announced != x.Status && !x.Status.Ended() && time.Since(x.CreatedAt) >= announceAfter && len(news) < recordBatch {
			news, told = append(news, x), append(told, running)
		}
	}
	if len(news) == 0 {
		return nil
	}
	if err := r.store.Save(ctx, news...); err != nil {
		return err
	}
	for i, running := range told {
		running.announced = news[i].Status
	}
	return nil
}

// retain ends lost executions and removes old ones, until ctx ends.
func (r *Recorder) retain(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := r.bury(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("executions of gateways that are gone could not be ended", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.excess:
		case <-tick.C:
		}
		r.prune(ctx)
	}
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

// bury ends the executions that were lost with their gateway's process: its own
// of before, and those of others that are overdue.
func (r *Recorder) bury(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pruneTimeout)
	defer cancel()
	for _, status := range []Status{StatusQueued, StatusRunning} {
		for query := (Query{Status: status, Limit: MaxLimit}); ; {
			page, err := r.store.List(ctx, query)
			if err != nil {
				return err
			}
			for _, x := range page.Executions {
				if err := r.buryOne(ctx, x); err != nil {
					return err
				}
			}
			if page.Next == "" {
				break
			}
			query.Cursor = page.Next
		}
	}
	return nil
}

// overdue is how much longer than allowed an execution may take before it
// counts as lost: clocks differ, and killing and recording take a moment.
const overdue = 5 * time.Minute

func (r *Recorder) buryOne(ctx context.Context, x *Execution) error {
	own := x.Gateway == r.retention.Gateway
	late := r.retention.Longest > 0 && time.Since(x.CreatedAt) > r.retention.Longest+overdue
	if _, here := r.live.Running(x.ID); here || x.queued() || x.Status.Ended() || !own && !late {
		return nil
	}
	// It may have ended since it was listed: then its end is in the store by now.
	if err := r.flush(ctx); err != nil {
		return err
	}
	now, err := r.store.Get(ctx, x.ID)
	if errors.Is(err, ErrNoExecution) || err == nil && now.Status.Ended() {
		return nil
	}
	if err != nil {
		return err
	}
	lost := *now
	ended := time.Now().UTC()
	lost.Status, lost.EndedAt = StatusFailed, &ended
	lost.DurationMS = milliseconds(ended.Sub(lost.CreatedAt))
	lost.Error = &Failure{
		Code: CodeInstanceLost, Component: "gateway", Phase: "run",
		Reason: "the gateway ended before it had recorded the execution's end", Started: lost.StartedAt != nil,
	}
	return r.store.Save(ctx, &lost)
}

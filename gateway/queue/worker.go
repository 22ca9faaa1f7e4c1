package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// errStopping is the cause with which attempts end that a gateway which stops
// can't wait for.
var errStopping = errors.New("the gateway is shutting down")

// Start values of a worker.
const (
	claimBatch = 64              // jobs that one step of the store takes
	lastSteps  = 4 * time.Second // for attempts that were ended to be killed and put back
	mostBeat   = time.Second     // between renewals of claims, by which a cancel comes, too
	noteAfter  = time.Second     // an attempt that takes longer is shown as running on other gateways
)

// Run takes jobs and runs them until ctx ends. Then it takes no more, waits for
// what runs as long as Limits.Drain, and puts back the rest.
func (q *Queue) Run(ctx context.Context) error {
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx)) // running attempts
	defer stop(nil)
	steps, end := context.WithCancel(context.WithoutCancel(ctx)) // what the store is told of them
	defer end()
	var running, beating sync.WaitGroup
	beating.Go(func() { q.beat(steps) })
	slots := make(chan struct{}, q.Limits.Concurrency)
	q.take(ctx, slots, func(c Claim) {
		running.Go(func() {
			defer q.look()
			defer func() { <-slots }()
			q.run(work, steps, c)
		})
	})
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	if !within(done, q.Limits.Drain) {
		stop(errStopping)
		within(done, lastSteps)
	}
	end()
	<-done
	beating.Wait()
	return nil
}

// within tells whether a channel was closed in time.
func within(done <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// take starts what can be claimed, one slot each, until ctx ends.
func (q *Queue) take(ctx context.Context, slots chan struct{}, start func(Claim)) {
	away := false
	for ctx.Err() == nil {
		pause := q.Limits.Poll*3/4 + rand.N(q.Limits.Poll/2+1) // gateways that started together don't ask together
		if free := cap(slots) - len(slots); free > 0 {
			claims, err := q.claim(ctx, min(free, claimBatch))
			if err != nil {
				pause = max(pause, time.Second)
				if !away {
					q.Log.Warn("no jobs can be taken; trying again until the queue's store is back", "error", err)
				}
			}
			away = err != nil
			for _, c := range claims {
				slots <- struct{}{} // it is free: nobody else fills them
				start(c)
			}
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		case <-time.After(pause):
		}
	}
}

// claim asks the store. A claim whose reply nobody waits for would be lost until
// its lease is over.
func (q *Queue) claim(ctx context.Context, most int) ([]Claim, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return q.Store.Claim(ctx, Ask{
		Owner: q.owner, Most: most, Lease: q.Limits.Lease, PerKey: q.Limits.PerKey, Actions: q.actionBounds(time.Now()),
	})
}

// actionBounds are the bounds of those actions that have one, or are paused.
func (q *Queue) actionBounds(now time.Time) map[string]int {
	catalog := q.Catalog()
	q.mu.Lock()
	defer q.mu.Unlock()
	if catalog != q.catalog {
		q.catalog, q.bounds = catalog, map[string]int{}
		for _, action := range catalog.Actions() {
			if action.MaxConcurrency > 0 {
				q.bounds[action.Ref.String()] = action.MaxConcurrency
			}
		}
	}
	if len(q.paused) == 0 {
		return q.bounds // never changed, only replaced
	}
	bounds := make(map[string]int, len(q.bounds)+len(q.paused))
	for action, most := range q.bounds {
		bounds[action] = most
	}
	for action, until := range q.paused {
		if now.After(until) {
			delete(q.paused, action)
			continue
		}
		bounds[action] = 0
	}
	return bounds
}

// pause takes nothing of an action for a while that can't be run now: its jobs
// would only take the places of others.
func (q *Queue) pause(action string, after time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.paused[action] = time.Now().Add(after)
}

// beat keeps the claims of what runs here until ctx ends. While the store is away
// attempts go on: whoever takes over in the meantime is told about by the store,
// and until then nothing is gained by ending work.
func (q *Queue) beat(ctx context.Context) {
	tick := time.NewTicker(min(q.Limits.Lease/3, mostBeat))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := q.renew(ctx); err != nil && ctx.Err() == nil {
			q.Log.Warn("the claims of running jobs can't be renewed now", "error", err)
		}
	}
}

func (q *Queue) renew(ctx context.Context) error {
	q.mu.Lock()
	attempts := make([]*attempt, 0, len(q.attempts))
	for _, a := range q.attempts {
		attempts = append(attempts, a)
	}
	q.mu.Unlock()
	if len(attempts) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	claims := make([]Claim, len(attempts))
	for i, a := range attempts {
		claims[i] = a.claim
	}
	standings, err := q.Store.Renew(ctx, q.Limits.Lease, claims...)
	if err != nil {
		return err
	}
	for i, standing := range standings {
		switch standing {
		case Held:
			err = errors.Join(err, attempts[i].note(ctx))
		case Cancelled:
			attempts[i].stop()
		case Lost:
			attempts[i].lose()
		}
	}
	return err
}

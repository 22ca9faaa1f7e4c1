// Package schedule runs actions at the times that schedules name: each slot once, however many gateways there are and
// whenever one of them dies.
//
// All gateways compute the same slots. For each there is one claim: a gateway writes into the schedule's state that it
// makes the execution of that slot (Store.Swap, which only one of them wins), makes it, and writes that it is made. One
// that dies in between leaves a claim behind, which another takes over when it has expired. Then the execution may have
// been made already, but it is made again under the same ID, and the queue takes an ID once.
package schedule

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/queue"
)

// Executions tells how executions stand, and ends them.
type Executions interface {
	// Get returns an execution, of whichever gateway. execution.ErrNoExecution.
	Get(ctx context.Context, id string) (*execution.Execution, error)
	// Cancel asks for an end of an execution, of whichever gateway, and doesn't
	// wait for it. One that has ended, or isn't known, is no error.
	Cancel(ctx context.Context, id string) error
}

// Options are what a Clockwork needs. All without a default are required.
type Options struct {
	Catalog    func() *pack.Catalog // the present snapshot
	Store      Store
	Queue      queue.Submitter
	Executions Executions
	GatewayID  string
	Log        *slog.Logger     // Defaults to discarding.
	Lease      time.Duration    // of a claim; a live gateway needs milliseconds. Defaults to 5 s.
	Grace      time.Duration    // for how long a slot is on time. Defaults to 30 s.
	Poll       time.Duration    // how often to look for what others have changed. Defaults to 2 s.
	Now        func() time.Time // Defaults to time.Now.
}

// Clockwork makes executions when it is time, and lets operators create, pause
// and run schedules. Its methods may be called concurrently; Run once.
type Clockwork struct {
	Options
	planner planner
	wake    chan struct{} // buffered: somebody has changed something here
	away    bool          // the store or the queue was away when last asked; Run's

	mu      sync.Mutex
	stored  map[string]*pack.Schedule // what was made of stored schedules, by their spec
	catalog *pack.Catalog             // that it was made with
}

// New returns a clockwork; Run makes it go.
func New(o Options) *Clockwork {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	o.Lease = cmp.Or(o.Lease, 5*time.Second)
	o.Grace = cmp.Or(o.Grace, 30*time.Second)
	o.Poll = cmp.Or(o.Poll, 2*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Clockwork{
		Options: o, wake: make(chan struct{}, 1),
		planner: planner{by: o.GatewayID, lease: o.Lease, grace: o.Grace},
	}
}

// now is the time as states have it.
func (c *Clockwork) now() time.Time { return c.Now().UTC().Round(0) }

// atOnce is how many schedules are worked on at the same time: many have their
// slot at midnight.
const atOnce = 16

// Run works until ctx ends. What is claimed then is finished; what a gateway has
// claimed that dies, by another one, or by the next start.
func (c *Clockwork) Run(ctx context.Context) error {
	for {
		wake, err := c.tick(ctx)
		c.tell(ctx, err)
		// Never longer than Poll: others change schedules, and clocks are put.
		sleep := c.Poll
		if until := wake.Sub(c.Now()); !wake.IsZero() && until < sleep {
			sleep = max(until, 0)
		}
		timer := time.NewTimer(sleep)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-c.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// tell logs that something is away: once, not with each tick.
func (c *Clockwork) tell(ctx context.Context, err error) {
	switch {
	case err == nil:
		c.away = false
	case !c.away && ctx.Err() == nil:
		c.away = true
		c.Log.Warn("schedules can't be looked after; trying again", "error", err)
	}
}

// tick does all that is due, and returns when there is something next; zero =
// nothing is known of.
func (c *Clockwork) tick(ctx context.Context) (time.Time, error) {
	all, states, err := c.load(ctx)
	if err != nil {
		return time.Time{}, err
	}
	wakes, errs := make([]time.Time, len(all)), make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, s := range all {
		if s.schedule == nil {
			continue // it doesn't fit its action any more, and says so where it is shown
		}
		group.Go(func() error {
			wakes[i], errs[i] = c.advance(ctx, s.schedule, states[s.ref])
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	var first time.Time
	for _, wake := range wakes {
		if !wake.IsZero() && (first.IsZero() || wake.Before(first)) {
			first = wake
		}
	}
	return first, errors.Join(errs...)
}

// advance brings one schedule to the present.
func (c *Clockwork) advance(ctx context.Context, s *pack.Schedule, state State) (wake time.Time, err error) {
	for {
		p := c.planner.plan(s, state, c.now())
		if p.next.Version == state.Version {
			return p.wake, nil
		}
		// Only before it is claimed: what was claimed may run already.
		if p.fire && s.Overlap == pack.OverlapSkip && state.Claim == nil {
			if err := c.skip(ctx, &p, state); err != nil {
				return time.Time{}, err
			}
		}
		won, err := c.Store.Swap(ctx, state.Version, p.next)
		if err != nil {
			return time.Time{}, err
		}
		if !won { // another gateway was first, and has done just that
			return s.Calendar.Next(p.next.Cursor), nil
		}
		c.report(p.next, state)
		state = p.next
		if p.fire {
			if state, won, err = c.fulfil(ctx, s, state); err != nil || !won {
				return time.Time{}, err
			}
		}
	}
}

// skip turns a plan to run into one to leave the slot out, where the run before
// goes on.
func (c *Clockwork) skip(ctx context.Context, p *plan, state State) error {
	if state.Run == "" || state.Run == p.next.Claim.ID {
		return nil
	}
	running, err := c.running(ctx, state.Run)
	if err != nil || !running {
		return err
	}
	slot := p.next.Claim.Slot
	p.next.Claim, p.fire = nil, false
	p.next.Last = &Slot{Slot: slot, At: c.now(), Outcome: Skipped, Execution: state.Run}
	return nil
}

func (c *Clockwork) running(ctx context.Context, id string) (bool, error) {
	x, err := c.Executions.Get(ctx, id)
	if errors.Is(err, execution.ErrNoExecution) {
		return false, nil
	}
	return err == nil && !x.Status.Ended(), err
}

// report logs what doesn't run.
func (c *Clockwork) report(now, before State) {
	if now.Last == nil || now.Last == before.Last {
		return
	}
	attributes := []any{"schedule", now.Ref, "slot", now.Last.Slot, "outcome", now.Last.Outcome}
	switch now.Last.Outcome {
	case Started, Skipped:
		c.Log.Debug("slot of a schedule", append(attributes, "execution", now.Last.Execution)...)
	default:
		c.Log.Warn("slot of a schedule did not run", append(attributes, "code", now.Last.Code)...)
	}
}

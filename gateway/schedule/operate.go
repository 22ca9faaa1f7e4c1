package schedule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// MaxStored bounds the schedules that are stored, of all packs together.
const MaxStored = 1000

// nextShown is how many coming slots an Entry tells.
const nextShown = 5

// States of a schedule.
const (
	Active   = "active"
	Paused   = "paused"
	Disabled = "disabled" // by its enabled, or its pack's or action's
	Faulty   = "faulty"   // stored, and doesn't fit the pack that is there now
)

// Origins of a schedule.
const (
	OriginPack = "pack" // a file
	OriginAPI  = "api"  // stored
)

// Entry tells everything about a schedule.
type Entry struct {
	pack.ScheduleSpec
	Pack      string         `json:"pack"`
	Origin    string         `json:"origin"`
	State     string         `json:"state"`
	CreatedAt *time.Time     `json:"created_at,omitempty"` // of a stored one
	Next      []time.Time    `json:"next"`                 // the coming slots, without jitter; empty unless active
	Last      *Slot          `json:"last"`                 // null = none yet
	Faults    []pack.Problem `json:"faults,omitempty"`
}

// Invalid says what is wrong with a schedule that was to be stored.
type Invalid struct{ Problems []pack.Problem }

// Error implements error.
func (i *Invalid) Error() string { return "schedule is not valid" }

// known is a schedule, wherever it comes from.
type known struct {
	ref      string
	schedule *pack.Schedule // nil = faulty
	faults   []pack.Problem
	spec     pack.ScheduleSpec
	created  *time.Time // nil = of a file
}

// load returns all schedules by ref, and all states. A file comes before what is
// stored under the same ref.
func (c *Clockwork) load(ctx context.Context) ([]known, map[string]State, error) {
	catalog := c.Catalog()
	stored, states, err := c.Store.Load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("load schedules: %w", err)
	}
	var all []known
	files := map[string]bool{}
	for _, s := range catalog.Schedules() {
		files[s.Ref.String()] = true
		all = append(all, known{ref: s.Ref.String(), schedule: s, spec: s.Spec})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.catalog != catalog {
		c.catalog, c.stored = catalog, map[string]*pack.Schedule{}
	}
	for _, s := range stored {
		if files[s.Spec.Ref] {
			continue
		}
		one := known{ref: s.Spec.Ref, spec: s.Spec, created: &s.CreatedAt}
		key := fmt.Sprint(s.CreatedAt.UnixNano(), s.Spec.Ref) // what is stored doesn't change
		if one.schedule = c.stored[key]; one.schedule == nil {
			one.schedule, one.faults = catalog.Schedule(s.Spec)
			c.stored[key] = one.schedule
		}
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b known) int { return cmp.Compare(a.ref, b.ref) })
	return all, states, nil
}

// List tells about all schedules, sorted by ref.
func (c *Clockwork) List(ctx context.Context) ([]Entry, error) {
	all, states, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(all))
	for i, one := range all {
		entries[i] = c.entry(one, states[one.ref])
	}
	return entries, nil
}

// Show tells about one schedule. ErrNone.
func (c *Clockwork) Show(ctx context.Context, ref string) (Entry, error) {
	one, state, err := c.find(ctx, ref)
	if err != nil {
		return Entry{}, err
	}
	return c.entry(one, state), nil
}

func (c *Clockwork) find(ctx context.Context, ref string) (known, State, error) {
	all, states, err := c.load(ctx)
	if err != nil {
		return known{}, State{}, err
	}
	i, found := slices.BinarySearchFunc(all, ref, func(one known, ref string) int { return cmp.Compare(one.ref, ref) })
	if !found {
		return known{}, State{}, ErrNone
	}
	return all[i], states[ref], nil
}

func (c *Clockwork) entry(one known, state State) Entry {
	e := Entry{ScheduleSpec: one.spec, Origin: OriginPack, CreatedAt: one.created, Last: state.Last, Faults: one.faults, Next: []time.Time{}}
	if ref, err := pack.ParseActionRef(one.ref); err == nil {
		e.Pack = string(ref.Pack)
	}
	if one.created != nil {
		e.Origin = OriginAPI
	}
	switch {
	case one.schedule == nil:
		e.State = Faulty
		return e
	case !one.schedule.Enabled:
		e.State = Disabled
		return e
	case state.Paused:
		e.State = Paused
		return e
	}
	e.State = Active
	slot := c.now()
	if state.Cursor.After(slot) {
		slot = state.Cursor
	}
	for range nextShown {
		if slot = one.schedule.Calendar.Next(slot); slot.IsZero() {
			break
		}
		e.Next = append(e.Next, slot)
	}
	return e
}

// Create stores a schedule. *Invalid, ErrExists, ErrTooMany.
func (c *Clockwork) Create(ctx context.Context, spec pack.ScheduleSpec) (Entry, error) {
	if _, problems := c.Catalog().Schedule(spec); len(problems) > 0 {
		return Entry{}, &Invalid{problems}
	}
	all, _, err := c.load(ctx)
	if err != nil {
		return Entry{}, err
	}
	stored := 0
	for _, one := range all {
		if one.ref == spec.Ref {
			return Entry{}, ErrExists
		}
		if one.created != nil {
			stored++
		}
	}
	if stored >= MaxStored {
		return Entry{}, ErrTooMany
	}
	if err := c.Store.Create(ctx, Stored{Spec: spec, CreatedAt: c.now()}); err != nil {
		return Entry{}, err
	}
	c.nudge()
	return c.Show(ctx, spec.Ref)
}

// Delete forgets a stored schedule. What it has started goes on. ErrNone,
// ErrInPack.
func (c *Clockwork) Delete(ctx context.Context, ref string) error {
	one, _, err := c.find(ctx, ref)
	if err != nil {
		return err
	}
	if one.created == nil {
		return ErrInPack
	}
	return c.Store.Delete(ctx, ref)
}

// RunNow makes an execution with the given ID that is no slot's: it runs beside
// others, and also when the schedule is paused. ErrNone, *Invalid, and else an
// *execution.Error.
func (c *Clockwork) RunNow(ctx context.Context, ref, id, caller string) (*execution.Execution, error) {
	one, _, err := c.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if one.schedule == nil {
		return nil, &Invalid{one.faults}
	}
	j := job(one.schedule, id)
	j.Caller = caller
	return c.Queue.Submit(ctx, j)
}

// errContended says that a state was changed again and again by others.
var errContended = errors.New("schedule changes too fast")

// SetPaused stops a schedule, or lets it go on. Slots that pass meanwhile are
// not missed: whoever paused didn't want them. A slot that is claimed already
// runs. ErrNone.
func (c *Clockwork) SetPaused(ctx context.Context, ref string, paused bool) (Entry, error) {
	for range 20 {
		one, state, err := c.find(ctx, ref)
		if err != nil {
			return Entry{}, err
		}
		if state.Version > 0 && state.Paused == paused {
			return c.entry(one, state), nil
		}
		next := state
		next.Version++
		next.Paused = paused
		if state.Version == 0 {
			next.Ref, next.Cursor = ref, c.now()
			if one.schedule != nil {
				next.Timing = timing(one.schedule)
			}
		}
		if now := c.now(); !paused && next.Cursor.Before(now) {
			next.Cursor = now
		}
		won, err := c.Store.Swap(ctx, state.Version, next)
		if err != nil {
			return Entry{}, err
		}
		if won {
			c.nudge()
			return c.entry(one, next), nil
		}
	}
	return Entry{}, errContended
}

// nudge makes Run look at once.
func (c *Clockwork) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

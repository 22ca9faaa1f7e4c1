package schedule

import (
	"time"

	"attune/gateway/pack"
)

const (
	// bursts bounds how many slots of a short interval are made up for at once.
	bursts = 10
	// farAhead is how far a cursor can be in the future without a clock having
	// gone badly wrong. Up to there it is believed: a clock that was put back must
	// not make slots run again.
	farAhead = 24 * time.Hour
	// abandonedFor is how old a slot may be that a gateway has claimed and then
	// died of, with misfire: skip. Before it is run whatever the policy says:
	// somebody was there in time.
	abandonedFor = time.Hour
)

// plan is what has to be done about a schedule.
type plan struct {
	// next is the state to write; of the same version as before, there is
	// nothing to write.
	next State
	// fire: after that the claim is ours to fulfil.
	fire bool
	// wake is when to look again, where there is nothing to write; zero = never.
	wake time.Time
}

// planner is what plans depend on beside schedule, state and time.
type planner struct {
	by    string        // ID of this gateway
	lease time.Duration // of a claim
	grace time.Duration // for how long a slot is on time
}

// plan decides, and does nothing: the same for whoever asks.
func (p planner) plan(s *pack.Schedule, state State, now time.Time) plan {
	next := state
	next.Version++
	grace := p.graceOf(s)
	switch {
	case state.Version == 0:
		next.Ref, next.Timing, next.Cursor = s.Ref.String(), timing(s), now
		return plan{next: next}
	case state.Cursor.After(now.Add(farAhead)):
		next.Cursor = now
		return plan{next: next}
	case state.Claim != nil:
		return p.claimed(s, state, now)
	case state.Timing != timing(s):
		// Two gateways may have different files for a while: none of them makes
		// the other forget a slot, or run it again.
		next.Timing = timing(s)
		if from := now.Add(-grace); next.Cursor.Before(from) {
			next.Cursor = from
		}
		return plan{next: next}
	case state.Paused || !s.Enabled:
		return plan{next: state}
	}
	missed, due, wake := p.slots(s, state.Cursor, now)
	switch {
	case missed.IsZero() && due.IsZero():
		return plan{next: state, wake: wake}
	case !missed.IsZero() && (s.Misfire == pack.MisfireSkip || !due.IsZero()):
		// With another one that is due now, that is the one run for all of them.
		next.Cursor = missed
		next.Last = &Slot{Slot: missed, At: now, Outcome: Missed}
		return plan{next: next}
	case due.IsZero():
		due = missed
	}
	next.Cursor = due
	next.Claim = &Claim{Slot: due, ID: executionID(state.Ref, due), By: p.by, Until: now.Add(p.lease)}
	return plan{next: next, fire: true}
}

// claimed plans for a slot that somebody has claimed.
func (p planner) claimed(s *pack.Schedule, state State, now time.Time) plan {
	claim := *state.Claim
	// A claim from a clock that is ahead doesn't hold for longer than any other.
	if until := now.Add(2 * max(p.lease, maxBackoff)); claim.Until.After(until) {
		claim.Until = until
		next := state
		next.Version++
		next.Claim = &claim
		return plan{next: next}
	}
	if now.Before(claim.Until) {
		return plan{next: state, wake: claim.Until}
	}
	next := state
	next.Version++
	if s.Misfire == pack.MisfireSkip && p.over(s, claim, now) {
		next.Claim, next.Run = nil, claim.ID
		next.Last = &Slot{Slot: claim.Slot, At: now, Outcome: Missed, Code: claim.Code, Reason: claim.Reason}
		return plan{next: next}
	}
	claim.By, claim.Until = p.by, now.Add(p.lease)
	next.Claim = &claim
	return plan{next: next, fire: true}
}

// over tells whether a claimed slot's time is over: when the next one is due,
// if it was tried, and else after long enough.
func (p planner) over(s *pack.Schedule, claim Claim, now time.Time) bool {
	if claim.Attempts == 0 {
		return now.After(claim.Slot.Add(s.Jitter + abandonedFor))
	}
	following := s.Calendar.Next(claim.Slot)
	return !following.IsZero() && !now.Before(following.Add(jitter(s, following)))
}

// slots finds the latest slot after the cursor that is too old to be on time,
// the first one that is due on time, and else when the next one will be.
func (p planner) slots(s *pack.Schedule, cursor, now time.Time) (missed, due, wake time.Time) {
	onTime := now.Add(-p.graceOf(s))
	from := cursor
	if missed = s.Calendar.Latest(cursor, onTime.Add(-s.Jitter)); !missed.IsZero() {
		from = missed
	}
	for {
		slot := s.Calendar.Next(from)
		if slot.IsZero() {
			return missed, time.Time{}, time.Time{}
		}
		at := slot.Add(jitter(s, slot))
		switch {
		case at.After(now):
			return missed, time.Time{}, at
		case !at.Before(onTime):
			return missed, slot, time.Time{}
		}
		missed, from = slot, slot
	}
}

// graceOf is for how long a slot of a schedule is on time.
func (p planner) graceOf(s *pack.Schedule) time.Duration {
	if every := s.Calendar.Interval(); every > 0 {
		return min(p.grace, bursts*every)
	}
	return p.grace
}

// Package calendar says when something happens again and again: by a cron
// expression in a time zone, or in a fixed interval.
package calendar

import (
	"errors"
	"strings"
	"time"
	_ "time/tzdata" // an image without zones has them all the same

	"github.com/robfig/cron/v3"
)

// Calendar is an endless row of moments, called slots, which is the same for
// everybody who reads it. The zero value has none.
type Calendar struct {
	every time.Duration      // zero: a cron expression
	spec  *cron.SpecSchedule // of wall clocks, in UTC, where byWall
	zone  *time.Location
	// byWall: the expression names hours. Those are what a clock on the wall of
	// the zone shows, and each is there exactly once a day. An expression of
	// every hour goes on hour by hour instead, whatever that clock shows.
	byWall bool
}

// Bounds of an interval.
const (
	MinEvery = time.Second
	MaxEvery = 366 * 24 * time.Hour
)

// Errors of Cron and Every. Their texts are fixed.
var (
	ErrCron  = errors.New("must be five fields, minute hour day month weekday, or @hourly, @daily, @weekly, @monthly, @yearly")
	ErrZone  = errors.New("must be a name of the time zone database, for example Europe/Berlin")
	ErrNever = errors.New("names a day that never comes")
	ErrEvery = errors.New("must be whole seconds, from 1s to 8784h")
)

// maxCron is more than any expression needs, in bytes.
const maxCron = 256

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// anyHour is how the parser marks a field that is *.
const anyHour = 1 << 63

// Cron reads a cron expression; an empty zone is UTC. ErrCron, ErrZone, ErrNever.
func Cron(expression, zone string) (*Calendar, error) {
	if strings.HasPrefix(zone, ".") || zone == "Local" { // what this machine has set is no name
		return nil, ErrZone
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return nil, ErrZone
	}
	// The parser would take a zone from the expression, and an interval.
	if len(expression) > maxCron || strings.ContainsAny(expression, "=\n") || strings.HasPrefix(expression, "@every") {
		return nil, ErrCron
	}
	parsed, err := parser.Parse(expression)
	if err != nil {
		return nil, ErrCron
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, ErrCron
	}
	c := &Calendar{spec: spec, zone: location, byWall: spec.Hour&anyHour == 0}
	spec.Location = location
	if c.byWall {
		spec.Location = time.UTC
	}
	if c.Next(time.Now()).IsZero() {
		return nil, ErrNever
	}
	return c, nil
}

// Every makes a slot of each multiple of an interval since 1970 began, UTC, so
// that two gateways, and one that restarts, agree. ErrEvery.
func Every(interval time.Duration) (*Calendar, error) {
	if interval < MinEvery || interval > MaxEvery || interval%time.Second != 0 {
		return nil, ErrEvery
	}
	return &Calendar{every: interval, zone: time.UTC}, nil
}

// Interval is what Every was given; 0 = it is a cron expression, whose slots are
// a minute apart or more.
func (c *Calendar) Interval() time.Duration { return c.every }

// Next returns the first slot after a moment; the zero time means that there is
// none within years.
func (c *Calendar) Next(after time.Time) time.Time {
	switch {
	case c.every > 0:
		step := int64(c.every / time.Second)
		n := after.Unix() / step
		if after.Unix() < 0 && after.Unix()%step != 0 {
			n--
		}
		return time.Unix((n+1)*step, 0).In(c.zone)
	case c.spec == nil:
		return time.Time{}
	case !c.byWall:
		return c.spec.Next(after.In(c.zone))
	}
	for wall := wallOf(after.In(c.zone)); ; {
		if wall = c.spec.Next(wall); wall.IsZero() {
			return time.Time{}
		}
		if slot := c.instant(wall); slot.After(after) {
			return slot
		}
	}
}

// wallOf is what a clock shows at a moment, written as if it were UTC.
func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// instant is when a clock of the zone shows something: for the first time where
// it is put back and shows it twice, and where it is put forward and doesn't
// show it at all, the moment at which it is put forward.
func (c *Calendar) instant(wall time.Time) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(c.zone).Zone() // no zone changes twice in two days
	_, after := wall.Add(24 * time.Hour).In(c.zone).Zone()
	first := wall.Add(-time.Duration(max(before, after)) * time.Second).In(c.zone)
	second := wall.Add(-time.Duration(min(before, after)) * time.Second).In(c.zone)
	switch {
	case wallOf(first).Equal(wall):
		return first
	case wallOf(second).Equal(wall):
		return second
	}
	change, _ := second.ZoneBounds() // with the offset from before, it is after the change
	return change
}

// Latest returns the last slot after a moment and not after another; the zero
// time means that there is none.
func (c *Calendar) Latest(after, until time.Time) time.Time {
	if c.every > 0 {
		slot := c.Next(until.Add(-c.every))
		if !slot.After(after) {
			return time.Time{}
		}
		return slot
	}
	// From ever farther back, so that the walk is short however long ago after
	// is. Every expression has a slot within years.
	for back := time.Minute; ; back *= 4 {
		from := until.Add(-back)
		whole := !from.After(after) || back > 10*MaxEvery
		if from.Before(after) {
			from = after
		}
		var last time.Time
		for slot := c.Next(from); !slot.IsZero() && !slot.After(until); slot = c.Next(slot) {
			last = slot
		}
		if whole || !last.IsZero() {
			return last
		}
	}
}

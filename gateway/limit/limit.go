// Package limit bounds how often something may happen, and how much of it at once.
//
// A rate is a bucket (GCRA): it holds Burst, each request takes one, and Limit
// flow in over Per, evenly. So nobody has to wait for the end of a window, and
// when the next request will pass is known exactly.
package limit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rate is how often something may happen. Zero = as often as it likes.
type Rate struct {
	Limit int           // requests …
	Per   time.Duration // … in so long
	Burst int           // at once, 1 to Limit; 0 = Limit
}

// Bounds of a rate.
const (
	MaxLimit = 10_000_000
	MinPer   = time.Second // RateLimit fields tell whole seconds
	MaxPer   = 31 * 24 * time.Hour
)

// IsZero tells whether nothing is bounded.
func (r Rate) IsZero() bool { return r == Rate{} }

// Size is how many requests may come at once.
func (r Rate) Size() int {
	if r.Burst > 0 {
		return r.Burst
	}
	return r.Limit
}

// Check says what is wrong with a rate.
func (r Rate) Check() error {
	switch {
	case r.IsZero():
		return nil
	case r.Limit < 1 || r.Limit > MaxLimit:
		return fmt.Errorf("a rate's limit is 1 to %d", MaxLimit)
	case r.Per < MinPer || r.Per > MaxPer:
		return fmt.Errorf("a rate is per %v to %v", MinPer, MaxPer)
	case r.Burst < 0 || r.Burst > r.Limit:
		return errors.New("a rate's burst is 1 to its limit")
	}
	return nil
}

// units are what a rate may be per.
var units = map[string]time.Duration{
	"s": time.Second, "min": time.Minute, "m": time.Minute, "h": time.Hour, "day": 24 * time.Hour, "d": 24 * time.Hour,
}

// ParseRate reads "100/s", "5000/h", "100000/day", "10/30s", or with a burst
// "100/s,20".
func ParseRate(text string) (Rate, error) {
	wrong := errors.New("a rate is written 100/s, 10/30s, 5000/h or 100000/day, and with a burst 100/s,20")
	number, unit, found := strings.Cut(text, "/")
	unit, burst, bursts := strings.Cut(unit, ",")
	var r Rate
	var err error
	if r.Limit, err = strconv.Atoi(number); err != nil || !found {
		return Rate{}, wrong
	}
	if bursts {
		if r.Burst, err = strconv.Atoi(burst); err != nil || r.Burst == 0 {
			return Rate{}, wrong
		}
	}
	known := false
	if r.Per, known = units[unit]; !known {
		if r.Per, err = time.ParseDuration(unit); err != nil {
			return Rate{}, wrong
		}
	}
	if r.Limit == 0 {
		return Rate{}, wrong
	}
	return r, r.Check()
}

// String is what ParseRate reads; empty for no bound.
func (r Rate) String() string {
	if r.IsZero() {
		return ""
	}
	per := r.Per.String()
	for _, unit := range []string{"s", "min", "h", "day"} {
		if units[unit] == r.Per {
			per = unit
		}
	}
	text := strconv.Itoa(r.Limit) + "/" + per
	if r.Burst > 0 {
		text += "," + strconv.Itoa(r.Burst)
	}
	return text
}

// MarshalText is String.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is ParseRate; empty = no bound.
func (r *Rate) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Rate{}
		return nil
	}
	parsed, err := ParseRate(string(text))
	*r = parsed
	return err
}

// State is a bucket after a request.
type State struct {
	Allowed    bool
	Remaining  int           // requests that may come at once now
	RetryAfter time.Duration // until the next may come; 0 if it was allowed
	Reset      time.Duration // until the bucket is full again
}

// Limiter keeps buckets. The adapters (memory, Redis) pass limittest.Exercise.
// Safe for concurrent use.
type Limiter interface {
	// Take takes one from the bucket of that name, whose rate is not zero, if it
	// holds one. A request that is not allowed takes nothing. Another rate than the
	// last time goes on with what the bucket held.
	Take(ctx context.Context, name string, rate Rate) (State, error)
}

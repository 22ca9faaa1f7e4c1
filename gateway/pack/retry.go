package pack

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/runtimes/strictyaml"
)

// Retry says what becomes of an asynchronous execution that fails. The pause
// before attempt n is random, from nothing to Min doubled n-2 times, at most Max.
type Retry struct {
	Attempts int // in all
	Min, Max time.Duration
	On       []string // codes of failures that are tried again beside those that say so themselves, sorted
}

// Where an action says nothing.
const (
	defaultAttempts = 3
	defaultRetryMin = time.Second
	defaultRetryMax = 5 * time.Minute
)

// Bounds of what an action may ask for.
const (
	maxAttempts     = 100
	leastRetryPause = time.Millisecond
	mostRetryPause  = 24 * time.Hour
)

// retryCodes are the failures after which an action may have done something:
// whether another try is right is its author's to know.
var retryCodes = []string{"action-failed", "bad-output", "instance-lost", "out-of-memory", "result-too-large", "timed-out"}

// retryFile is a retry block, as it is written.
type retryFile struct {
	Attempts *int     `yaml:"attempts"`
	Min      string   `yaml:"min"`
	Max      string   `yaml:"max"`
	On       []string `yaml:"on"`
}

func (r retryFile) read(doc *strictyaml.Document) Retry {
	retry := DefaultRetry()
	retry.On = r.On
	if r.Attempts != nil {
		if *r.Attempts < 1 || *r.Attempts > maxAttempts {
			doc.Faultf(at("retry", "attempts"), "retry.attempts must be a number from 1 to %d", maxAttempts)
		}
		retry.Attempts = *r.Attempts
	}
	least, most := pause(doc, "min", r.Min), pause(doc, "max", r.Max)
	if most > 0 && most < least {
		doc.Faultf(at("retry", "max"), "retry.max is less than retry.min")
	}
	retry.Min = cmp.Or(least, min(retry.Min, cmp.Or(most, retry.Min)))
	retry.Max = max(cmp.Or(most, retry.Max), retry.Min)
	for i, code := range r.On {
		if !slices.Contains(retryCodes, code) {
			doc.Faultf(at("retry", "on", strconv.Itoa(i)), "retry.on: %s is no failure of an action: %s", quote(code), strictyaml.Suggest(code, retryCodes))
		}
	}
	slices.Sort(retry.On)
	return retry
}

func pause(doc *strictyaml.Document, key, text string) time.Duration {
	if text == "" {
		return 0
	}
	duration, err := seconds(strings.TrimSpace(text))
	if err != nil || duration < leastRetryPause || duration > mostRetryPause {
		doc.Faultf(at("retry", key), "retry.%s must be seconds or a duration from %v to %v, for example 30 or 5m", key, leastRetryPause, mostRetryPause)
		return 0
	}
	return duration
}

// DefaultRetry is what an action gets that says nothing.
func DefaultRetry() Retry {
	return Retry{Attempts: defaultAttempts, Min: defaultRetryMin, Max: defaultRetryMax}
}

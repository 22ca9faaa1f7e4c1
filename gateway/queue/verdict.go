package queue

import (
	"math/rand/v2"
	"slices"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
)

// verdict is what becomes of a job after an attempt.
type verdict struct {
	status    execution.Status // queued = another attempt
	after     time.Duration    // until that
	uncounted bool             // this one was none
}

// situation is what a verdict depends on, beside the failure.
type situation struct {
	retry     pack.Retry
	attempt   int  // the how manieth it was
	cancelled bool // somebody wants the job to end
	stopping  bool // the gateway has ended the attempt because it stops
	tooOld    bool // for being put off
}

// waits are failures of the surroundings: the job could not be tried.
var waits = []string{
	execution.CodeEnvironmentBuild, execution.CodeEnvironmentStorage, execution.CodeOverloaded, execution.CodeEngineUnavailable,
	execution.CodeStateUnavailable, execution.CodeDraining,
}

// mends are failures that an operator can do something about meanwhile: a pack
// that is being replaced, a key that is being changed.
var mends = []string{execution.CodeNotFound, execution.CodeSecretsUnreadable}

// leastWait is between two tries of what can't be tried now.
const leastWait = time.Second

// judge decides; a nil failure is success.
func judge(failure *execution.Error, s situation) verdict {
	switch {
	case failure == nil:
		return verdict{status: execution.StatusSucceeded}
	case s.cancelled:
		if failure.Started && failure.Code != execution.CodeCancelled && !s.stopping {
			return verdict{status: failure.Status()} // it ended by itself before
		}
		return verdict{status: execution.StatusCancelled}
	case s.stopping:
		return verdict{status: execution.StatusQueued, uncounted: true}
	case slices.Contains(waits, failure.Code) && !failure.Started:
		if s.tooOld {
			return verdict{status: execution.StatusDead}
		}
		wait := max(failure.RetryAfter, leastWait)
		return verdict{status: execution.StatusQueued, after: wait + rand.N(wait/4), uncounted: true}
	case !failure.Retryable && !slices.Contains(mends, failure.Code) && !slices.Contains(s.retry.On, failure.Code):
		return verdict{status: failure.Status()}
	case s.attempt >= s.retry.Attempts:
		return verdict{status: execution.StatusDead}
	}
	return verdict{status: execution.StatusQueued, after: max(backoff(s.retry, s.attempt), failure.RetryAfter)}
}

// backoff is the pause after an attempt: exponential, with full jitter, so that
// jobs that have failed together don't come back together.
func backoff(retry pack.Retry, attempt int) time.Duration {
	ceiling := retry.Min
	for range attempt - 1 {
		if ceiling *= 2; ceiling >= retry.Max {
			break
		}
	}
	return rand.N(min(ceiling, retry.Max) + 1)
}

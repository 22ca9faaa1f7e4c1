package envcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// Errors of Ensure that carry no data.
var (
	ErrStorageFull = errors.New("not enough free space for another environment")
	ErrBusy        = errors.New("too many environments wait to be built")
	ErrClosed      = errors.New("the environment cache is closed")
)

// errAgain says that another gateway was quicker at some step: look again.
var errAgain = errors.New("another gateway has taken over the build")

// BuildingError says that the environment is being built and the caller's
// patience has ended.
type BuildingError struct {
	RetryAfter time.Duration // computed from the median of past builds
}

func (e *BuildingError) Error() string { return "the environment is being built" }

// FailedError says why there is no environment.
type FailedError struct {
	Reason         string    // one line for people
	Log            string    // the end of the installer's output
	Attempt        int       // how many failed in a row
	NextRetry      time.Time // no attempt is made before; zero = at once
	Infrastructure bool      // the fault is not the pack's: engine, image, memory, space
	cause          error
}

func (e *FailedError) Error() string {
	if e.cause != nil {
		return "build of the environment failed: " + e.Reason + ": " + e.cause.Error()
	}
	return "build of the environment failed: " + e.Reason
}

// Unwrap returns the cause.
func (e *FailedError) Unwrap() error { return e.cause }

// failureRecord is a failure on the volume, so that all gateways back off
// together.
type failureRecord struct {
	Attempt        int       `json:"attempt"`
	Reason         string    `json:"reason"`
	Log            string    `json:"log"`
	Infrastructure bool      `json:"infrastructure"`
	Builder        string    `json:"builder,omitempty"` // ID of the container whose end this is
	At             time.Time `json:"at"`
	NextRetry      time.Time `json:"next_retry"`
}

// Back-off after failures: a fault of the pack rarely mends itself, a fault of
// the machine often does.
const (
	buildBackoff, maxBuildBackoff = 5 * time.Second, 10 * time.Minute
	infraBackoff, maxInfraBackoff = time.Second, time.Minute
)

// backoff doubles with each attempt up to a limit, ± 20 % so that gateways
// don't come back in step.
func backoff(attempt int, infrastructure bool) time.Duration {
	base, limit := buildBackoff, maxBuildBackoff
	if infrastructure {
		base, limit = infraBackoff, maxInfraBackoff
	}
	d := min(base<<min(attempt-1, 20), limit)
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// full tells whether an error is that of a volume without room for a small file.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// asAnswer makes the end of a flight one of the errors that Ensure promises.
func asAnswer(err error) error {
	var failure *FailedError
	switch {
	case errors.Is(err, ErrStorageFull), errors.Is(err, ErrBusy), errors.As(err, &failure):
		return err
	case full(err):
		return fmt.Errorf("%w: %w", ErrStorageFull, err)
	}
	return asFailure(err)
}

// asFailure makes any error one that callers understand.
func asFailure(err error) *FailedError {
	var failure *FailedError
	if errors.As(err, &failure) {
		return failure
	}
	return &FailedError{Reason: reasonOf(err), Infrastructure: true, cause: err}
}

// reasonOf is the first line of an infrastructure fault for callers: which part
// failed, without paths or addresses.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrDamaged):
		return ErrDamaged.Error()
	case errors.Is(err, container.ErrNoImage):
		return "the engine doesn't have the runtime's image"
	case errors.Is(err, container.ErrUnavailable):
		return "the container engine does not answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "the container engine took too long"
	}
	return "the environment could not be prepared; the gateway's log says why"
}

// exitUnknown is what an engine reports of a container that it lost sight of.
const exitUnknown = 255

// exitFailure says why a builder that stopped has not succeeded.
func (c *Cache) exitFailure(exit container.Exit, output *buildLog) error {
	failure := &FailedError{Log: output.tail()}
	announced, last := output.ending()
	switch {
	case exit.OutOfMemory:
		failure.Infrastructure = true
		failure.Reason = fmt.Sprintf("the builder ran out of memory (build.memory is %d bytes)", c.Limits.Memory)
	case exit.Code == agent.ExitTimeout:
		failure.Reason = fmt.Sprintf("the build took longer than %s (build.timeout)", c.Limits.Timeout)
	case exit.Code == 128+int(unix.SIGKILL), exit.Code == 128+int(unix.SIGTERM), exit.Code == exitUnknown && !announced:
		failure.Infrastructure = true
		failure.Reason = "the builder was stopped before it had finished"
	default:
		failure.Reason = fmt.Sprintf("the installer failed with exit code %d", exit.Code)
		if last != "" {
			failure.Reason += ": " + last
		}
	}
	return failure
}

// failed records a failed build and turns it into what callers see. builder is
// the container that failed, nil if there was none.
func (c *Cache) failed(f *flight, d digested, err error, builder container.Container) error {
	if errors.Is(err, ErrStorageFull) || builder == nil && full(err) {
		return err // measured anew on each call, which costs next to nothing
	}
	failure := asFailure(err)
	last := c.volume.failureRecord(d.digest)
	if last != nil && last.Infrastructure == failure.Infrastructure {
		failure.Attempt = last.Attempt
	}
	failure.Attempt++
	now := time.Now()
	failure.NextRetry = now.Add(backoff(failure.Attempt, failure.Infrastructure))
	record := failureRecord{
		Attempt: failure.Attempt, Reason: failure.Reason, Log: failure.Log,
		Infrastructure: failure.Infrastructure, At: now, NextRetry: failure.NextRetry,
	}
	if builder != nil {
		record.Builder = builder.ID()
	}
	err = c.volume.setFailureRecord(d.digest, record)
	if full(err) && builder != nil {
		// The attempt has left no room for the record. A gateway that dies after
		// this costs one build too many; without a record every call would.
		c.cleanUp(c.ctx, builder)
		err = c.volume.setFailureRecord(d.digest, record)
	}
	if err != nil {
		c.Log.Warn("failure of a build could not be recorded", "digest", d.digest, "error", err)
	}
	c.Log.Warn("environment could not be built", "pack", f.recipe.Pack, "runtime", f.recipe.Runtime.Name,
		"digest", d.digest, "attempt", failure.Attempt, "next_retry", failure.NextRetry, "error", failure)
	return failure
}

// failureRecord returns what is recorded, nil if nothing is. A record that
// can't be read is as good as none: the build is tried again.
func (v volume) failureRecord(digest string) *failureRecord {
	content, err := os.ReadFile(v.failure(digest))
	if err != nil {
		return nil
	}
	var record failureRecord
	if json.Unmarshal(content, &record) != nil {
		return nil
	}
	return &record
}

func (v volume) setFailureRecord(digest string, record failureRecord) error {
	content, err := json.Marshal(record)
	if err != nil {
		return err
	}
	return v.replace(v.failure(digest), content)
}

// recentFailure is the recorded failure as an error while its back-off lasts.
// A time far in the future is a clock that was set back: it doesn't count.
func (v volume) recentFailure(digest string) error {
	record := v.failureRecord(digest)
	if record == nil {
		return nil
	}
	wait := time.Until(record.NextRetry)
	if wait <= 0 || wait > 2*maxBuildBackoff {
		return nil
	}
	return &FailedError{
		Reason: record.Reason, Log: record.Log, Attempt: record.Attempt,
		NextRetry: record.NextRetry, Infrastructure: record.Infrastructure,
	}
}

// forgive removes the record of failures after a success.
func (v volume) forgive(digest string) error {
	return removeIfThere(v.failure(digest))
}

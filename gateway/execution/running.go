package execution

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"
)

// errStopped is the cause with which an execution ends that somebody cancelled.
var errStopped = errors.New("the execution was cancelled")

// phase is what an execution waits for, or that it runs.
type phase int

const (
	phaseEnvironment phase = iota
	phaseQueue
	phaseRun
)

// Running is an execution that has not ended. Any number of readers may look at
// it and follow its output: they share what is kept of it for the record, so
// that none costs more than its place in it, and none can hold it up.
type Running struct {
	out    *output
	cancel context.CancelCauseFunc
	news   *signal       // raised by output, by a change of phase, and by the end
	ended  chan struct{} // closed when final is set, after the last output

	mu        sync.Mutex
	x         Execution // as it was at the last change of phase
	phase     phase
	since     time.Time // of the phase
	started   bool      // the program was started once
	final     *Execution
	announced Status // what the store has been told; for who writes to it
}

func newRunning(x *Execution, limits Limits, cancel context.CancelCauseFunc) *Running {
	r := &Running{
		out: newOutput(limits), cancel: cancel, news: &signal{}, ended: make(chan struct{}),
		x: *x, since: time.Now(),
	}
	r.x.Status = StatusQueued
	r.out.stdout.news, r.out.stderr.news, r.out.items.news = r.news, r.news, r.news
	return r
}

// Stdout takes what the program prints on stdout. One writer at a time.
func (r *Running) Stdout() io.Writer { return &r.out.stdout }

// Stderr takes what the program prints on stderr. One writer at a time.
func (r *Running) Stderr() io.Writer { return &r.out.stderr }

// Handle notes that a handler will run, before anybody follows the result, and
// returns what takes its generator's values: one line each. One writer at a time.
func (r *Running) Handle() io.Writer {
	r.out.ofHandler()
	return &r.out.items
}

// Start notes that the program was started.
func (r *Running) Start() { r.enter(phaseRun, r.Summary().Timing) }

// enter notes that the execution is in a phase now, and where its time has gone
// until then.
func (r *Running) enter(p phase, timing Timing) {
	now := time.Now()
	r.mu.Lock()
	r.phase, r.since, r.x.Timing = p, now, timing
	r.x.Status, r.x.StartedAt = StatusQueued, nil
	if p == phaseRun {
		utc := now.UTC()
		r.x.Status, r.x.StartedAt, r.started = StatusRunning, &utc, true
	}
	r.mu.Unlock()
	r.news.raise()
}

// finish takes the record of the end. Nothing is printed after it.
func (r *Running) finish(x *Execution) {
	r.mu.Lock()
	r.final = x
	r.mu.Unlock()
	close(r.ended)
	r.news.raise()
}

// Changed returns a channel that is closed at the next change. Whoever waits
// takes it first, then looks, then waits: so nothing is missed.
func (r *Running) Changed() <-chan struct{} { return r.news.wait() }

// Ended returns a channel that is closed when the execution has ended.
func (r *Running) Ended() <-chan struct{} { return r.ended }

// HasEnded tells whether nothing of the execution will change any more.
func (r *Running) HasEnded() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// Started tells whether the program was started.
func (r *Running) Started() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// Cancel ends the execution as soon as it can be killed; see Ended. More than
// once is as good as once.
func (r *Running) Cancel() { r.cancel(errStopped) }

// Summary is the execution as it is now, without what it has printed.
func (r *Running) Summary() *Execution {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final != nil {
		x := *r.final
		x.Stdout, x.Stderr, x.Result = "", "", nil
		return &x
	}
	x, now := r.x, time.Now()
	x.DurationMS = milliseconds(now.Sub(x.CreatedAt))
	elapsed := milliseconds(now.Sub(r.since))
	switch r.phase {
	case phaseEnvironment:
		x.Timing.Environment += elapsed
	case phaseQueue:
		x.Timing.Queue += elapsed
	case phaseRun:
		x.Timing.Run += elapsed
	}
	return &x
}

// Execution is the execution as it is now, with what it has printed so far.
func (r *Running) Execution() *Execution {
	r.mu.Lock()
	final := r.final
	r.mu.Unlock()
	if final != nil {
		return final
	}
	x := r.Summary()
	x.Stdout, x.StdoutTruncated = r.out.stdout.soFar("stdout", r.out.logLimit)
	x.Stderr, x.StderrTruncated = r.out.stderr.soFar("stderr", r.out.logLimit)
	return x
}

// signal wakes all who wait for a change.
type signal struct {
	mu sync.Mutex
	c  chan struct{} // nil: nobody waits
}

// wait returns what the next raise closes.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

// raise wakes those who wait. A nil signal has none.
func (s *signal) raise() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}

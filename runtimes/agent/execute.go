package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"attune/runtimes/agent/wire"
)

// takeTime is how long an agent may need to take a request that it was sent. It
// answers from its reader, so even a starved one manages.
const takeTime = 5 * time.Second

var (
	errSilent = errors.New("agent did not report in time")
	errIdle   = errors.New("agent did not take the request in time")
	errSpent  = errors.New("an earlier execution left something in the instance")
)

// Execute runs a program and returns when it has ended and all that it left was
// removed. When ctx ends the program is killed (SIGTERM, Grace, SIGKILL) and the
// Exit says Cancelled.
//
// Errors: ErrNotStarted, ErrLost, *StartError (the Exit then still tells whether
// the instance is Reusable), ErrBusy, ErrTooLarge. After an Exit that is not
// Reusable every new call gets ErrNotStarted, and what runs ends normally. The
// connection is closed after ErrLost, unless the program alone was lost and with
// it the means to know its end, and after ErrNotStarted unless ctx or that was its
// cause.
func (c *Conn) Execute(ctx context.Context, r Request, out Output) (Exit, error) {
	r.Patience = cmp.Or(r.Patience, DefaultPatience)
	payload, err := r.encode()
	if err != nil {
		return Exit{}, err
	}
	if err := context.Cause(ctx); err != nil {
		return Exit{Reusable: true}, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	run := newRun(&sink{w: out.Stdout, left: r.StdoutLimit}, &sink{w: out.Stderr, left: r.StderrLimit})
	if err := c.begin(run, wire.TypeStart, payload, nil); err != nil {
		return Exit{}, err
	}
	return c.await(ctx, run, r)
}

// await returns the result of a run. It outlives ctx by Grace and Patience, and
// never returns while the reader may still write to its Output.
func (c *Conn) await(ctx context.Context, run *run, r Request) (Exit, error) {
	started, cancelled := run.started, ctx.Done()
	take := time.NewTimer(takeTime)
	defer take.Stop()
	limit := time.NewTimer(r.Timeout + r.Grace + r.Patience)
	defer limit.Stop()
	for {
		select {
		case <-started:
			started = nil
			take.Stop()
		case <-cancelled:
			cancelled = nil
			limit.Reset(r.Grace + r.Patience)
			kill := wire.Encode(wire.Kill{Grace: r.Grace})
			if err := c.send(wire.TypeKill, run.stream, kill, r.Patience); err != nil {
				c.fail(err)
			}
		case <-take.C:
			c.fail(errIdle)
		case <-limit.C:
			c.fail(errSilent)
		case <-run.finished:
			return run.exit, run.err
		case <-c.done:
			return run.lost(c.Err())
		}
	}
}

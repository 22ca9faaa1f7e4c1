package execution

import "attune/gateway/trace"

// place is where in a trace the program runs: within the span of its run, or,
// where nothing is drawn, where its caller has been.
func (c *call) place(run *trace.Span) trace.Context {
	if run == nil {
		return c.trace
	}
	return run.Context()
}

// draw notes on the execution's span how it has ended.
func (c *call) draw(failure *Error) {
	if c.span == nil {
		return
	}
	x := c.execution
	c.span.Set("attune.pack", x.Pack)
	c.span.Set("attune.status", string(x.Status))
	c.span.SetFlag("faas.coldstart", x.Timing.Start > 0)
	if x.ExitCode != nil {
		c.span.SetInt("process.exit.code", *x.ExitCode)
	}
	if failure != nil {
		c.span.Fail(failure.Code)
	}
}

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"attune/envcache"
)

// buildProgress shows one build to whoever has asked for it.
type buildProgress interface {
	event(buildEvent)
	// end leaves on the screen what should stay; ok tells how the build ended.
	end(ok bool)
}

// progressOf shows a build as a checklist on a terminal, and as lines elsewhere.
func (p *program) progressOf(name string) buildProgress {
	if p.StderrWidth == nil {
		return &buildLines{out: p.Stderr, name: name}
	}
	return newChecklist(p.Stderr, p.StderrWidth, allowsColour(p.Environ))
}

// buildLines shows a build as lines of text.
type buildLines struct {
	out  io.Writer
	name string
	last envcache.Phase
}

func (b *buildLines) event(e buildEvent) {
	switch {
	case e.Line != "":
		fmt.Fprintln(b.out, "  | "+plain(e.Line))
	case e.Phase != b.last: // a stream that was opened anew repeats them
		b.last = e.Phase
		fmt.Fprintf(b.out, "%s: %s after %s\n", b.name, plain(string(e.Phase)), rounded(e.elapsed()))
	}
}

func (b *buildLines) end(bool) {}

// step is one phase of a build on the checklist.
type step struct {
	phase envcache.Phase
	began time.Duration // since the build's start
	took  time.Duration // once done; negative = nobody saw it
	state stepState
}

type stepState int

const (
	stepAhead stepState = iota
	stepNow
	stepDone
	stepFailed
)

// marks of steps, and their colours.
var marks = map[stepState]screenLine{
	stepAhead: {"·", dim}, stepNow: {"›", yellow}, stepDone: {"✓", green}, stepFailed: {"✗", red},
}

// checklist shows the phases of a build, each with its time, and the last line
// of the installer's output. Safe for concurrent use with its own clock.
type checklist struct {
	coloured bool

	mu      sync.Mutex
	screen  screen
	steps   []step
	line    string
	started time.Time // of the build
	timer   *time.Timer
}

func newChecklist(out io.Writer, width func() int, coloured bool) *checklist {
	c := &checklist{screen: screen{out: out, width: width}, coloured: coloured, started: time.Now()}
	for _, phase := range []envcache.Phase{envcache.PhaseCreate, envcache.PhaseInstall, envcache.PhaseVerify, envcache.PhasePublish} {
		c.steps = append(c.steps, step{phase: phase})
	}
	return c
}

func (c *checklist) event(e buildEvent) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = time.Now().Add(-e.elapsed())
	if e.Line != "" {
		c.line = plain(e.Line)
	} else if !e.Phase.Ended() {
		c.enter(e.Phase, e.elapsed())
	}
	c.redraw()
}

// enter makes a phase the present one. What comes before it on the list and
// was never seen was skipped, or done before anybody watched.
func (c *checklist) enter(phase envcache.Phase, elapsed time.Duration) {
	at := slices.IndexFunc(c.steps, func(s step) bool { return s.phase == phase })
	if at >= 0 && c.steps[at].state == stepNow {
		return // a stream that was opened anew repeats it
	}
	c.line = ""
	c.leave(elapsed)
	if phase == envcache.PhaseCopy { // there won't be others, unless they are told
		c.steps = slices.DeleteFunc(c.steps, func(s step) bool { return s.state == stepAhead && s.phase != envcache.PhasePublish })
	}
	if at < 0 { // queued, adopt: where the build stands now
		at = slices.IndexFunc(c.steps, func(s step) bool { return s.state == stepAhead })
		if at < 0 {
			at = len(c.steps)
		}
		c.steps = slices.Insert(c.steps, at, step{phase: phase})
	}
	c.steps[at].state, c.steps[at].began = stepNow, elapsed
	for i := range c.steps[:at] {
		if c.steps[i].state == stepAhead {
			c.steps[i].state, c.steps[i].took = stepDone, -1
		}
	}
}

// leave ends the present phase.
func (c *checklist) leave(elapsed time.Duration) {
	for i := range c.steps {
		if s := &c.steps[i]; s.state == stepNow {
			s.state, s.took = stepDone, max(elapsed-s.began, 0)
		}
	}
}

func (c *checklist) end(ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := time.Since(c.started)
	if !ok {
		for i := range c.steps {
			if s := &c.steps[i]; s.state == stepNow {
				s.state, s.took = stepFailed, max(elapsed-s.began, 0)
			}
		}
	}
	c.leave(elapsed)
	// What never came stays out: the build ended without it.
	c.steps = slices.DeleteFunc(c.steps, func(s step) bool { return s.state == stepAhead })
	c.line = ""
	c.redraw()
	c.screen.drawn = 0 // it stays
	if c.timer != nil {
		c.timer.Stop()
	}
}

// redraw shows the list as it is now. The caller holds the lock.
func (c *checklist) redraw() {
	c.screen.erase()
	var lines []screenLine
	busy := false
	for _, s := range c.steps {
		took := ""
		switch s.state {
		case stepNow:
			busy = true
			took = time.Since(c.started.Add(s.began)).Round(time.Second).String()
		case stepDone, stepFailed:
			if s.took >= 0 {
				took = rounded(s.took)
			}
		}
		mark := marks[s.state]
		line := screenLine{text: strings.TrimRight(fmt.Sprintf("  %s %-8s %s", mark.text, plain(string(s.phase)), took), " ")}
		if c.coloured {
			line.paint = mark.paint
		}
		lines = append(lines, line)
		if s.state == stepNow && c.line != "" {
			lines = append(lines, screenLine{text: "      " + c.line})
		}
	}
	c.screen.show(lines)
	if busy && c.timer == nil {
		c.timer = time.AfterFunc(time.Second, c.tick)
	}
}

// tick moves the clock of a quiet phase on.
func (c *checklist) tick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer = nil
	if slices.ContainsFunc(c.steps, func(s step) bool { return s.state == stepNow }) {
		c.redraw()
	}
}

// rounded is a duration for eyes: "3.1 s", "0.2 s", "2m5s".
func rounded(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

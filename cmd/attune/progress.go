package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"attune/envcache"
)

// display shows builds of environments while they go on: on a terminal one live
// line per build below the log, elsewhere lines of the log. The log is written
// through it, so that neither tears the other. Safe for concurrent use.
type display struct {
	screen

	mu    sync.Mutex   // guards all but screen's out and width
	log   *slog.Logger // set by logTo
	live  map[string]liveBuild
	timer *time.Timer // redraws once a second while there are builds
}

// liveBuild is what a live line shows.
type liveBuild struct {
	name, phase, line string
	started           time.Time
}

// newDisplay makes a display; width is nil where out is no terminal.
func newDisplay(out io.Writer, width func() int) *display {
	return &display{screen: screen{out: out, width: width}, log: slog.New(slog.DiscardHandler), live: map[string]liveBuild{}}
}

// console makes the display of builds and the log of a long-running command,
// both on stderr. A JSON log has no live lines in between.
func (p *program) console(config LogConfig) (*display, *slog.Logger) {
	width := p.StderrWidth
	terminal := width != nil
	if config.Format == "json" {
		width = nil
	}
	d := newDisplay(p.Stderr, width)
	log := newLogger(d, config, terminal, terminal && allowsColour(p.Environ))
	d.logTo(log)
	return d, log
}

// logTo says where builds are logged; that logger itself writes to the display.
func (d *display) logTo(log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = log
}

// Write prints whole lines above the live ones.
func (d *display) Write(lines []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.erase()
	n, err := d.out.Write(lines)
	d.draw()
	return n, err
}

// Show takes one step of a build.
func (d *display) Show(event envcache.Event) {
	d.mu.Lock()
	log := d.log
	if d.width != nil {
		d.track(event)
	}
	d.mu.Unlock()
	logBuild(log, event, d.width != nil) // writes to the display: not under its lock
}

// track follows a build on the terminal.
func (d *display) track(event envcache.Event) {
	d.erase()
	name := event.Pack + "/" + event.Runtime
	if event.Phase.Ended() {
		delete(d.live, name)
	} else {
		build := d.live[name]
		build.name, build.phase = name, string(event.Phase)
		build.line = cmp.Or(plain(event.Line), build.line)
		if event.Line == "" {
			build.line = "" // a new phase
		}
		build.started = time.Now().Add(-event.Elapsed)
		d.live[name] = build
	}
	d.draw()
}

// logBuild logs what is news: on a terminal only the end, since the live line
// tells the rest.
func logBuild(log *slog.Logger, event envcache.Event, live bool) {
	attrs := []any{
		slog.String("environment", event.Pack+"/"+event.Runtime),
		slog.Duration("elapsed", event.Elapsed.Round(time.Millisecond)),
	}
	switch {
	case event.Line != "":
		log.Debug("environment output", append(attrs, slog.String("line", event.Line))...)
	case event.Phase == envcache.PhasePublished:
		log.Info("environment is ready", attrs...)
	case event.Phase == envcache.PhaseFailed:
		log.Warn("environment failed", append(attrs, slog.Any("error", event.Err))...)
	case !live:
		log.Info("environment is being built", append(attrs, slog.String("phase", string(event.Phase)))...)
	}
}

// draw puts a line per build below everything else. The caller holds the lock.
func (d *display) draw() {
	if d.width == nil || len(d.live) == 0 {
		return
	}
	builds := make([]liveBuild, 0, len(d.live))
	for _, build := range d.live {
		builds = append(builds, build)
	}
	slices.SortFunc(builds, func(a, b liveBuild) int { return cmp.Compare(a.name, b.name) })
	lines := make([]screenLine, len(builds))
	for i, build := range builds {
		elapsed := time.Since(build.started).Round(time.Second)
		lines[i].text = fmt.Sprintf("  building %s  %s  %s  %s", build.name, elapsed, build.phase, build.line)
	}
	d.show(lines)
	if d.timer == nil {
		d.timer = time.AfterFunc(time.Second, d.tick)
	}
}

// tick moves the clock of quiet builds on; it stops by itself after the last.
func (d *display) tick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = nil
	d.erase()
	d.draw()
}

// Close removes the live lines. Another event brings them back.
func (d *display) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.erase()
	clear(d.live)
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"
)

// The loads. Counts are bounds: a slow subject is called for perLoad at most.
var (
	one     = load{name: "one caller", callers: 1, calls: 2000}
	four    = load{name: "4 callers", callers: 4, calls: 2000}
	sixteen = load{name: "16 callers", callers: 16, calls: 20000}
	silence = load{name: "after 2 s of silence", callers: 1, calls: 3, pause: 2 * time.Second}
	rarely  = load{name: "one caller, every 0.3 s", callers: 1, calls: 8, pause: 300 * time.Millisecond}
	seldom  = load{name: "one caller, every 1.5 s", callers: 1, calls: 2, pause: 1500 * time.Millisecond}
	beside  = load{name: "one caller beside 64 of another pack", callers: 1, calls: 500, flood: "process, shell, flooded", flooders: 64}
)

// line is a row of the table: one figure of a subject under a load, against
// the same figure of another one.
type line struct {
	subject string
	load    load
	figure  figure
	against string // empty = nothing
	base    load   // of the other; its name empty = the same load
	beyond  bool   // what is measured is how much more it is than the other
	goals   row    // only its goals count
}

// lines are the table. What isn't said elsewhere: times in milliseconds.
var lines = []line{
	{subject: fiberEcho, load: one, figure: p50},
	{subject: fiberEcho, load: sixteen, figure: rate},
	{subject: dockerRun, load: one, figure: p50},
	{subject: dockerExec, load: one, figure: p50},
	{subject: insidePython, load: one, figure: p50},

	{subject: "process, shell", load: one, figure: p50, against: bareShell, goals: row{valueGoal: 3}},
	{subject: "process, shell", load: sixteen, figure: rate},
	{subject: "process, Python", load: one, figure: p50, against: barePython, goals: row{valueGoal: 3, ratioGoal: 0.25}},
	{subject: "process, Python", load: one, figure: p50, against: insidePython, goals: row{ratioGoal: 0.25}},
	{subject: "process, Python", load: one, figure: p99, against: barePython},
	{subject: "process, Python", load: one, figure: p50, against: dockerExec},
	{subject: "process, Python", load: one, figure: p50, against: dockerRun},
	{subject: "process, Python", load: four, figure: rate, against: fiberEcho},
	{subject: "process, Python", load: sixteen, figure: rate, against: fiberEcho, goals: row{valueLeast: 600}},
	{subject: "process, Python", load: sixteen, figure: p99},
	{subject: "process, Python, 4 slots", load: sixteen, figure: rate, against: fiberEcho},
	{subject: "process, Python, preload numpy", load: one, figure: p50, against: insideNumpy, goals: row{valueGoal: 4}},
	{subject: "process, Node", load: rarely, figure: p50, against: insideNode, base: one, goals: row{valueGoal: 5}},
	{subject: "process, Node", load: one, figure: p50, against: insideNode, beyond: true, goals: row{valueGoal: 3}},
	{subject: "process, Node", load: sixteen, figure: rate, against: fiberEcho},

	{subject: "worker, Python", load: one, figure: p50, against: fiberEcho, goals: row{valueGoal: 0.4}},
	{subject: "worker, Python", load: one, figure: p99, against: fiberEcho},
	{subject: "worker, Python", load: silence, figure: p50, against: "worker, Python", base: one, goals: row{valueGoal: 0.4}},
	{subject: "worker, Python", load: sixteen, figure: rate, against: fiberEcho},
	{subject: "worker, Python, 4 slots", load: sixteen, figure: rate, against: fiberEcho, goals: row{ratioLeast: 0.2}},
	{subject: "worker, Python, 4 slots", load: sixteen, figure: p99, against: fiberEcho, goals: row{valueGoal: 5}},
	{subject: "worker, Node", load: one, figure: p50, against: fiberEcho, goals: row{valueGoal: 0.4}},
	{subject: "worker, Node", load: one, figure: p99, against: fiberEcho},
	{subject: "worker, Node", load: silence, figure: p50, against: "worker, Node", base: one, goals: row{valueGoal: 0.4}},
	{subject: "worker, Node", load: sixteen, figure: rate, against: fiberEcho},
	{subject: "worker, Node, 4 slots", load: sixteen, figure: rate, against: fiberEcho, goals: row{ratioLeast: 0.2}},
	{subject: "worker, Node, 4 slots", load: sixteen, figure: p99, against: fiberEcho, goals: row{valueGoal: 5}},
	{subject: fiberEcho, load: silence, figure: p50, against: fiberEcho, base: one},

	{subject: "container, Python", load: seldom, figure: p50, against: dockerRun, base: one, goals: row{valueGoal: 60}},
	{subject: "container, Python", load: four, figure: rate},

	{subject: "process, shell", load: beside, figure: p99, against: "process, shell", base: one, goals: row{ratioGoal: 3}},
	{subject: "worker, Python", load: beside, figure: p99, against: "worker, Python", base: one, goals: row{ratioGoal: 3}},
}

// baseLoad is the load of what a line is compared with.
func (l line) baseLoad() load {
	if l.base.name == "" {
		return l.load
	}
	return l.base
}

// what is how the table calls a line.
func (l line) what() string {
	text := fmt.Sprintf("%s: %s, %s", l.subject, l.load.name, l.figure)
	if l.beyond {
		text += ", beyond " + l.against
	}
	return text
}

// chosen are the lines that -rows wants.
func (b *bench) chosen() []line {
	var wanted []line
	for _, l := range lines {
		if b.rows == nil || b.rows.MatchString(l.what()) {
			wanted = append(wanted, l)
		}
	}
	return wanted
}

// loaded is a load of a subject; what is measured once for all its lines.
type loaded struct{ subject, load string }

// perLoad is how long one load may go on in all repetitions.
const perLoad = 10 * time.Second

// measureExecutions calls every subject under its loads, in turns.
func measureExecutions(ctx context.Context, b *bench) (rows []row, err error) {
	wanted := b.chosen()
	err = b.with(ctx, packsOf(wanted), func(g *gateway) (err error) {
		r := &rig{b: b, gateway: g, targets: map[string]target{}, prepared: map[string]error{}}
		defer func() { err = errors.Join(err, r.close()) }()
		rows, err = r.table(ctx, wanted)
		return err
	}, "ATTUNE__POOL__MAX_INSTANCES=256")
	return rows, err
}

// packsOf writes the packs of the lines' subjects.
func packsOf(wanted []line) func(home) error {
	return func(h home) error {
		var err error
		for _, l := range wanted {
			err = errors.Join(err, subjectOf(l.subject).write(h))
			if l.load.flood != "" {
				err = errors.Join(err, subjectOf(l.load.flood).write(h))
			}
		}
		return err
	}
}

// table measures all loads of some lines so many times, and makes their rows.
func (r *rig) table(ctx context.Context, wanted []line) ([]row, error) {
	samples, failures := map[loaded][]sample{}, map[loaded]error{}
	for range r.b.n {
		done := map[loaded]bool{}
		for _, l := range wanted {
			for _, next := range []struct {
				subject string
				load    load
			}{{l.against, l.baseLoad()}, {l.subject, l.load}} {
				key := loaded{next.subject, next.load.name}
				if next.subject == "" || done[key] || failures[key] != nil {
					continue
				}
				done[key] = true
				s, err := r.measure(ctx, next.subject, next.load, perLoad/time.Duration(r.b.n))
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
				if err != nil {
					failures[key] = err
					fmt.Fprintf(os.Stderr, "%s, %s: %v\n", next.subject, next.load.name, err)
					continue
				}
				samples[key] = append(samples[key], s)
				r.b.say("%s, %s: %d calls, p50 %.3f ms, p99 %.3f ms, %.0f /s", next.subject, next.load.name,
					len(s.took), p50.of(s), p99.of(s), rate.of(s))
			}
		}
	}
	var rows []row
	for _, l := range wanted {
		rows = append(rows, l.row(samples, failures))
	}
	return rows, nil
}

// row makes a line's row of what was measured.
func (l line) row(samples map[loaded][]sample, failures map[loaded]error) row {
	key, base := loaded{l.subject, l.load.name}, loaded{l.against, l.baseLoad().name}
	made := l.goals
	made.what, made.got = l.what(), series{unit: l.figure.unit()}
	if err := failures[key]; err != nil {
		made.missing = oneLine(err)
	} else {
		made.got = figures(l.figure, samples[key])
	}
	if l.against == "" {
		return made
	}
	made.against, made.base = l.against, figures(l.figure, samples[base])
	if l.against == l.subject {
		made.against = l.base.name
	}
	if l.beyond && len(made.base.values) == len(made.got.values) {
		for i := range made.got.values {
			made.got.values[i] -= made.base.values[i]
		}
	}
	return made
}

func figures(f figure, samples []sample) series {
	s := series{unit: f.unit()}
	for _, one := range samples {
		if v := f.of(one); !math.IsNaN(v) {
			s.add(v)
		}
	}
	return s
}

// oneLine is an error as a cell of the table.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return text
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// coldLines are first calls of a gateway that was just started, whose
// environments are ready.
var coldLines = []struct {
	subject string
	goal    float64 // ms
	against string
	warm    bool // its instance is waited for before it is called
}{
	{"process, Python, min_warm 1", 20, insidePython, true},
	{"worker, Python, min_warm 1", 20, insidePython, true},
	{"container, Python", 60, dockerRun, true},
	{"process, shell", 450, dockerRun, false},
	{"process, Python", 450, dockerRun, false},
	{"process, Python, preload numpy", 450, insideNumpy, false},
	{"process, Node", 450, insideNode, false},
	{"worker, Python", 450, dockerRun, false},
	{"worker, Node", 450, insideNode, false},
	{"container, Python, no stock", 450, dockerRun, false},
}

// warmWait is how long an instance may take that a gateway starts by itself.
const warmWait = 10 * time.Second

// measureCold starts a gateway so many times and calls every subject once. In
// turns it runs what they are compared with.
func measureCold(ctx context.Context, b *bench) (rows []row, err error) {
	h, err := newHome()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.remove()) }()
	samples, failures := map[loaded][]sample{}, map[loaded]error{}
	var wanted []line
	for _, c := range coldLines {
		l := line{subject: c.subject, load: first, figure: p50, against: c.against, base: one, goals: row{valueGoal: c.goal}}
		if b.rows == nil || b.rows.MatchString(l.what()) {
			wanted = append(wanted, l)
		}
	}
	if err := packsOf(wanted)(h); err != nil {
		return nil, err
	}
	r := &rig{b: b, targets: map[string]target{}, prepared: map[string]error{}}
	defer func() { err = errors.Join(err, r.close()) }()
	for turn := range b.n + 1 { // the first builds the environments
		built := turn > 0
		err := b.coldStart(ctx, h, wanted, built, func(l line, s sample, err error) {
			switch key := (loaded{l.subject, l.load.name}); {
			case err != nil:
				failures[key] = err
				fmt.Fprintf(os.Stderr, "%s, %s: %v\n", l.subject, l.load.name, err)
			case built:
				samples[key] = append(samples[key], s)
			}
		})
		if err != nil {
			return nil, err
		}
		for _, l := range wanted {
			key := loaded{l.against, one.name}
			if !built || len(samples[key]) == turn {
				continue
			}
			s, err := r.measure(ctx, l.against, load{name: one.name, callers: 1, calls: 3}, time.Minute)
			if err != nil {
				return nil, err
			}
			samples[key] = append(samples[key], s)
		}
	}
	for _, l := range wanted {
		rows = append(rows, l.row(samples, failures))
	}
	return rows, nil
}

// first is one call.
var first = load{name: "first call", callers: 1, calls: 1}

// coldStart starts a gateway, calls each subject once, and stops it. Of what is
// kept warm it waits for instances if the environments are built: here, calls
// have them built.
func (b *bench) coldStart(ctx context.Context, h home, wanted []line, built bool, told func(line, sample, error)) (err error) {
	g, err := b.start(ctx, h)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop()) }()
	if _, _, err := g.call(ctx, "GET", "/readyz"); err != nil {
		return err
	}
	ready := map[string]bool{}
	for _, c := range coldLines {
		ready[c.subject] = c.warm
	}
	for _, l := range wanted {
		pack := subjectOf(l.subject).pack()
		if err := g.serves(ctx, pack); err != nil {
			told(l, sample{}, err)
			continue
		}
		if built && ready[l.subject] {
			if err := awaitInstance(ctx, pack); err != nil {
				told(l, sample{}, err)
				continue
			}
		}
		s, err := httpTarget{url: g.url + "/invoke/" + pack + ".run"}.run(ctx, first, time.Minute)
		b.say("%s, first call: %.1f ms", l.subject, p50.of(s))
		told(l, s, err)
	}
	return nil
}

// awaitInstance waits until a pack has an instance without having been called,
// and then for a second in which it becomes warm.
func awaitInstance(ctx context.Context, pack string) error {
	for end := time.Now().Add(warmWait); ; {
		ids, err := instances(ctx, pack)
		if err != nil {
			return err
		}
		if len(ids) == 0 && time.Now().After(end) {
			return fmt.Errorf("no instance of %s after %v", pack, warmWait)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if len(ids) > 0 {
			return nil
		}
	}
}

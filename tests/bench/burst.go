package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

// fixedRuntime has environments whose build is two seconds of nothing.
const fixedRuntime = `name: fixed
image: attune/shell
interpreter: {binary: /bin/sh, file_extension: .fixed}
environment:
  env_type: scripted
  create_command: [/bin/sleep, "2"]
  verify_command: [/bin/true]
`

// measureBurst lets many callers meet a pack at once that was never called, and
// in turns one caller alone: each time on a fresh volume.
func measureBurst(ctx context.Context, b *bench) ([]row, error) {
	var rows []row
	for _, k := range []kind{
		{name: "a build of 2 s", extension: ".fixed", script: "true\n"},
		// The packages are installed and not imported: that would be the
		// packages' time, a hundredfold.
		{name: "python with real packages", extension: ".py", script: "pass\n", manifest: kinds[0].manifest},
	} {
		one, many := newWait(), newWait()
		for range b.n {
			if err := errors.Join(b.meet(ctx, k, 1, one), b.meet(ctx, k, b.calls, many)); err != nil {
				return nil, err
			}
			b.say("%s: one %v, many %v", k.name, *one, *many)
		}
		rows = append(rows,
			row{what: fmt.Sprintf("%s, %d first calls: the last has its environment", k.name, b.calls),
				got: many.environment, against: "one first call", base: one.environment, ratioGoal: 1.05},
			row{what: fmt.Sprintf("%s, %d first calls: the last is answered", k.name, b.calls),
				got: many.answer, against: "one first call", base: one.answer},
		)
	}
	return rows, nil
}

// wait is how long the last of several callers waits.
type wait struct{ environment, answer series }

func newWait() *wait { return &wait{series{unit: "s"}, series{unit: "s"}} }

// meet calls a pack for the first time, n times at once.
func (b *bench) meet(ctx context.Context, k kind, n int, w *wait) error {
	prepare := func(h home) error {
		return errors.Join(
			h.write(map[string]string{"runtimes/fixed/runtime.yaml": fixedRuntime}),
			h.pack("met", k.extension, k.script, k.manifest),
		)
	}
	return b.with(ctx, prepare, func(g *gateway) error {
		if _, _, err := g.call(ctx, "GET", "/readyz"); err != nil {
			return err
		}
		var calls errgroup.Group
		environments, answers := make([]time.Duration, n), make([]time.Duration, n)
		start := time.Now()
		for i := range n {
			calls.Go(func() error {
				sent := time.Since(start)
				header, _, err := g.call(ctx, "POST", "/invoke/met.run")
				if err != nil {
					return err
				}
				answers[i] = time.Since(start)
				waited, err := environmentWait(header)
				environments[i] = sent + waited
				return err
			})
		}
		err := calls.Wait()
		w.environment.took(slices.Max(environments))
		w.answer.took(slices.Max(answers))
		return err
	})
}

var environmentTiming = regexp.MustCompile(`\benvironment;dur=([0-9.]+)`)

// environmentWait is what an answer says of how long its call waited for the
// environment.
func environmentWait(header http.Header) (time.Duration, error) {
	match := environmentTiming.FindStringSubmatch(header.Get("Server-Timing"))
	if match == nil {
		return 0, fmt.Errorf("no environment in Server-Timing: %q", header.Get("Server-Timing"))
	}
	ms, err := strconv.ParseFloat(match[1], 64)
	return time.Duration(ms * float64(time.Millisecond)), err
}

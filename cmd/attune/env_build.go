package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"attune/envcache"
)

// buildFlags are those of the commands that build.
type buildFlags struct {
	clientFlags
	outputFlag
	environmentArgs
	NoWait bool `help:"Start the build and don't wait for its end."`
}

// EnvBuildCmd builds an environment.
type EnvBuildCmd struct{ buildFlags }

// Help tells what happens.
func (c *EnvBuildCmd) Help() string {
	return `Starts the build now, even if the last one has just failed, and shows it until
it has ended. Exit code 0: the environment is ready. 1: the build has failed,
and the end of its log is printed. Ctrl-C stops watching, not the build.`
}

// Run builds and waits.
func (c *EnvBuildCmd) Run(ctx context.Context, p *program) error { return c.run(ctx, p, "build") }

// EnvRebuildCmd builds an environment anew.
type EnvRebuildCmd struct{ buildFlags }

// Help tells what happens.
func (c *EnvRebuildCmd) Help() string {
	return `Installs everything again, for newer packages within what the manifest allows.
The generation that serves goes on until the new one is ready, and after a
failure; attune env rollback goes back to it. Exit codes as for env build.`
}

// Run builds and waits.
func (c *EnvRebuildCmd) Run(ctx context.Context, p *program) error { return c.run(ctx, p, "rebuild") }

func (c buildFlags) run(ctx context.Context, p *program, verb string) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	env, err := c.resolve(ctx, gateway)
	if err != nil {
		return err
	}
	var status envcache.Status
	if err := gateway.call(ctx, "POST", env.path()+"/"+verb, nil, &status); err != nil {
		return err
	}
	if c.NoWait {
		return c.tell(p, status, fmt.Sprintf("%s: %s", env.name(), status.State))
	}
	began := time.Now()
	if status.State != envcache.StateReady {
		build := follower{gateway: gateway, env: env, digest: status.Digest, progress: p.progressOf(env.name())}
		status, err = build.follow(ctx)
		build.progress.end(err == nil && status.State == envcache.StateReady)
		if err != nil {
			return err
		}
	}
	if status.State == envcache.StateReady {
		return c.tell(p, status, readyLine(status, time.Since(began)))
	}
	return c.failed(ctx, p, gateway, env, status)
}

// tell prints the outcome for people or for programs.
func (c buildFlags) tell(p *program, status envcache.Status, line string) error {
	if c.Output == "json" {
		return writeJSON(p.Stdout, status)
	}
	_, err := fmt.Fprintln(p.Stdout, plain(line))
	return err
}

// readyLine is "ready in 3.1 s, 12 packages, 34.0 MiB".
func readyLine(s envcache.Status, waited time.Duration) string {
	took := waited
	if s.BuildMS > 0 {
		took = time.Duration(s.BuildMS) * time.Millisecond
	}
	line := "ready in " + rounded(took)
	if len(s.Packages) > 0 {
		line += ", " + plural(len(s.Packages), "package")
	}
	if s.Bytes > 0 {
		line += ", " + readableSize(s.Bytes)
	}
	if s.RolledBack {
		line += "; " + short(s.Serving) + " serves, to which somebody went back"
	}
	return line
}

// tailLines is how much of a log explains a failure.
const tailLines = 20

// failed tells why a build has failed, with the end of its log.
func (c buildFlags) failed(ctx context.Context, p *program, gateway *client, env environmentArgs, s envcache.Status) error {
	if c.Output == "json" {
		if err := writeJSON(p.Stdout, s); err != nil {
			return err
		}
	}
	if s.State == envcache.StateAbsent {
		return exitError{exitFailed, fmt.Errorf("%s was removed meanwhile", env.name())}
	}
	text := plain(s.Reason)
	if s.Serving != "" {
		text += "; generation " + short(s.Serving) + " goes on serving"
	}
	fmt.Fprintf(p.Stderr, "attune: the build of %s has failed: %s\n", env.name(), text)
	if log, err := gateway.buildLog(ctx, env); err == nil { // without it the reason must do
		lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
		printLog(p.Stderr, strings.Join(lines[max(0, len(lines)-tailLines):], "\n"))
	}
	return exitError{code: exitFailed}
}

// Following a build survives a gateway that restarts: its successor adopts the
// builder.
const (
	followPause = time.Second
	followTries = 30 // in a row without an event
)

// follower follows the build that somebody has just asked for to its end.
type follower struct {
	gateway  *client
	env      environmentArgs
	digest   string // what is built
	progress buildProgress

	began  bool   // the build was seen to go on
	failed bool   // and to fail
	reason string // of that
}

// follow returns where the environment stands after the build.
func (f *follower) follow(ctx context.Context) (envcache.Status, error) {
	for tries := 0; ; tries++ {
		status, heard, err := f.listen(ctx)
		var no refused
		switch {
		case err == nil:
			return status, nil
		case ctx.Err() != nil:
			return status, exitError{exitGateway, fmt.Errorf("stopped watching; the build goes on, and attune env show %s %s tells how it ends", f.env.Pack, f.env.Runtime)}
		case errors.As(err, &no) && !no.problem.Retryable:
			return status, err
		}
		if heard {
			tries = 0
		}
		if tries >= followTries {
			return status, exitError{exitGateway, fmt.Errorf("lost sight of the build, which may go on: %w", err)}
		}
		select {
		case <-ctx.Done():
		case <-time.After(followPause):
		}
	}
}

// listen reads one stream of events until the build has ended. heard: it has
// told something at least.
func (f *follower) listen(ctx context.Context) (status envcache.Status, heard bool, err error) {
	stream, answer, err := f.gateway.stream(ctx, "GET", f.env.path()+"/events", eventMedia, nil)
	if err != nil {
		return status, false, err
	}
	if stream == nil {
		return status, false, refused{readProblem(answer)}
	}
	defer stream.close()
	for {
		e, err := stream.next()
		if err != nil {
			return status, heard, err
		}
		heard = true
		switch e.name {
		case "state":
			status = envcache.Status{}
			if err := json.Unmarshal(e.data, &status); err != nil {
				return status, heard, err
			}
			if f.ended(&status) {
				return status, heard, nil
			}
		case "phase", "log":
			var build buildEvent
			if json.Unmarshal(e.data, &build) == nil { // one that can't be shown is not missed
				f.note(build)
			}
		}
	}
}

// note shows an event. One of another digest is of a build that was under way
// before, and whose end is not the one waited for.
func (f *follower) note(e buildEvent) {
	f.began = true
	if e.Digest != "" && e.Digest != f.digest {
		return
	}
	f.failed, f.reason = e.Phase == envcache.PhaseFailed, e.Reason
	f.progress.event(e)
}

// ended tells whether a state is the one after the build. Right after it was
// asked for, the build may not have begun; and one for which there was no room
// leaves no trace in the state.
func (f *follower) ended(s *envcache.Status) bool {
	switch s.State {
	case envcache.StateReady, envcache.StateFailed, envcache.StateDegraded:
		return true
	case envcache.StateBuilding:
		f.began = true
		return false
	}
	if f.failed {
		s.State, s.Reason = envcache.StateFailed, f.reason
		return true
	}
	if s.State == envcache.StateQueued {
		f.began = true
		return false
	}
	return f.began // it was absent before as well, but not after that
}

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
	if underWay(status) {
		progress := p.progressOf(env.name())
		status, err = gateway.followBuild(ctx, env, progress)
		progress.end(err == nil && status.State == envcache.StateReady)
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
	if s.State != envcache.StateFailed && s.State != envcache.StateDegraded {
		return exitError{exitFailed, fmt.Errorf("%s is %s: somebody has removed it meanwhile", env.name(), plain(string(s.State)))}
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

func underWay(s envcache.Status) bool {
	return s.State == envcache.StateBuilding || s.State == envcache.StateQueued
}

// Following a build survives a gateway that restarts: its successor adopts the
// builder.
const (
	followPause = time.Second
	followTries = 30 // in a row without an event
)

// followBuild shows a build until it has ended, and returns where the
// environment stands then.
func (c *client) followBuild(ctx context.Context, env environmentArgs, progress buildProgress) (envcache.Status, error) {
	for tries := 0; ; tries++ {
		status, heard, err := c.followStream(ctx, env, progress)
		var no refused
		switch {
		case err == nil:
			return status, nil
		case ctx.Err() != nil:
			return status, exitError{exitGateway, fmt.Errorf("stopped watching; the build goes on, and attune env show %s %s tells how it ends", env.Pack, env.Runtime)}
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

// followStream reads one stream of events until it tells that no build is under
// way. heard: it has told something at least.
func (c *client) followStream(ctx context.Context, env environmentArgs, progress buildProgress) (status envcache.Status, heard bool, err error) {
	stream, answer, err := c.stream(ctx, "GET", env.path()+"/events", eventMedia, nil)
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
			if err := json.Unmarshal(e.data, &status); err != nil {
				return status, heard, err
			}
			if !underWay(status) {
				return status, heard, nil
			}
		case "phase", "log":
			var build buildEvent
			if json.Unmarshal(e.data, &build) == nil { // one that can't be shown is not missed
				progress.event(build)
			}
		}
	}
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/schedule"
)

// ScheduleCmd looks after schedules.
type ScheduleCmd struct {
	List   ScheduleListCmd   `cmd:"" help:"List schedules, and when each has run and will run."`
	Show   ScheduleShowCmd   `cmd:"" help:"Show all about one schedule, its next five times among it."`
	Run    ScheduleRunCmd    `cmd:"" help:"Run a schedule's action now."`
	Pause  SchedulePauseCmd  `cmd:"" help:"Stop a schedule until it is resumed."`
	Resume ScheduleResumeCmd `cmd:"" help:"Let a paused schedule go on."`
	Create ScheduleCreateCmd `cmd:"" help:"Store a schedule without a file."`
	Rm     ScheduleRmCmd     `cmd:"" help:"Delete a schedule that was stored."`
}

const schedulesPath = "/api/v1/schedules"

// scheduleArg names a schedule.
type scheduleArg struct {
	Ref string `arg:"" help:"The schedule, pack.name."`
}

// path is where the gateway has it.
func (a scheduleArg) path() (string, error) {
	if _, err := pack.ParseActionRef(a.Ref); err != nil {
		return "", exitError{exitUsage, fmt.Errorf("%q is no schedule: attune schedule list shows their refs", a.Ref)}
	}
	return schedulesPath + "/" + a.Ref, nil
}

// call asks the gateway something about a schedule.
func (a scheduleArg) call(ctx context.Context, p *program, flags clientFlags, method, what string, v any) error {
	path, err := a.path()
	if err != nil {
		return err
	}
	gateway, err := flags.client(p)
	if err != nil {
		return err
	}
	return gateway.call(ctx, method, path+what, nil, v)
}

var scheduleColours = map[string]colour{
	schedule.Active: green, schedule.Paused: yellow, schedule.Disabled: dim, schedule.Faulty: red,
	string(schedule.Missed): yellow, string(schedule.Refused): red,
}

// ScheduleListCmd lists schedules.
type ScheduleListCmd struct {
	clientFlags
	outputFlag
}

// Run prints all of them.
func (c *ScheduleListCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, "GET", schedulesPath, nil, &raw); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var list struct{ Items []schedule.Entry }
	if err := json.Unmarshal(raw, &list); err != nil {
		return exitError{exitGateway, fmt.Errorf("the gateway's list of schedules: %w", err)}
	}
	t := table{header: []string{"SCHEDULE", "ACTION", "WHEN", "STATE", "LAST", "OUTCOME", "NEXT"}, colours: scheduleColours}
	for _, e := range list.Items {
		row := []string{e.Ref, e.Action, whenOf(e), e.State, "", "", ""}
		if e.Last != nil {
			row[4], row[5] = e.Last.Slot.Format(time.RFC3339), string(e.Last.Outcome)
		}
		if len(e.Next) > 0 {
			row[6] = e.Next[0].Format(time.RFC3339)
		}
		t.rows = append(t.rows, row)
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// whenOf is a schedule's calendar on a line.
func whenOf(e schedule.Entry) string {
	switch {
	case e.Every != "":
		return "every " + e.Every
	case e.Timezone != "":
		return e.Cron + " " + e.Timezone
	}
	return e.Cron
}

// ScheduleShowCmd shows one schedule.
type ScheduleShowCmd struct {
	clientFlags
	outputFlag
	scheduleArg
}

// Run prints everything about it.
func (c *ScheduleShowCmd) Run(ctx context.Context, p *program) error {
	var raw json.RawMessage
	if err := c.call(ctx, p, c.clientFlags, "GET", "", &raw); err != nil {
		return err
	}
	return printSchedule(p, raw, c.Output)
}

// printSchedule prints a gateway's answer that is a schedule.
func printSchedule(p *program, raw json.RawMessage, output string) error {
	if output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var e schedule.Entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return exitError{exitGateway, fmt.Errorf("the gateway's schedule: %w", err)}
	}
	t := table{colours: scheduleColours}
	add := func(name, value string) {
		if value != "" {
			t.rows = append(t.rows, []string{name, value})
		}
	}
	add("schedule", e.Ref)
	add("action", e.Action)
	add("when", whenOf(e))
	add("jitter", e.Jitter)
	add("misfire", e.Misfire)
	add("overlap", e.Overlap)
	add("parameters", string(e.Parameters))
	add("from", map[string]string{schedule.OriginPack: "a file of its pack", schedule.OriginAPI: "the API"}[e.Origin])
	add("state", e.State)
	for _, fault := range e.Faults {
		add("fault", strings.TrimSpace(strings.TrimPrefix(fault.Pointer, "/")+" "+fault.Detail))
	}
	if last := e.Last; last != nil {
		add("last", last.Slot.Format(time.RFC3339))
		add("outcome", string(last.Outcome))
		add("execution", last.Execution)
		add("reason", last.Reason)
	}
	for _, next := range e.Next {
		add("next", next.Format(time.RFC3339))
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// ScheduleRunCmd runs a schedule's action now.
type ScheduleRunCmd struct {
	clientFlags
	outputFlag
	scheduleArg
}

// Help tells what doesn't change.
func (c *ScheduleRunCmd) Help() string {
	return `The action runs with the schedule's parameters, whether the schedule is paused
or not and whatever runs already, and the next slot comes when it would have come.
attune execution show tells how the run stands.`
}

// Run prints the ID of the execution.
func (c *ScheduleRunCmd) Run(ctx context.Context, p *program) error {
	var raw json.RawMessage
	if err := c.call(ctx, p, c.clientFlags, "POST", "/run", &raw); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var made execution.Execution
	if err := json.Unmarshal(raw, &made); err != nil {
		return exitError{exitGateway, fmt.Errorf("the gateway's execution: %w", err)}
	}
	fmt.Fprintln(p.Stdout, plain(made.ID))
	return nil
}

// SchedulePauseCmd stops a schedule.
type SchedulePauseCmd struct {
	clientFlags
	scheduleArg
}

// Run pauses it.
func (c *SchedulePauseCmd) Run(ctx context.Context, p *program) error {
	return c.call(ctx, p, c.clientFlags, "POST", "/pause", nil)
}

// ScheduleResumeCmd lets a schedule go on.
type ScheduleResumeCmd struct {
	clientFlags
	scheduleArg
}

// Run resumes it.
func (c *ScheduleResumeCmd) Run(ctx context.Context, p *program) error {
	return c.call(ctx, p, c.clientFlags, "POST", "/resume", nil)
}

// ScheduleRmCmd deletes a stored schedule.
type ScheduleRmCmd struct {
	clientFlags
	scheduleArg
}

// Run deletes it.
func (c *ScheduleRmCmd) Run(ctx context.Context, p *program) error {
	return c.call(ctx, p, c.clientFlags, "DELETE", "", nil)
}

// ScheduleCreateCmd stores a schedule.
type ScheduleCreateCmd struct {
	clientFlags
	outputFlag
	scheduleArg
	Action   string   `arg:"" help:"The action, of the same pack."`
	Params   []string `arg:"" optional:"" name:"param" help:"A parameter: key=text, or key:=JSON."`
	Data     string   `short:"d" help:"All parameters as one JSON object: itself, @FILE, or - for stdin." placeholder:"JSON"`
	Cron     string   `help:"When, as minute hour day month weekday, or @daily and the like." placeholder:"EXPRESSION"`
	Every    string   `help:"When, as an interval: 90s, 5m, 24h." placeholder:"DURATION"`
	Timezone string   `help:"Time zone of --cron (default: UTC)." placeholder:"ZONE"`
	Jitter   string   `help:"Run later than that by less than this." placeholder:"DURATION"`
	Misfire  string   `enum:",skip,once" default:"" help:"What becomes of times that passed without a gateway: skip (the default) or once."`
	Overlap  string   `enum:",allow,skip,replace" default:"" help:"What if the run before goes on: allow (the default), skip or replace."`
}

// Help shows one.
func (c *ScheduleCreateCmd) Help() string {
	return `The gateway keeps the schedule; packs/shop/schedules/nightly.yaml would be a
schedule that comes and goes with its pack.

  attune schedule create shop.nightly shop.report --cron "30 2 * * 1-5" --timezone Europe/Berlin day=yesterday`
}

// Run creates it and shows what came of it.
func (c *ScheduleCreateCmd) Run(ctx context.Context, p *program) error {
	if _, err := c.path(); err != nil {
		return err
	}
	spec, err := c.spec(p.Stdin)
	if err != nil {
		return exitError{exitUsage, err}
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, "POST", schedulesPath, spec, &raw); err != nil {
		if refusal, ok := errors.AsType[refused](err); ok {
			refusal.problem.print(p.Stderr)
			return exitError{code: refusal.problem.exitCode()}
		}
		return err
	}
	return printSchedule(p, raw, c.Output)
}

// spec compiles the arguments; whether they make sense the gateway knows.
func (c *ScheduleCreateCmd) spec(stdin io.Reader) (pack.ScheduleSpec, error) {
	spec := pack.ScheduleSpec{
		Ref: c.Ref, Action: c.Action, Cron: c.Cron, Every: c.Every, Timezone: c.Timezone, Jitter: c.Jitter,
		Misfire: c.Misfire, Overlap: c.Overlap,
	}
	var err error
	switch {
	case c.Data != "" && len(c.Params) > 0:
		return spec, errors.New("give parameters by --data or as key=value, not both")
	case c.Data != "":
		spec.Parameters, err = readData(c.Data, stdin)
	case len(c.Params) > 0:
		spec.Parameters, err = encodeParams(c.Params)
	}
	return spec, err
}

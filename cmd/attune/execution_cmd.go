package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"attune/gateway/execution"
)

// ExecutionCmd looks at executions, running ones included.
type ExecutionCmd struct {
	List   ExecutionListCmd   `cmd:"" help:"List executions, the newest first."`
	Show   ExecutionShowCmd   `cmd:"" help:"Show all about one execution."`
	Logs   ExecutionLogsCmd   `cmd:"" help:"Print what an execution has printed."`
	Cancel ExecutionCancelCmd `cmd:"" help:"End an execution that waits or runs."`
	Retry  ExecutionRetryCmd  `cmd:"" help:"Call again what an asynchronous execution was called with that has failed."`
}

// executionArg names an execution.
type executionArg struct {
	ID string `arg:"" help:"The execution."`
}

var executionID = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

// path is where the gateway has it.
func (a executionArg) path() (string, error) {
	if !executionID.MatchString(a.ID) {
		return "", exitError{exitUsage, fmt.Errorf("%q is no execution: attune execution list shows their IDs", a.ID)}
	}
	return "/api/v1/executions/" + a.ID, nil
}

// ExecutionListCmd lists executions.
type ExecutionListCmd struct {
	clientFlags
	outputFlag
	Action string `help:"Those of an action, pack.action." placeholder:"ACTION"`
	Status string `enum:",queued,running,succeeded,failed,timed_out,cancelled,dead" default:"" help:"Those that stand so: queued, running, succeeded, failed, timed_out, cancelled or dead."`
	Since  string `help:"Those since a time (RFC 3339), or of a last duration (15m)." placeholder:"TIME"`
	Limit  int    `short:"n" default:"20" help:"How many at most, 1 to 200."`
}

// statusColours of executions.
var statusColours = map[string]colour{
	string(execution.StatusSucceeded): green, string(execution.StatusFailed): red, string(execution.StatusTimedOut): red,
	string(execution.StatusDead): red, string(execution.StatusRunning): yellow, string(execution.StatusQueued): yellow, string(execution.StatusCancelled): dim,
}

// Run prints a page of executions.
func (c *ExecutionListCmd) Run(ctx context.Context, p *program) error {
	query, err := c.query(time.Now())
	if err != nil {
		return exitError{exitUsage, err}
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := gateway.call(ctx, "GET", "/api/v1/executions?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	t := table{header: []string{"ID", "ACTION", "STATUS", "EXIT", "CREATED", "DURATION", "DETAIL"}, colours: statusColours}
	for _, item := range list.Items {
		var x execution.Execution
		if err := json.Unmarshal(item, &x); err != nil {
			return exitError{exitGateway, fmt.Errorf("%s is not the API of a gateway: %w", gateway.base, err)}
		}
		t.rows = append(t.rows, []string{
			x.ID, x.Action, string(x.Status), exitCodeOf(&x), timeOf(&x.CreatedAt), durationOf(x.DurationMS), cut(whyOf(&x), 80),
		})
	}
	t.write(p.Stdout, p.colours())
	return nil
}

func (c *ExecutionListCmd) query(now time.Time) (url.Values, error) {
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Action != "" {
		query.Set("action", c.Action)
	}
	if c.Status != "" {
		query.Set("status", c.Status)
	}
	if c.Since == "" {
		return query, nil
	}
	since, err := time.Parse(time.RFC3339, c.Since)
	if ago, ok := time.ParseDuration(c.Since); err != nil && ok == nil {
		since, err = now.Add(-ago), nil
	}
	if err != nil {
		return nil, fmt.Errorf("--since %q is neither a time of RFC 3339 nor a duration like 15m", c.Since)
	}
	query.Set("since", since.Format(time.RFC3339Nano))
	return query, nil
}

func exitCodeOf(x *execution.Execution) string {
	if x.ExitCode == nil {
		return ""
	}
	return strconv.Itoa(*x.ExitCode)
}

func durationOf(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

func attemptOf(x *execution.Execution) string {
	if x.Attempt == 0 {
		return ""
	}
	return strconv.Itoa(x.Attempt)
}

func whyOf(x *execution.Execution) string {
	if x.Error == nil {
		return ""
	}
	return x.Error.Reason
}

// ExecutionShowCmd shows one execution.
type ExecutionShowCmd struct {
	clientFlags
	outputFlag
	executionArg
}

// Run prints everything but the logs, which have a command of their own.
func (c *ExecutionShowCmd) Run(ctx context.Context, p *program) error {
	return c.print(ctx, p, c.clientFlags, "GET", "", c.Output)
}

// print asks the gateway about an execution and prints what it says.
func (a executionArg) print(ctx context.Context, p *program, flags clientFlags, method, verb, output string) error {
	path, err := a.path()
	if err != nil {
		return err
	}
	gateway, err := flags.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, method, path+verb, nil, &raw); err != nil {
		return err
	}
	if output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var x execution.Execution
	if err := json.Unmarshal(raw, &x); err != nil {
		return exitError{exitGateway, fmt.Errorf("%s is not the API of a gateway: %w", gateway.base, err)}
	}
	table{colours: statusColours, rows: rowsOf(&x)}.write(p.Stdout, p.colours())
	return nil
}

func rowsOf(x *execution.Execution) [][]string {
	logs := fmt.Sprintf("%s of stdout, %s of stderr", readableSize(int64(len(x.Stdout))), readableSize(int64(len(x.Stderr))))
	if x.BytesTruncated > 0 {
		logs += fmt.Sprintf("; %s more were not kept", readableSize(x.BytesTruncated))
	}
	timing := fmt.Sprintf("environment %s, queue %s, start %s, run %s", durationOf(x.Timing.Environment),
		durationOf(x.Timing.Queue), durationOf(x.Timing.Start), durationOf(x.Timing.Run))
	failed := ""
	if x.Error != nil {
		failed = fmt.Sprintf("%s (%s, %s)", x.Error.Code, x.Error.Component, x.Error.Phase)
	}
	var rows [][]string
	for _, row := range [][]string{
		{"execution", x.ID}, {"action", x.Action}, {"status", string(x.Status)}, {"exit code", exitCodeOf(x)}, {"error", failed},
		{"reason", whyOf(x)}, {"source", x.Source}, {"attempt", attemptOf(x)}, {"gateway", x.Gateway}, {"created", timeOf(&x.CreatedAt)}, {"started", timeOf(x.StartedAt)},
		{"ended", timeOf(x.EndedAt)}, {"duration", durationOf(x.DurationMS)}, {"timing", timing}, {"logs", logs}, {"result", cut(string(x.Result), 2000)},
	} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	return rows
}

// ExecutionCancelCmd kills an execution.
type ExecutionCancelCmd struct {
	clientFlags
	outputFlag
	executionArg
}

// Help tells what happens.
func (c *ExecutionCancelCmd) Help() string {
	return `The program gets SIGTERM and, two seconds later, SIGKILL, with all that it has
started. Whoever waits for its result is told that it was cancelled.`
}

// Run cancels, and prints the execution as it ended.
func (c *ExecutionCancelCmd) Run(ctx context.Context, p *program) error {
	return c.print(ctx, p, c.clientFlags, "POST", "/cancel", c.Output)
}

// ExecutionRetryCmd calls again.
type ExecutionRetryCmd struct {
	clientFlags
	executionArg
}

// Run prints the ID of the new execution.
func (c *ExecutionRetryCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	return printNew(ctx, p, c.clientFlags, path+"/retry")
}

// ExecutionLogsCmd prints logs.
type ExecutionLogsCmd struct {
	clientFlags
	executionArg
	Stream string `enum:"both,stdout,stderr" default:"both" help:"stdout, stderr or both, each printed where it belongs."`
	Follow bool   `short:"f" help:"Go on until the execution has ended."`
}

// Run prints what the execution prints, and makes it harmless on a terminal.
func (c *ExecutionLogsCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if !c.Follow {
		group.SetLimit(1) // in order
	}
	for _, stream := range []struct {
		name     string
		out      io.Writer
		terminal bool
	}{{"stdout", p.Stdout, p.StdoutTerminal}, {"stderr", p.Stderr, p.StderrWidth != nil}} {
		if c.Stream != "both" && c.Stream != stream.name {
			continue
		}
		out := stream.out
		if stream.terminal {
			out = &plainLines{out: out}
		}
		group.Go(func() error { return gateway.log(ctx, path+"/logs/"+stream.name, c.Follow, out) })
	}
	return group.Wait()
}

// log copies a log, as events where it is followed: their heartbeats tell a quiet
// program from a dead connection.
func (c *client) log(ctx context.Context, path string, follow bool, out io.Writer) error {
	if !follow {
		answer, err := c.do(ctx, "GET", path, nil)
		if err != nil {
			return err
		}
		if answer.Status != 200 {
			return refused{readProblem(answer)}
		}
		_, err = out.Write(answer.Body)
		return errors.Join(err, endLine(out))
	}
	stream, answer, err := c.stream(ctx, "GET", path+"?follow=true", eventMedia, nil)
	if err != nil {
		return err
	}
	if stream == nil {
		return refused{readProblem(answer)}
	}
	defer stream.close()
	for {
		e, err := stream.next()
		if err != nil {
			return errors.Join(exitError{exitGateway, fmt.Errorf("the log broke off before the execution had ended: %w", err)}, endLine(out))
		}
		if e.name == "ended" {
			return endLine(out)
		}
		var piece struct{ Text string }
		if err := json.Unmarshal(e.data, &piece); err != nil {
			return exitError{exitGateway, fmt.Errorf("the answer of %s: %w", c.base, err)}
		}
		if _, err := io.WriteString(out, piece.Text); err != nil {
			return err
		}
	}
}

// plainLines makes text harmless for a terminal. A line is written when it is
// whole.
type plainLines struct {
	out  io.Writer
	line strings.Builder
}

// maxLine is how much of a line is waited for.
const maxLine = 64 << 10

// Write implements io.Writer.
func (w *plainLines) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w.line.WriteString(line)
		if strings.HasSuffix(line, "\n") || w.line.Len() > maxLine {
			if err := w.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (w *plainLines) flush() error {
	text := w.line.String()
	w.line.Reset()
	if text == "" {
		return nil
	}
	_, err := io.WriteString(w.out, plain(strings.TrimSuffix(text, "\n"))+"\n")
	return err
}

// endLine writes what has no end of its line.
func endLine(out io.Writer) error {
	if lines, ok := out.(*plainLines); ok {
		return lines.flush()
	}
	return nil
}

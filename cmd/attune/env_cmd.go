package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"attune/envcache"
	"attune/gateway/pack"
)

// EnvCmd looks at environments and changes them.
type EnvCmd struct {
	List     EnvListCmd     `cmd:"" help:"List the environments of the gateway's packs."`
	Show     EnvShowCmd     `cmd:"" help:"Show all about one environment: generations and packages, too."`
	Build    EnvBuildCmd    `cmd:"" help:"Build an environment now, and follow the build."`
	Rebuild  EnvRebuildCmd  `cmd:"" help:"Build it anew beside the one that serves, and follow the build."`
	Rollback EnvRollbackCmd `cmd:"" help:"Let an earlier generation serve."`
	Log      EnvLogCmd      `cmd:"" help:"Print what the last build has printed."`
	Verify   EnvVerifyCmd   `cmd:"" help:"Compare environments with what was published (exit code 0 or 1)."`
	Prune    EnvPruneCmd    `cmd:"" help:"Delete generations that nobody uses."`
	Remove   EnvRemoveCmd   `cmd:"" help:"Forget an environment; the next call builds it anew."`
}

// Help tells what an environment is.
func (c *EnvCmd) Help() string {
	return `An environment is what the actions of one pack in one runtime import: a
virtualenv, node_modules. The gateway builds it with the first call; these
commands do so before that, watch it, and undo it. RUNTIME may be left out
where the pack has one environment.`
}

// outputFlag chooses between people and programs.
type outputFlag struct {
	Output string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

// EnvListCmd lists environments.
type EnvListCmd struct {
	clientFlags
	outputFlag
}

// environments reads the state of all environments.
func (c *client) environments(ctx context.Context) ([]envcache.Status, error) {
	var list struct {
		Items []envcache.Status `json:"items"`
	}
	err := c.get(ctx, "/api/v1/environments", &list)
	return list.Items, err
}

// stateColours of environments.
var stateColours = map[string]colour{
	string(envcache.StateReady): green, string(envcache.StateFailed): red, string(envcache.StateDegraded): yellow,
	string(envcache.StateBuilding): yellow, string(envcache.StateQueued): yellow,
}

// Run prints the environments and where each stands.
func (c *EnvListCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	items, err := gateway.environments(ctx)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, items)
	}
	environmentTable(items).write(p.Stdout, p.colours())
	return nil
}

// environmentTable has a column for what serves where that is not what the
// pack's files ask for.
func environmentTable(items []envcache.Status) table {
	t := table{header: []string{"PACK", "RUNTIME", "STATE", "DIGEST", "SERVING", "SIZE", "BUILT", "DETAIL"}, colours: stateColours}
	differs := false
	for _, s := range items {
		serving := ""
		if s.Serving != "" && s.Serving != s.Digest {
			serving, differs = short(s.Serving), true
		}
		t.rows = append(t.rows, []string{
			s.Pack, s.Runtime, string(s.State), short(s.Digest), serving, sizeOf(s.Bytes), timeOf(s.BuiltAt), cut(detailOf(s), 80),
		})
	}
	if !differs {
		t.header = append(t.header[:4:4], t.header[5:]...)
		for i, row := range t.rows {
			t.rows[i] = append(row[:4:4], row[5:]...)
		}
	}
	return t
}

func detailOf(s envcache.Status) string {
	detail := s.Reason
	switch {
	case s.State == envcache.StateBuilding:
		detail = s.Phase
	case s.State == envcache.StateQueued:
		detail = "waits for a slot or another gateway"
	case s.RolledBack:
		detail = "rolled back"
	case detail != "" && s.NextRetry != nil && time.Until(*s.NextRetry) > 0:
		detail += ", next attempt " + s.NextRetry.Local().Format(time.TimeOnly)
	}
	return detail
}

// short is as much of a digest as people need.
func short(digest string) string { return digest[:min(len(digest), 12)] }

func sizeOf(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return readableSize(bytes)
}

func timeOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04")
}

// environmentArgs name one environment.
type environmentArgs struct {
	Pack    string `arg:"" help:"The pack."`
	Runtime string `arg:"" optional:"" help:"The runtime; may be left out if the pack has one environment."`
}

func (a environmentArgs) name() string { return a.Pack + "/" + a.Runtime }

func (a environmentArgs) path() string { return "/api/v1/environments/" + a.name() }

// resolve checks the names, and asks the gateway for a runtime that was left out.
func (a environmentArgs) resolve(ctx context.Context, gateway *client) (environmentArgs, error) {
	for _, name := range []string{a.Pack, a.Runtime} {
		if _, err := pack.ParseRef(name); name != "" && err != nil {
			return a, exitError{exitUsage, err}
		}
	}
	if a.Runtime != "" {
		return a, nil
	}
	items, err := gateway.environments(ctx)
	if err != nil {
		return a, err
	}
	var runtimes []string
	for _, s := range items {
		if s.Pack == a.Pack {
			runtimes = append(runtimes, s.Runtime)
		}
	}
	switch len(runtimes) {
	case 0:
		return a, exitError{exitUsage, fmt.Errorf("pack %s has no environment: attune env list shows those that there are", a.Pack)}
	case 1:
		a.Runtime = runtimes[0]
		return a, nil
	}
	return a, exitError{exitUsage, fmt.Errorf("pack %s has several environments: add one of %s", a.Pack, strings.Join(runtimes, ", "))}
}

// EnvShowCmd shows one environment.
type EnvShowCmd struct {
	clientFlags
	outputFlag
	environmentArgs
}

// Run prints everything about an environment.
func (c *EnvShowCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	env, err := c.resolve(ctx, gateway)
	if err != nil {
		return err
	}
	var s envcache.Status
	if err := gateway.call(ctx, "GET", env.path(), nil, &s); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, s)
	}
	summary := table{colours: stateColours, rows: summaryOf(s)}
	summary.write(p.Stdout, p.colours())
	for _, t := range []table{generationsOf(s), packagesOf(s)} {
		if len(t.rows) > 0 {
			fmt.Fprintln(p.Stdout)
			t.write(p.Stdout, p.colours())
		}
	}
	return nil
}

// summaryOf lists what there is to say, one thing per row.
func summaryOf(s envcache.Status) [][]string {
	built := timeOf(s.BuiltAt)
	if s.BuildMS > 0 {
		built += " in " + rounded(time.Duration(s.BuildMS)*time.Millisecond)
	}
	if s.BuiltBy != "" {
		built += " by gateway " + s.BuiltBy
	}
	shared := ""
	if from := s.SharedFrom; from != nil {
		shared = "environment " + from.Digest
		if from.Pack != "" {
			shared += " of pack " + from.Pack
		}
		shared += ", versions chosen " + timeOf(&from.ResolvedAt)
	}
	size := sizeOf(s.Bytes)
	if s.Files > 0 {
		size += " in " + plural(int(s.Files), "file")
	}
	serving := s.Serving
	if s.RolledBack {
		serving += " (rolled back)"
	}
	attempt, since := "", timeOf(s.Since)
	if s.Attempt > 0 {
		attempt = strconv.Itoa(s.Attempt) + " failed"
	}
	if s.NextRetry != nil {
		attempt += ", the next may start " + s.NextRetry.Local().Format("2006-01-02 15:04:05")
	}
	var rows [][]string
	for _, row := range [][]string{
		{"environment", s.Pack + "/" + s.Runtime}, {"state", string(s.State)}, {"phase", s.Phase}, {"building since", since},
		{"reason", s.Reason}, {"attempts", strings.TrimPrefix(attempt, ", ")}, {"digest", s.Digest}, {"serving", serving},
		{"path", s.Path}, {"image", s.Image}, {"built", built}, {"copied from", shared}, {"size", size},
	} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	return rows
}

func generationsOf(s envcache.Status) table {
	t := table{header: []string{"GENERATION", "BUILT", "SIZE", "FILES", "IMAGE", "SERVING"}, colours: map[string]colour{"yes": green}}
	for _, g := range s.Generations {
		serving := ""
		if g.Serving {
			serving = "yes"
		}
		t.rows = append(t.rows, []string{
			g.Digest, timeOf(&g.BuiltAt), sizeOf(g.Bytes), strconv.FormatInt(g.Files, 10), short(strings.TrimPrefix(g.Image, "sha256:")), serving,
		})
	}
	return t
}

func packagesOf(s envcache.Status) table {
	t := table{header: []string{"PACKAGE", "VERSION"}}
	for _, p := range s.Packages {
		t.rows = append(t.rows, []string{p.Name, p.Version})
	}
	return t
}

// EnvLogCmd prints a build log.
type EnvLogCmd struct {
	clientFlags
	environmentArgs
}

// Run prints the log as it is, and harmless on a terminal.
func (c *EnvLogCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	env, err := c.resolve(ctx, gateway)
	if err != nil {
		return err
	}
	log, err := gateway.buildLog(ctx, env)
	if err != nil {
		return err
	}
	if p.StdoutTerminal {
		lines := strings.Split(log, "\n")
		for i, line := range lines {
			lines[i] = plain(line)
		}
		log = strings.Join(lines, "\n")
	}
	_, err = fmt.Fprint(p.Stdout, log)
	return err
}

// buildLog reads what the last build of an environment has printed.
func (c *client) buildLog(ctx context.Context, env environmentArgs) (string, error) {
	answer, err := c.do(ctx, "GET", env.path()+"/log", nil)
	if err != nil {
		return "", err
	}
	if answer.Status != 200 {
		return "", refused{readProblem(answer)}
	}
	return string(answer.Body), nil
}

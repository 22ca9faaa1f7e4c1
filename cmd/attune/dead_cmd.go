package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"attune/gateway/execution"
)

// DeadCmd looks after dead letters.
type DeadCmd struct {
	List    DeadListCmd    `cmd:"" help:"List dead letters, the youngest first."`
	Show    DeadShowCmd    `cmd:"" help:"Show one, with its parameters."`
	Redrive DeadRedriveCmd `cmd:"" help:"Try one again, as a new execution."`
	Rm      DeadRmCmd      `cmd:"" help:"Forget one; the record of its execution stays."`
}

// Help tells what they are.
func (c *DeadCmd) Help() string {
	return `A dead letter is an asynchronous execution whose attempts are spent (retry in the
action's file). It is kept, with its parameters, until it is tried again or removed.`
}

// deadPath is where the gateway has a dead letter.
func (a executionArg) deadPath() (string, error) {
	if !executionID.MatchString(a.ID) {
		return "", exitError{exitUsage, fmt.Errorf("%q is no dead letter: attune dead list shows their IDs", a.ID)}
	}
	return "/api/v1/dead/" + a.ID, nil
}

// DeadListCmd lists dead letters.
type DeadListCmd struct {
	clientFlags
	outputFlag
	Limit int `short:"n" default:"20" help:"How many at most, 1 to 200."`
}

// Run prints a page of them.
func (c *DeadListCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := gateway.call(ctx, "GET", "/api/v1/dead?limit="+strconv.Itoa(c.Limit), nil, &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	t := table{header: []string{"ID", "ACTION", "SOURCE", "ATTEMPTS", "CREATED", "DETAIL"}}
	for _, item := range list.Items {
		var x execution.Execution
		if err := json.Unmarshal(item, &x); err != nil {
			return exitError{exitGateway, fmt.Errorf("%s is not the API of a gateway: %w", gateway.base, err)}
		}
		t.rows = append(t.rows, []string{x.ID, x.Action, plain(x.Source), strconv.Itoa(x.Attempt), timeOf(&x.CreatedAt), cut(whyOf(&x), 80)})
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// DeadShowCmd shows a dead letter.
type DeadShowCmd struct {
	clientFlags
	executionArg
}

// Run prints all about it, as JSON.
func (c *DeadShowCmd) Run(ctx context.Context, p *program) error {
	path, err := c.deadPath()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := c.ask(ctx, p, "GET", path, nil, &raw); err != nil {
		return err
	}
	return writeJSON(p.Stdout, raw)
}

// DeadRedriveCmd tries a dead letter again.
type DeadRedriveCmd struct {
	clientFlags
	executionArg
}

// Run prints the ID of the new execution.
func (c *DeadRedriveCmd) Run(ctx context.Context, p *program) error {
	path, err := c.deadPath()
	if err != nil {
		return err
	}
	return printNew(ctx, p, c.clientFlags, path+"/redrive")
}

// printNew prints the ID of the execution that a call makes.
func printNew(ctx context.Context, p *program, flags clientFlags, path string) error {
	var x execution.Execution
	if err := flags.ask(ctx, p, "POST", path, nil, &x); err != nil {
		return err
	}
	fmt.Fprintln(p.Stdout, plain(x.ID))
	return nil
}

// DeadRmCmd removes a dead letter.
type DeadRmCmd struct {
	clientFlags
	executionArg
}

// Run removes it.
func (c *DeadRmCmd) Run(ctx context.Context, p *program) error {
	path, err := c.deadPath()
	if err != nil {
		return err
	}
	return c.ask(ctx, p, "DELETE", path, nil, nil)
}

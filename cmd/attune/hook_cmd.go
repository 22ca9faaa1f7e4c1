package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"attune/gateway/hook"
	"attune/gateway/pack"
)

// HookCmd looks at the hooks of packs, and tries them out.
type HookCmd struct {
	List       HookListCmd       `cmd:"" help:"List hooks, and where each is reached."`
	Show       HookShowCmd       `cmd:"" help:"Show all about one hook."`
	Rotate     HookRotateCmd     `cmd:"" help:"Give a hook another URL."`
	Test       HookTestCmd       `cmd:"" help:"Send a hook a sample of its sender, correctly signed."`
	Deliveries HookDeliveriesCmd `cmd:"" help:"List what came to a hook, the newest first."`
	Replay     HookReplayCmd     `cmd:"" help:"Have a delivery executed once more."`
}

// hookArg names a hook.
type hookArg struct {
	Hook string `arg:"" help:"The hook, pack.hook."`
}

// path is where the gateway has it.
func (a hookArg) path() (string, error) {
	if _, err := pack.ParseActionRef(a.Hook); err != nil {
		return "", exitError{exitUsage, fmt.Errorf("%q is no hook: attune hook list shows their refs", a.Hook)}
	}
	return "/api/v1/hooks/" + a.Hook, nil
}

// hookItem is a hook in the gateway's answers.
type hookItem struct {
	Ref           string            `json:"ref"`
	Label         string            `json:"label"`
	Description   string            `json:"description"`
	Action        string            `json:"action"`
	Enabled       bool              `json:"enabled"`
	Verify        string            `json:"verify"`
	Secrets       []string          `json:"secrets"`
	Parameters    map[string]string `json:"parameters"`
	Response      string            `json:"response"`
	URL           string            `json:"url"`
	PreviousURL   string            `json:"previous_url"`
	PreviousUntil *time.Time        `json:"previous_until"`
	Unready       string            `json:"unready"`
}

// state is one word for whether it takes deliveries.
func (h hookItem) state() string {
	switch {
	case !h.Enabled:
		return "disabled"
	case h.Unready != "":
		return "unready"
	}
	return "ready"
}

// hookColours of hooks.
var hookColours = map[string]colour{"ready": green, "unready": red, "disabled": dim}

// HookListCmd lists hooks.
type HookListCmd struct {
	clientFlags
	outputFlag
}

// Run prints the hooks of all packs.
func (c *HookListCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := gateway.call(ctx, "GET", "/api/v1/hooks", nil, &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	t := table{header: []string{"HOOK", "ACTION", "VERIFY", "STATE", "URL"}, colours: hookColours}
	for _, raw := range list.Items {
		var item hookItem
		if err := json.Unmarshal(raw, &item); err != nil {
			return exitError{exitGateway, fmt.Errorf("the gateway's list of hooks: %w", err)}
		}
		t.rows = append(t.rows, []string{item.Ref, item.Action, item.Verify, item.state(), item.URL})
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// HookShowCmd shows one hook.
type HookShowCmd struct {
	clientFlags
	outputFlag
	hookArg
}

// Run prints everything about it.
func (c *HookShowCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	return c.showHook(ctx, p, c.outputFlag, "GET", path, nil)
}

// showHook prints the hook that a call answers with.
func (f clientFlags) showHook(ctx context.Context, p *program, output outputFlag, method, path string, body any) error {
	gateway, err := f.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, method, path, body, &raw); err != nil {
		return err
	}
	if output.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var h hookItem
	if err := json.Unmarshal(raw, &h); err != nil {
		return exitError{exitGateway, fmt.Errorf("%s%s is not the API of a gateway: %w", gateway.base, path, err)}
	}
	t := table{colours: hookColours, rows: [][]string{
		{"hook", h.Ref + " (" + h.Label + ")"}, {"action", h.Action}, {"response", h.Response}, {"verify", h.Verify}, {"state", h.state()}, {"url", h.URL},
	}}
	add := func(name, value string) {
		if value != "" {
			t.rows = append(t.rows, []string{name, value})
		}
	}
	if h.PreviousUntil != nil {
		add("before", h.PreviousURL+" (until "+timeOf(h.PreviousUntil)+")")
	}
	for _, name := range h.Secrets {
		add("secret", name)
	}
	for _, name := range sortedKeys(h.Parameters) {
		add("parameter", name+" = "+h.Parameters[name])
	}
	add("unready", h.Unready)
	add("about", h.Description)
	t.write(p.Stdout, p.colours())
	return nil
}

// HookRotateCmd gives a hook another URL.
type HookRotateCmd struct {
	clientFlags
	outputFlag
	hookArg
	Grace time.Duration `help:"How long the URL before works on, such as 24h." placeholder:"DURATION"`
}

// Run rotates it and shows the hook.
func (c *HookRotateCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	return c.showHook(ctx, p, c.outputFlag, "POST", path+"/rotate", map[string]string{"grace": c.Grace.String()})
}

// HookTestCmd sends a sample.
type HookTestCmd struct {
	clientFlags
	outputFlag
	hookArg
}

// Help tells what is sent.
func (c *HookTestCmd) Help() string {
	return `The gateway makes a short example of what the hook's sender sends (of a push for
github), signs it with the hook's first secret, and has it take the way of a
delivery: it is proven, mapped, executed and logged.`
}

// Run prints what became of the sample.
func (c *HookTestCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	return c.deliver(ctx, p, c.outputFlag, path+"/test")
}

// deliver asks for a delivery and prints which execution it has become.
func (f clientFlags) deliver(ctx context.Context, p *program, output outputFlag, path string) error {
	gateway, err := f.client(p)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := gateway.call(ctx, "POST", path, nil, &raw); err != nil {
		return err
	}
	if output.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var answer struct {
		Execution string `json:"execution_id"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Execution == "" {
		return exitError{exitGateway, errors.Join(fmt.Errorf("%s%s is not the API of a gateway", gateway.base, path), err)}
	}
	fmt.Fprintf(p.Stdout, "accepted as execution %s: attune execution show %s\n", plain(answer.Execution), plain(answer.Execution))
	return nil
}

// HookDeliveriesCmd lists the log of a hook.
type HookDeliveriesCmd struct {
	clientFlags
	outputFlag
	hookArg
	Limit int `short:"n" default:"20" help:"How many at most, 1 to 200."`
}

// outcomeColours of deliveries.
var outcomeColours = map[string]colour{
	string(hook.Accepted): green, string(hook.Duplicate): dim, string(hook.Handshake): dim, string(hook.Refused): yellow, string(hook.Failed): red,
}

// Run prints a page of deliveries.
func (c *HookDeliveriesCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if err := gateway.call(ctx, "GET", path+"/deliveries?"+query.Encode(), nil, &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	t := table{header: []string{"ID", "AT", "OUTCOME", "STATUS", "SIZE", "TOOK", "DELIVERY", "DETAIL"}, colours: outcomeColours}
	for _, raw := range list.Items {
		var e hook.Entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return exitError{exitGateway, fmt.Errorf("the gateway's list of deliveries: %w", err)}
		}
		t.rows = append(t.rows, []string{
			e.ID, timeOf(&e.At), string(e.Outcome), strconv.Itoa(e.Status), Bytes(e.Size).String(), durationOf(e.DurationMS), cut(e.Delivery, 40), becameOf(e),
		})
	}
	t.write(p.Stdout, p.colours())
	return nil
}

// becameOf says what became of a delivery, and where it came from.
func becameOf(e hook.Entry) string {
	detail := e.Code
	if detail == "" && e.Execution != "" {
		detail = "execution " + e.Execution
	}
	if e.ReplayOf != "" {
		detail += " (replay of " + e.ReplayOf + ")"
	}
	return detail
}

// HookReplayCmd replays a delivery.
type HookReplayCmd struct {
	clientFlags
	outputFlag
	hookArg
	ID string `arg:"" help:"The delivery, as attune hook deliveries has it."`
}

// Run has it executed once more.
func (c *HookReplayCmd) Run(ctx context.Context, p *program) error {
	path, err := c.path()
	if err != nil {
		return err
	}
	if !hook.IsEntryID(c.ID) {
		return exitError{exitUsage, fmt.Errorf("%q is no delivery: attune hook deliveries %s shows their IDs", c.ID, c.Hook)}
	}
	return c.deliver(ctx, p, c.outputFlag, path+"/deliveries/"+c.ID+"/replay")
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"attune/envcache"
)

// PackRegisterCmd takes a pack in.
type PackRegisterCmd struct {
	clientFlags
	outputFlag
	Path  string `arg:"" help:"Directory of the pack directly below packs_base_dir, or its name there."`
	Force bool   `help:"Read a pack again that is registered."`
}

// Help tells what happens.
func (c *PackRegisterCmd) Help() string {
	return `The gateway reads the pack where it is, and starts the builds of its
environments; attune env list tells how they stand. A pack with a fault
changes nothing, and all its faults are listed.`
}

// Run registers the pack.
func (c *PackRegisterCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	path, err := c.directory()
	if err != nil {
		return exitError{exitUsage, err}
	}
	var raw json.RawMessage
	body := map[string]any{"path": path, "force": c.Force}
	if err := gateway.call(ctx, "POST", "/api/v1/packs/register", body, &raw); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, raw)
	}
	var registered struct {
		Pack         packItem          `json:"pack"`
		Created      bool              `json:"created"`
		Environments []envcache.Status `json:"environments"`
	}
	if err := json.Unmarshal(raw, &registered); err != nil {
		return exitError{exitGateway, fmt.Errorf("the gateway's answer: %w", err)}
	}
	done := map[bool]string{true: "registered", false: "read again"}[registered.Created]
	fmt.Fprintf(p.Stdout, "%s %s: %s, %s\n", plain(registered.Pack.Ref), plain(registered.Pack.Version), done,
		plural(len(registered.Pack.Actions), "action"))
	if len(registered.Environments) > 0 {
		fmt.Fprintln(p.Stdout)
		environmentTable(registered.Environments).write(p.Stdout, p.colours())
	}
	return nil
}

// directory is the path that the gateway is told. A plain name that is no
// directory here is left as it is: the gateway knows where its packs are, which
// in a container is somewhere else.
func (c *PackRegisterCmd) directory() (string, error) {
	if _, err := os.Stat(c.Path); err != nil && !strings.ContainsRune(c.Path, filepath.Separator) {
		return c.Path, nil
	}
	return filepath.Abs(c.Path)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/hashicorp/go-multierror"

	"attune/gateway/pack"
	"attune/runtimes"
)

// PackCmd looks at packs and registers them.
type PackCmd struct {
	List     PackListCmd     `cmd:"" help:"List the packs that the gateway has loaded."`
	Check    PackCheckCmd    `cmd:"" help:"Report every fault of packs, without a gateway."`
	Register PackRegisterCmd `cmd:"" help:"Take a pack into a running gateway, and start its builds."`
}

// PackListCmd lists the gateway's packs.
type PackListCmd struct {
	clientFlags
	Output string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

// PackCheckCmd checks directories.
type PackCheckCmd struct {
	configFlag
	Dirs []string `arg:"" name:"dir" help:"Directory of a pack."`
}

// packItem is a pack in the answer of GET /api/v1/packs.
type packItem struct {
	Ref     string   `json:"ref"`
	Version string   `json:"version"`
	State   string   `json:"state"` // ready, disabled or broken
	Actions []string `json:"actions"`
	Faults  []string `json:"faults"`
}

// Run prints the packs, the broken ones with their faults.
func (c *PackListCmd) Run(ctx context.Context, p *program) error {
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	if err := gateway.get(ctx, "/api/v1/packs", &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	t := table{
		header:  []string{"PACK", "VERSION", "STATE", "ACTIONS"},
		colours: map[string]colour{"ready": green, "broken": red, "disabled": yellow},
	}
	var faults strings.Builder
	for _, raw := range list.Items {
		var item packItem
		if err := json.Unmarshal(raw, &item); err != nil {
			return exitError{exitGateway, fmt.Errorf("the gateway's list of packs: %w", err)}
		}
		t.rows = append(t.rows, []string{item.Ref, item.Version, item.State, strconv.Itoa(len(item.Actions))})
		for _, fault := range item.Faults {
			fmt.Fprintf(&faults, "%s: %s\n", plain(item.Ref), plain(fault))
		}
	}
	t.write(p.Stdout, p.colours())
	if faults.Len() > 0 {
		fmt.Fprint(p.Stdout, "\n"+faults.String())
	}
	return nil
}

// Run loads each directory and prints all faults of all of them.
func (c *PackCheckCmd) Run(p *program) error {
	config, err := c.load(p)
	if err != nil {
		return err
	}
	registry, err := config.registry()
	if err != nil {
		return exitError{exitUsage, err}
	}
	broken := false
	for _, dir := range c.Dirs {
		loaded, err := pack.Load(dir, registry, pack.LoadOptions{})
		if err != nil {
			broken = true
			fmt.Fprintf(p.Stdout, "%s: %s\n", plain(dir), plural(len(faultsOf(err)), "fault"))
			for _, fault := range faultsOf(err) {
				fmt.Fprintln(p.Stdout, "  "+plain(fault.Error()))
			}
			continue
		}
		fmt.Fprintf(p.Stdout, "%s: ok, %s %s, %s\n", plain(dir), loaded.Ref, plain(loaded.Version), plural(len(loaded.Actions), "action"))
		for _, warning := range loaded.Warnings {
			fmt.Fprintln(p.Stdout, "  warning: "+plain(warning.Error()))
		}
	}
	if broken {
		return exitError{code: exitFailed}
	}
	return nil
}

// faultsOf lists the faults that an error holds; any other error is one fault.
func faultsOf(err error) []error {
	var all *multierror.Error
	if errors.As(err, &all) {
		return all.Errors
	}
	return []error{err}
}

// registry returns the runtimes that actions may use: the shipped ones and the
// operator's.
func (c Config) registry() (*runtimes.Registry, error) {
	registry := runtimes.Builtin()
	if c.RuntimesDir == "" {
		return registry, nil
	}
	if _, err := os.Stat(c.RuntimesDir); err != nil {
		return nil, fmt.Errorf("runtimes_dir %s: %w; create it, or leave the setting empty", c.RuntimesDir, bare(err))
	}
	return registry.With(c.RuntimesDir)
}

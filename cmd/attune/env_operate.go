package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"attune/envcache"
	"attune/gateway/pack"
)

// EnvRollbackCmd goes back to a generation.
type EnvRollbackCmd struct {
	clientFlags
	outputFlag
	environmentArgs
	To string `help:"The generation, or how it begins (default: the one before the one that serves)." placeholder:"DIGEST"`
}

// Help tells what happens.
func (c *EnvRollbackCmd) Help() string {
	return `Calls from now on get the earlier generation; nothing is built. A change of the
pack's manifest, or attune env rebuild, goes forward again.`
}

// Run changes which generation serves.
func (c *EnvRollbackCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	env, err := c.resolve(ctx, gateway)
	if err != nil {
		return err
	}
	body := map[string]string{}
	if c.To != "" {
		if body["digest"], err = gateway.generation(ctx, env, c.To); err != nil {
			return err
		}
	}
	var status envcache.Status
	if err := gateway.call(ctx, "POST", env.path()+"/rollback", body, &status); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, status)
	}
	fmt.Fprintf(p.Stdout, "%s: generation %s serves\n", env.name(), plain(short(status.Serving)))
	return nil
}

// generation finds the generation whose digest begins as given.
func (c *client) generation(ctx context.Context, env environmentArgs, prefix string) (string, error) {
	var status envcache.Status
	if err := c.call(ctx, "GET", env.path(), nil, &status); err != nil {
		return "", err
	}
	var found []string
	for _, g := range status.Generations {
		if strings.HasPrefix(g.Digest, prefix) {
			found = append(found, g.Digest)
		}
	}
	if len(found) != 1 {
		return "", exitError{exitUsage, fmt.Errorf("%s of %s begin with %q: attune env show %s %s lists them",
			plural(len(found), "generation"), env.name(), prefix, env.Pack, env.Runtime)}
	}
	return found[0], nil
}

// EnvVerifyCmd compares environments with what was published.
type EnvVerifyCmd struct {
	clientFlags
	outputFlag
	Pack    string `arg:"" optional:"" help:"The pack (default: all)."`
	Runtime string `arg:"" optional:"" help:"The runtime (default: all of the pack)."`
}

// verified is the outcome for one environment.
type verified struct {
	Pack    string `json:"pack"`
	Runtime string `json:"runtime"`
	State   string `json:"state"` // ok, changed, or absent: there is nothing to look at
	envcache.Verification
}

// Run looks at each file of the chosen environments.
func (c *EnvVerifyCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	chosen, err := c.choose(ctx, gateway)
	if err != nil {
		return err
	}
	results, changed := []verified{}, false
	for _, env := range chosen {
		result, err := gateway.verify(ctx, env)
		if err != nil {
			return err
		}
		results = append(results, result)
		changed = changed || result.State == "changed"
	}
	if c.Output == "json" {
		err = writeJSON(p.Stdout, results)
	} else {
		printVerified(p, results)
	}
	if err == nil && changed {
		err = exitError{code: exitFailed}
	}
	return err
}

// choose lists the environments that the arguments name.
func (c *EnvVerifyCmd) choose(ctx context.Context, gateway *client) ([]environmentArgs, error) {
	if c.Runtime != "" {
		env, err := environmentArgs{c.Pack, c.Runtime}.resolve(ctx, gateway)
		return []environmentArgs{env}, err
	}
	if _, err := pack.ParseRef(c.Pack); c.Pack != "" && err != nil {
		return nil, exitError{exitUsage, err}
	}
	items, err := gateway.environments(ctx)
	if err != nil {
		return nil, err
	}
	var chosen []environmentArgs
	for _, s := range items {
		if c.Pack == "" || s.Pack == c.Pack {
			chosen = append(chosen, environmentArgs{s.Pack, s.Runtime})
		}
	}
	if len(chosen) == 0 && c.Pack != "" {
		return nil, exitError{exitUsage, fmt.Errorf("pack %s has no environment: attune env list shows those that there are", c.Pack)}
	}
	return chosen, nil
}

// verify has the gateway look at one environment.
func (c *client) verify(ctx context.Context, env environmentArgs) (verified, error) {
	result := verified{Pack: env.Pack, Runtime: env.Runtime, State: "ok"}
	err := c.call(ctx, "POST", env.path()+"/verify", nil, &result.Verification)
	var no refused
	switch {
	case errors.As(err, &no) && no.problem.slug() == "no-generation":
		result.State = "absent"
		return result, nil
	case err == nil && !result.OK:
		result.State = "changed"
	}
	return result, err
}

func printVerified(p *program, results []verified) {
	t := table{
		header:  []string{"PACK", "RUNTIME", "STATE", "DIGEST", "FILES", "SIZE"},
		colours: map[string]colour{"ok": green, "changed": red, "absent": dim},
	}
	var faults strings.Builder
	for _, r := range results {
		files := ""
		if r.Files > 0 {
			files = strconv.FormatInt(r.Files, 10)
		}
		t.rows = append(t.rows, []string{r.Pack, r.Runtime, r.State, short(r.Digest), files, sizeOf(r.Bytes)})
		for _, fault := range r.Faults {
			fmt.Fprintf(&faults, "%s/%s: %s\n", plain(r.Pack), plain(r.Runtime), plain(fault))
		}
	}
	t.write(p.Stdout, p.colours())
	if faults.Len() > 0 {
		fmt.Fprint(p.Stdout, "\n"+faults.String())
	}
}

// EnvPruneCmd deletes old generations.
type EnvPruneCmd struct {
	clientFlags
	outputFlag
	All bool `help:"Also delete what is younger than build.prune_after."`
}

// Help tells what happens.
func (c *EnvPruneCmd) Help() string {
	return `Deletes the generations that serve nobody: not those that serve, that are kept
to go back to, or that a call or a container still uses.`
}

// Run deletes and lists what is gone.
func (c *EnvPruneCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	var list struct {
		Items []envcache.Pruned `json:"items"`
	}
	if err := gateway.call(ctx, "POST", "/api/v1/environments/prune", map[string]bool{"all": c.All}, &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	if len(list.Items) == 0 {
		fmt.Fprintln(p.Stdout, "nothing to delete")
		return nil
	}
	t := table{header: []string{"PACK", "RUNTIME", "DIGEST", "SIZE"}}
	total := int64(0)
	for _, item := range list.Items {
		t.rows = append(t.rows, []string{item.Pack, item.Runtime, short(item.Digest), sizeOf(item.Bytes)})
		total += item.Bytes
	}
	t.write(p.Stdout, p.colours())
	fmt.Fprintf(p.Stdout, "\n%s deleted, %s\n", plural(len(list.Items), "generation"), readableSize(total))
	return nil
}

// EnvRemoveCmd forgets an environment.
type EnvRemoveCmd struct {
	clientFlags
	environmentArgs
}

// Help tells what happens.
func (c *EnvRemoveCmd) Help() string {
	return `Forgets the environment with all its generations; their files are deleted when
nobody uses them any more. The pack stays, and its next call builds anew.`
}

// Run forgets the environment.
func (c *EnvRemoveCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	env, err := c.resolve(ctx, gateway)
	if err != nil {
		return err
	}
	if err := gateway.call(ctx, "DELETE", env.path(), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "%s: forgotten\n", env.name())
	return nil
}

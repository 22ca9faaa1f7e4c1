package envcache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// SelfTest proves with a container that one sees the directory it is given and
// nothing beside it: an engine that ignores what it doesn't know would show the
// whole volume, with everybody's environments.
func (c *Cache) SelfTest(ctx context.Context, image container.Image) error {
	name := "selftest." + randomName()
	mine, other := c.volume.attempt(name+".mine"), c.volume.attempt(name+".other")
	for _, dir := range []string{mine, other} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	token := "token-" + randomName()
	if err := os.WriteFile(filepath.Join(mine, token), nil, 0o444); err != nil {
		return err
	}
	target := c.Layout.EnvDir("selftest", "selftest", mine)
	spec := c.bare(image, []container.Mount{{Source: mine, Target: target, ReadOnly: true}})
	// The directory shows its own token and nothing else.
	script := `[ "$(ls -A "$1")" = "$2" ] && ! [ -e "$1/../` + filepath.Base(other) + `" ]`
	return c.try(ctx, spec, agent.Step{
		Name: "selftest", Dir: "/",
		Alternatives: []agent.Alternative{{Argv: []string{"/bin/sh", "-c", script, "sh", target, token}}},
	})
}

// Ping asks the package index of a runtime for a sign of life, from where
// builders ask. A runtime without a ping_command has nothing to answer.
func (c *Cache) Ping(ctx context.Context, rt *runtimes.Runtime, image container.Image) error {
	step := agent.Step{Name: "ping", Dir: "/tmp"}
	for _, v := range rt.Variants {
		if err := addAlternative(&step, v.Needs, v.PingCommand, nil); err != nil {
			return err
		}
	}
	if err := addAlternative(&step, "", rt.Dependencies.PingCommand, nil); err != nil {
		return err
	}
	if len(step.Alternatives) == 0 {
		return nil
	}
	spec := c.bare(image, nil)
	c.connect(&spec)
	return c.try(ctx, spec, step)
}

// bare is a throwaway container without a pack.
func (c *Cache) bare(image container.Image, mounts []container.Mount) container.Spec {
	spec := c.boxed(image)
	spec.Name = "attune-probe-" + randomName()[:16]
	spec.Dir = "/tmp"
	spec.Labels[container.LabelRole] = container.RoleProbe
	spec.Network = container.NetworkNone
	spec.Mounts = append(mounts, spec.Mounts...)
	return spec
}

// try runs one step in a throwaway container; its failure is the error.
func (c *Cache) try(ctx context.Context, spec container.Spec, step agent.Step) error {
	plan := agent.Plan{TimeoutSeconds: int(probeTimeout.Seconds()), Steps: []agent.Step{step}}
	if err := c.follows(&spec, plan); err != nil {
		return err
	}
	exit, output, err := c.runProbe(ctx, spec)
	if err != nil {
		return err
	}
	if exit.Code != 0 {
		return fmt.Errorf("%s failed with exit code %d: %s", step.Name, exit.Code, strings.TrimSpace(output.tail()))
	}
	return nil
}

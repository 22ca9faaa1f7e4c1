package envcache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// ErrNotIsolated says that the engine shows containers more of the volume than
// it was told to.
var ErrNotIsolated = errors.New("a container does not see its own directory of the volume alone")

// exitNotIsolated is the self-test's own exit code, which no shell uses.
const exitNotIsolated = 42

// SelfTest proves with a container that one sees the directory it is given and
// nothing beside it: an engine that ignores what it doesn't know would show the
// whole volume, with everybody's environments. ErrNotIsolated if it does; any
// other error means that the test could not be made.
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
	script := fmt.Sprintf(`[ "$(ls -A "$1")" = "$2" ] && ! [ -e "$1/../%s" ] || exit %d`, filepath.Base(other), exitNotIsolated)
	exit, err := c.try(ctx, spec, agent.Step{
		Name: "selftest", Dir: "/",
		Alternatives: []agent.Alternative{{Argv: []string{"/bin/sh", "-c", script, "sh", target, token}}},
	})
	if exit.Code == exitNotIsolated {
		return ErrNotIsolated
	}
	return err
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
	_, err := c.try(ctx, spec, step)
	return err
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
func (c *Cache) try(ctx context.Context, spec container.Spec, step agent.Step) (container.Exit, error) {
	plan := agent.Plan{TimeoutSeconds: int(probeTimeout.Seconds()), Steps: []agent.Step{step}}
	if err := c.follows(&spec, plan); err != nil {
		return container.Exit{}, err
	}
	exit, output, err := c.runProbe(ctx, spec)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s failed with exit code %d: %s", step.Name, exit.Code, strings.TrimSpace(output.tail()))
	}
	return exit, err
}

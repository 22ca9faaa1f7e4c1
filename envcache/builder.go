package envcache

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// builderUID is the user of builders and probes: an ordinary one, which owns
// nothing but its attempt.
const builderUID = 65532

// builderTmp bounds a builder's /tmp, where installers unpack and compile.
const builderTmp = 1 << 30

// maxCopied bounds the files that a plan copies: it is one process variable.
const maxCopied = 256

// builderSpec compiles the container that fills an attempt. The attempt is
// mounted at the literal path of the environment, because a virtualenv holds
// absolute paths; afterwards the directory can be renamed freely.
func (c *Cache) builderSpec(r *Recipe, d digested, attempt string, deadline time.Time) (container.Spec, error) {
	path := c.volume.attempt(attempt)
	plan, err := c.plan(r, d.inputs, path)
	if err != nil {
		return container.Spec{}, err
	}
	spec := c.unpacked(r, path, d.digest)
	spec.Name = "attune-build-" + d.digest
	spec.Labels[container.LabelRole] = container.RoleBuilder
	spec.Labels[labelAttempt] = attempt
	spec.Labels[labelDeadline] = strconv.FormatInt(deadline.Unix(), 10)
	spec.Mounts[0].ReadOnly = false
	c.copySources(&spec, &plan, r, d.inputs)
	c.connect(&spec)
	return spec, c.follows(&spec, plan)
}

// connect lets a container reach the package indexes as the operator wants it.
func (c *Cache) connect(spec *container.Spec) {
	spec.Network = c.Network
	if c.CADir != "" {
		setVars(spec, runtimes.CAVars(c.Layout.CA(c.CADir))...)
		spec.Mounts = append(spec.Mounts, c.mount(c.CADir, runtimes.CADir))
	}
	for name, value := range c.Vars {
		setVars(spec, name+"="+value)
	}
}

// setVars replaces variables: of two with the same name, which one counts would
// be the program's choice.
func setVars(spec *container.Spec, vars ...string) {
	for _, v := range vars {
		name, _, _ := strings.Cut(v, "=")
		spec.Env = slices.DeleteFunc(spec.Env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		spec.Env = append(spec.Env, v)
	}
}

// follows makes the agent in a container carry out a plan.
func (c *Cache) follows(spec *container.Spec, plan agent.Plan) error {
	document, err := json.Marshal(plan)
	if err != nil {
		return err
	}
	spec.Entrypoint = []string{c.Layout.Agent(c.AgentDir), "build"}
	setVars(spec, agent.PlanVariable+"="+string(document))
	slices.Sort(spec.Env)
	return nil
}

// probeSpec compiles the throwaway container in which the environment's own
// interpreter shows that it runs. env is read-only now, as it will be.
func (c *Cache) probeSpec(r *Recipe, d, path string) (container.Spec, error) {
	step := agent.Step{Name: "verify", Dir: c.Layout.EnvDir(r.Pack, r.Runtime.Name, path)}
	if err := addAlternative(&step, "", r.Runtime.Environment.VerifyCommand, c.values(r, path)); err != nil {
		return container.Spec{}, fmt.Errorf("runtime %s: %w", r.Runtime.Name, err)
	}
	spec := c.unpacked(r, path, d)
	spec.Name = "attune-verify-" + d + "-" + randomName()[:8]
	spec.Labels[container.LabelRole] = container.RoleProbe
	spec.Network = container.NetworkNone
	return spec, c.follows(&spec, agent.Plan{TimeoutSeconds: int(probeTimeout.Seconds()), Steps: []agent.Step{step}})
}

// unpacked is a box that shows a pack and an environment, its first mount.
func (c *Cache) unpacked(r *Recipe, path, digest string) container.Spec {
	packDir := c.Layout.PackDir(r.Pack, r.PackDir)
	spec := c.boxed(r.Image)
	spec.Dir = packDir
	spec.Labels[container.LabelPack] = r.Pack
	spec.Labels[container.LabelRuntime] = r.Runtime.Name
	spec.Labels[container.LabelDigest] = digest
	spec.Mounts = append([]container.Mount{
		{Source: path, Target: c.Layout.EnvDir(r.Pack, r.Runtime.Name, path), ReadOnly: true},
		{Source: r.PackDir, Target: packDir, ReadOnly: true},
	}, spec.Mounts...)
	return spec
}

// boxed is what builders and probes have in common.
func (c *Cache) boxed(image container.Image) container.Spec {
	return container.Spec{
		Image: image.ID,
		User:  builderUser(),
		Env: []string{
			"HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=/tmp", "TZ=UTC",
		},
		Labels: map[string]string{container.LabelGateway: c.GatewayID},
		Mounts: []container.Mount{c.mount(c.AgentDir, runtimes.AgentDir)},
		Tmpfs:  []container.Tmpfs{{Path: "/tmp", Size: builderTmp, Exec: true, Mode: 0o1777}},
		Limits: container.Limits{
			Memory: c.Limits.Memory, CPU: c.Limits.CPU, Pids: 512, NoFile: 4096, FileSize: c.Limits.MaxBytes,
		},
		KeepLogs: true,
	}
}

// mount shows a directory of the volume read-only, at its literal path where
// the engine can.
func (c *Cache) mount(source, inside string) container.Mount {
	if !c.Layout.Isolated {
		inside = source
	}
	return container.Mount{Source: source, Target: inside, ReadOnly: true}
}

// builderUser is the gateway's own user where it isn't root: it must be able to
// verify, rename and delete what the builder wrote.
func builderUser() string {
	uid, gid := builderUID, builderUID
	if os.Geteuid() != 0 {
		uid, gid = os.Geteuid(), os.Getegid()
	}
	return strconv.Itoa(uid) + ":" + strconv.Itoa(gid)
}

// plan compiles what the builder does: copies, create, install.
func (c *Cache) plan(r *Recipe, in inputs, path string) (agent.Plan, error) {
	plan := agent.Plan{TimeoutSeconds: int(math.Ceil(c.Limits.Timeout.Seconds()))}
	values := c.values(r, path)
	installDir := values["pack_dir"] // relative paths in a manifest begin at it
	if manifest, has := r.manifest(in.Manifests); manifest != nil {
		values["manifest_path"] = values["pack_dir"] + "/" + manifest.File
		if r.Runtime.Dependencies.CopyManifests {
			installDir = values["env_dir"]
			values["manifest_path"] = values["env_dir"] + "/" + manifest.File
			if len(in.Manifests) > maxCopied {
				return plan, refuse("%s includes more than %d files of the pack: pack them into archives", manifest.File, maxCopied)
			}
			for _, name := range slices.Sorted(maps.Keys(in.Manifests)) {
				if slices.Contains(manifest.LockFiles, name) && name != manifest.LockFile(has) {
					continue // an installer could prefer it
				}
				plan.Copy = append(plan.Copy, agent.Copy{
					From: values["pack_dir"] + "/" + name, To: values["env_dir"] + "/" + name,
				})
			}
		}
	}
	// The interpreter of the create step is the image's own; afterwards it is
	// the environment's.
	before := maps.Clone(values)
	before["interpreter"] = r.Runtime.Interpreter.Binary
	steps := []struct {
		name    string
		dir     string
		values  map[string]string
		command []string
		variant func(variantInput) []string
	}{
		{"create", values["env_dir"], before, in.Create, func(v variantInput) []string { return v.Create }},
		{"install", installDir, values, in.Install, func(v variantInput) []string { return v.Install }},
		{"finish", values["env_dir"], values, in.Finish, func(variantInput) []string { return nil }},
	}
	for _, s := range steps {
		step := agent.Step{Name: s.name, Dir: s.dir}
		for _, v := range in.Variants {
			if err := addAlternative(&step, v.Needs, s.variant(v), s.values); err != nil {
				return plan, fmt.Errorf("runtime %s: %w", r.Runtime.Name, err)
			}
		}
		if err := addAlternative(&step, "", s.command, s.values); err != nil {
			return plan, fmt.Errorf("runtime %s: %w", r.Runtime.Name, err)
		}
		if len(step.Alternatives) > 0 {
			plan.Steps = append(plan.Steps, step)
		}
	}
	return plan, nil
}

func addAlternative(step *agent.Step, needs string, command []string, values map[string]string) error {
	if len(command) == 0 {
		return nil
	}
	argv, err := runtimes.Expand(command, values)
	if err != nil {
		return fmt.Errorf("%s command: %w", step.Name, err)
	}
	step.Alternatives = append(step.Alternatives, agent.Alternative{Needs: needs, Argv: argv})
	return nil
}

// values are the template variables of a runtime's commands.
func (c *Cache) values(r *Recipe, path string) map[string]string {
	packDir := c.Layout.PackDir(r.Pack, r.PackDir)
	values := map[string]string{
		"pack_dir":    packDir,
		"packs_dir":   c.Layout.PacksDir(r.PackDir),
		"env_dir":     c.Layout.EnvDir(r.Pack, r.Runtime.Name, path),
		"interpreter": r.Runtime.Interpreter.Binary,
	}
	if own := r.Runtime.Environment.InterpreterPath; own != "" {
		if expanded, err := runtimes.Expand([]string{own}, values); err == nil { // checked when the runtime was loaded
			values["interpreter"] = expanded[0]
		}
	}
	return values
}

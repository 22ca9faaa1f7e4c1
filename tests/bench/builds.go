package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"attune/runtimes"
)

// kind is a runtime whose environments are built and compared.
type kind struct {
	name, image, extension string
	script                 string
	manifest               map[string]string
	// bare are the commands that anybody would type, in the same image: the
	// first is the baseline.
	bare []bareCommand
}

type bareCommand struct{ name, script string }

var kinds = []kind{
	{
		name: "python", image: "attune/python", extension: ".py",
		script:   "import numpy, pydantic, requests\n",
		manifest: map[string]string{"requirements.txt": "requests\npydantic\nnumpy\n"},
		bare: []bareCommand{
			{"`venv` and `pip install`", "python3 -m venv /tmp/x && /tmp/x/bin/pip install --quiet requests pydantic numpy"},
			{"`uv venv` and `uv pip install`", "uv venv -q /tmp/x && uv pip install -q --compile-bytecode --python /tmp/x/bin/python3 requests pydantic numpy"},
		},
	},
	{
		name: "node", image: "attune/node", extension: ".js",
		script:   "for (const name of ['express', 'zod', 'axios']) require(name);\n",
		manifest: map[string]string{"package.json": `{"dependencies":{"axios":"*","express":"*","zod":"*"}}` + "\n"},
		bare:     []bareCommand{{"`npm install`", "mkdir /tmp/x && cd /tmp/x && npm install express zod axios"}},
	},
	{ // what a build costs besides the installer
		name: "idle", image: "attune/shell", extension: ".idle",
		script: "true\n",
		bare:   []bareCommand{{"one container that runs `true`", "true"}},
	},
}

// idleRuntime has environments whose builder does nothing.
const idleRuntime = `name: idle
image: attune/shell
interpreter: {binary: /bin/sh, file_extension: .idle}
environment: {env_type: scripted, create_command: [/bin/true], verify_command: [/bin/true]}
`

// measureBuilds builds each kind of environment on a fresh volume, then for a
// second pack that asks for the same, then again with what was downloaded; and in
// turns with these by bare hands.
func measureBuilds(ctx context.Context, b *bench) ([]row, error) {
	var rows []row
	for _, k := range kinds {
		cold, second, warm := series{unit: "s"}, series{unit: "s"}, series{unit: "s"}
		bare := make([]series, len(k.bare))
		for range b.n {
			prepare := func(h home) error {
				return errors.Join(
					h.write(map[string]string{"runtimes/idle/runtime.yaml": idleRuntime}),
					h.pack("built", k.extension, k.script, k.manifest),
					h.pack("second", k.extension, k.script, k.manifest))
			}
			err := b.with(ctx, prepare, func(g *gateway) error {
				const path = "/api/v1/environments/built/"
				if err := g.build(ctx, "/invoke/built.run", path+k.name, &cold); err != nil {
					return err
				}
				if err := g.build(ctx, "/invoke/second.run", "/api/v1/environments/second/"+k.name, &second); err != nil {
					return err
				}
				return g.build(ctx, path+k.name+"/rebuild", path+k.name, &warm)
			})
			if err != nil {
				return nil, err
			}
			for i, command := range k.bare {
				bare[i].unit = "s"
				if err := k.install(ctx, command.script, &bare[i]); err != nil {
					return nil, err
				}
			}
			b.say("%s: cold %v, second %v, warm %v, bare %v", k.name, cold, second, warm, bare)
		}
		rows = append(rows, k.rows(cold, second, warm, bare)...)
	}
	return rows, nil
}

// rows of one kind; bare is in the order of its commands.
func (k kind) rows(cold, second, warm series, bare []series) []row {
	first := k.name + ": first environment on a volume"
	var rows []row
	for i, command := range k.bare {
		rows = append(rows, row{what: first, got: cold, against: command.name, base: bare[i]})
	}
	if k.manifest == nil {
		return rows
	}
	return append(rows,
		row{what: k.name + ": a second pack with the same", got: second, against: k.bare[0].name, base: bare[0]},
		row{what: k.name + ": second pack over first", got: second, against: "first", base: cold, ratioGoal: 0.2},
		row{what: k.name + ": rebuilt, with its downloads", got: warm, against: "first", base: cold})
}

// build sends what starts a build, and waits for the environment, not for the
// answer: with a call that takes an instance and an execution more.
func (g *gateway) build(ctx context.Context, cause, environment string, took *series) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	before, err := g.environment(ctx, environment)
	if err != nil {
		return err
	}
	answered := make(chan error, 1)
	start := time.Now()
	go func() {
		_, _, err := g.call(ctx, "POST", cause)
		answered <- err
	}()
	for {
		now, err := g.environment(ctx, environment)
		switch {
		case err != nil:
			return err
		case now.State == "ready" && now.Serving != before.Serving:
			took.took(time.Since(start))
			return <-answered
		case now.State == "failed" || now.State == "degraded":
			return errors.Join(errors.New(now.Reason), <-answered)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// environment is where one stands.
type environment struct{ State, Serving, Reason string }

func (g *gateway) environment(ctx context.Context, path string) (environment, error) {
	var e environment
	_, body, err := g.call(ctx, "GET", path)
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(body, &e)
}

// install runs a script in a container of the kind's image, with what builders
// get: certificates, indexes, network, memory and cores.
func (k kind) install(ctx context.Context, script string, took *series) error {
	args := []string{"run", "--rm", "--cpus", "2", "--memory", "2g", "--user", "65532:65532", "--env", "HOME=/tmp"}
	args = append(args, installerArgs()...)
	args = append(args, "--entrypoint", "/bin/sh", k.image, "-ec", script)
	start := time.Now()
	if _, err := docker(ctx, args...); err != nil {
		return fmt.Errorf("%s by hand: %w", k.name, err)
	}
	took.took(time.Since(start))
	return nil
}

// installerArgs give a container the certificates and indexes that builders get.
func installerArgs() (args []string) {
	if bundle := caBundle(); bundle != "" {
		inside := runtimes.CADir + "/" + runtimes.CAFile
		args = append(args, "--volume", bundle+":"+inside+":ro")
		for _, variable := range runtimes.CAVars(inside) {
			args = append(args, "--env", variable)
		}
	}
	for variable := range strings.SplitSeq(os.Getenv("ATTUNE__BUILD__VARS"), ",") {
		if variable != "" {
			args = append(args, "--env", variable)
		}
	}
	return args
}

// caBundle is what the gateway's builders get, and the bare ones as well; empty
// = what the image brings.
func caBundle() string {
	for _, path := range []string{os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		if _, err := os.Stat(path); path != "" && err == nil {
			return path
		}
	}
	return ""
}

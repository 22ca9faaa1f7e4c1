package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// DoctorCmd checks everything that the gateway needs.
type DoctorCmd struct {
	configFlag
	Output  string        `short:"o" enum:"table,json" default:"table" help:"table or json."`
	Timeout time.Duration `default:"1m" help:"How long each check may take."`
}

// CheckStatus is what a check found.
type CheckStatus string

// The gateway runs in spite of a CheckWarn; a CheckFail has to be cured.
const (
	CheckOK   CheckStatus = "ok"
	CheckWarn CheckStatus = "warn"
	CheckFail CheckStatus = "fail"
)

// Check is the result of one check.
type Check struct {
	Name   string      `json:"name"`
	Status CheckStatus `json:"status"`
	Detail string      `json:"detail"`         // what was found
	Cure   string      `json:"cure,omitempty"` // what to do about it; empty with CheckOK
}

// Probe looks at one thing, which may take several checks to tell.
type Probe func(ctx context.Context) []Check

// Probes are the checks that need the other packages. Nil ones are left out.
type Probes struct {
	Engine     Probe // answers, API version, isolation self-test, images; free space of a volume
	Registries Probe // whether builders reach the package indexes
	Redis      Probe // called only with a redis.url
	Close      func()
}

// diagnosis is what the doctor knows while it works.
type diagnosis struct {
	config  Config
	environ []string
}

// Run prints all checks; exit code 1 if one failed.
func (c *DoctorCmd) Run(ctx context.Context, p *program) error {
	var checks []Check
	config, err := c.load(p)
	if err != nil {
		checks = configurationFaults(err)
	} else {
		checks = append(checks, Check{Name: "configuration", Status: CheckOK, Detail: configurationDetail(config, c.Config, p.Environ)})
		checks = append(checks, c.examine(ctx, p, config)...)
	}
	if err := c.print(p, checks); err != nil {
		return err
	}
	for _, check := range checks {
		if check.Status == CheckFail {
			return exitError{code: exitFailed}
		}
	}
	return nil
}

// examine runs the probes one after the other: some are costly, and the machine
// may be small.
func (c *DoctorCmd) examine(ctx context.Context, p *program, config Config) []Check {
	d := &diagnosis{config: config, environ: p.Environ}
	var wired Probes
	if p.Probes != nil {
		wired = p.Probes(config)
	}
	if wired.Close != nil {
		defer wired.Close()
	}
	if config.Redis.URL == "" {
		wired.Redis = nil
	}
	var checks []Check
	for _, probe := range []Probe{
		d.packs, wired.Engine, d.freeSpace, d.certificates, wired.Registries, d.state, wired.Redis, d.secretKeys,
		d.listener, d.exposure,
	} {
		if probe != nil && ctx.Err() == nil {
			checks = append(checks, c.within(ctx, probe)...)
		}
	}
	return checks
}

// within bounds one probe in time.
func (c *DoctorCmd) within(ctx context.Context, probe Probe) []Check {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("it took longer than %s", c.Timeout))
	defer cancel()
	return probe(ctx)
}

func configurationFaults(err error) []Check {
	var checks []Check
	for _, fault := range faultsOf(err) {
		checks = append(checks, Check{
			Name: "configuration", Status: CheckFail, Detail: fault.Error(),
			Cure: "correct it; attune config check reports the faults alone",
		})
	}
	return checks
}

func configurationDetail(config Config, path string, environ []string) string {
	source := "built-in defaults"
	if file := configFile(path, environ); file != "" {
		source = file
	}
	return fmt.Sprintf("%s, %s changed", source, plural(config.changed(), "setting"))
}

// print writes the checks, and what to do about each that is not ok.
func (c *DoctorCmd) print(p *program, checks []Check) error {
	if c.Output == "json" {
		return writeJSON(p.Stdout, struct {
			Checks []Check `json:"checks"`
		}{checks})
	}
	t := table{
		header:  []string{"STATUS", "CHECK", "DETAIL"},
		colours: map[string]colour{string(CheckOK): green, string(CheckWarn): yellow, string(CheckFail): red},
	}
	var cures []string
	for _, check := range checks {
		t.rows = append(t.rows, []string{string(check.Status), check.Name, check.Detail})
		if cure := check.Name + ": " + plain(check.Cure) + "\n"; check.Cure != "" && !slices.Contains(cures, cure) {
			cures = append(cures, cure)
		}
	}
	t.write(p.Stdout, p.colours())
	if len(cures) == 0 {
		return nil
	}
	_, err := io.WriteString(p.Stdout, "\n"+strings.Join(cures, ""))
	return err
}

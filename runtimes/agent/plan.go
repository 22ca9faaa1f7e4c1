package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
)

// PlanVariable is the environment variable that carries a builder's Plan as
// JSON. A plan holds no secrets; the steps don't see it.
const PlanVariable = "ATTUNE_BUILD_PLAN"

// ExitTimeout is the builder's exit code when Plan.TimeoutSeconds ran out.
const ExitTimeout = 124

// Plan is what `attune-agent build` does in a builder container: copies, then
// the steps in their order. The builder's exit code is that of the first step
// that failed; 124 after a timeout, 125 if it could not do its own part, 126 and
// 127 as a shell would for a program that can't be run or found, 128+n by signal.
type Plan struct {
	TimeoutSeconds int    `json:"timeout_seconds"` // of everything; > 0
	Copy           []Copy `json:"copy,omitempty"`
	Steps          []Step `json:"steps"`
}

// Copy copies a regular file, or a directory's files, directories and links; of
// anything else it makes a fault. Missing directories of To are made.
type Copy struct {
	From string `json:"from"` // absolute
	To   string `json:"to"`   // absolute; replaced if it exists
}

// Step is one command, possibly in several spellings.
type Step struct {
	Name         string        `json:"name"`         // "create", "install": stands in the log
	Alternatives []Alternative `json:"alternatives"` // the first that applies is run
	Dir          string        `json:"dir"`          // absolute working directory
}

// Alternative is one spelling of a step.
type Alternative struct {
	Needs string   `json:"needs,omitempty"` // a program that must be on PATH; empty = always applies
	Argv  []string `json:"argv"`
}

// ParsePlan reads a plan and checks it; every fault is reported.
func ParsePlan(document []byte) (Plan, error) {
	var p Plan
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Plan{}, fmt.Errorf("parse build plan: %w", err)
	}
	if err := p.Check(); err != nil {
		return Plan{}, fmt.Errorf("check build plan: %w", err)
	}
	return p, nil
}

// Check reports every fault of a plan.
func (p Plan) Check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if p.TimeoutSeconds <= 0 {
		fault("timeout_seconds is %d", p.TimeoutSeconds)
	}
	for _, c := range p.Copy {
		if !filepath.IsAbs(c.From) || !filepath.IsAbs(c.To) {
			fault("copy from %q to %q: not absolute", c.From, c.To)
		}
	}
	for _, s := range p.Steps {
		if !filepath.IsAbs(s.Dir) {
			fault("step %q: dir %q is not absolute", s.Name, s.Dir)
		}
		if len(s.Alternatives) == 0 {
			fault("step %q has no alternatives", s.Name)
		}
		for _, a := range s.Alternatives {
			if len(a.Argv) == 0 || a.Argv[0] == "" {
				fault("step %q has an alternative without a program", s.Name)
			}
		}
	}
	return errors.Join(faults...)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// HealthCmd asks whether the gateway is ready, for container health checks.
type HealthCmd struct {
	clientFlags
	Timeout time.Duration `default:"5s" help:"How long to wait for the answer."`
}

// check is one line of what /readyz answers.
type check struct {
	Name     string    `json:"name"`
	OK       bool      `json:"ok"`
	Required bool      `json:"required"`
	Detail   string    `json:"detail"`
	Since    time.Time `json:"since"`
}

// Run prints what the gateway depends on. Whatever is wrong, even that there is
// no gateway, is exit code 1: it is the answer.
func (c *HealthCmd) Run(ctx context.Context, p *program) error {
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	answer, err := gateway.do(ctx, http.MethodGet, "/readyz", nil)
	if err != nil {
		return exitError{exitFailed, err}
	}
	if answer.Status != http.StatusOK {
		failure := readProblem(answer)
		printChecks(p, failure.Checks)
		return exitError{exitFailed, fmt.Errorf("not ready: %s", failure.summary())}
	}
	var ready struct {
		Checks []check `json:"checks"`
	}
	if err := json.Unmarshal(answer.Body, &ready); err != nil {
		return exitError{exitFailed, fmt.Errorf("%s/readyz is not the API of a gateway: %w", gateway.base, err)}
	}
	printChecks(p, ready.Checks)
	fmt.Fprintln(p.Stdout, "ready")
	return nil
}

func printChecks(p *program, checks []check) {
	if len(checks) == 0 {
		return
	}
	t := table{header: []string{"PART", "STATE", "SINCE", "DETAIL"}, colours: map[string]colour{"ok": green, "away": yellow, "missing": red}}
	for _, c := range checks {
		state := "ok"
		if !c.OK {
			state = "away"
			if c.Required {
				state = "missing"
			}
		}
		t.rows = append(t.rows, []string{c.Name, state, sinceWhen(c.Since), c.Detail})
	}
	t.write(p.Stdout, p.colours())
}

// sinceWhen is a moment as this machine's clock shows it.
func sinceWhen(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

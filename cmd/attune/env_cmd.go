package main

import (
	"context"
	"time"

	"attune/envcache"
)

// EnvCmd looks at environments.
type EnvCmd struct {
	List EnvListCmd `cmd:"" help:"List the environments of the gateway's packs."`
}

// EnvListCmd lists environments.
type EnvListCmd struct {
	clientFlags
	Output string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

// Run prints the environments and where each stands.
func (c *EnvListCmd) Run(ctx context.Context, p *program) error {
	var list struct {
		Items []envcache.Status `json:"items"`
	}
	gateway, err := c.client(p)
	if err != nil {
		return err
	}
	if err := gateway.get(ctx, "/api/v1/environments", &list); err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(p.Stdout, list.Items)
	}
	t := table{
		header: []string{"PACK", "RUNTIME", "STATE", "DIGEST", "SIZE", "BUILT", "DETAIL"},
		colours: map[string]colour{
			string(envcache.StateReady): green, string(envcache.StateFailed): red,
			string(envcache.StateBuilding): yellow, string(envcache.StateQueued): yellow,
		},
	}
	for _, status := range list.Items {
		t.rows = append(t.rows, environmentRow(status))
	}
	t.write(p.Stdout, p.colours())
	return nil
}

func environmentRow(s envcache.Status) []string {
	digest, size, built, detail := s.Digest, "", "", s.Reason
	if len(digest) > 12 {
		digest = digest[:12]
	}
	if s.Bytes > 0 {
		size = readableSize(s.Bytes)
	}
	if s.BuiltAt != nil {
		built = s.BuiltAt.Local().Format("2006-01-02 15:04")
	}
	switch {
	case s.State == envcache.StateBuilding:
		detail = s.Phase
	case s.State == envcache.StateFailed && s.NextRetry != nil:
		detail += ", next attempt " + s.NextRetry.Local().Format(time.TimeOnly)
	}
	return []string{s.Pack, s.Runtime, string(s.State), digest, size, built, cut(detail, 80)}
}

package main

import (
	"context"
	"fmt"

	"attune/gateway/secret"
)

// openKeys reads the keys of stored secrets, where there are any.
func (g *gateway) openKeys() (err error) {
	settings := g.config.Secrets
	switch {
	case settings.KeyFile != "":
		if g.vault.Keys, err = secret.ReadKeys(settings.KeyFile); err != nil {
			return fmt.Errorf("secrets.key_file (%s): %w", g.config.Origin("secrets.key_file"), err)
		}
	case settings.Key != "":
		if g.vault.Keys, err = secret.ParseKeys(settings.Key); err != nil {
			return fmt.Errorf("secrets.key (%s): %w", g.config.Origin("secrets.key"), err)
		}
	}
	return nil
}

// reseal lets the first key seal what others have: then these can go.
func (g *gateway) reseal(ctx context.Context) {
	sealed, err := g.vault.Reseal(ctx)
	if sealed > 0 {
		g.log.Info("secrets are sealed by the first key now", "count", sealed)
	}
	if err != nil && ctx.Err() == nil {
		g.log.Warn("some secrets are not sealed by the first key", "error", err)
	}
}

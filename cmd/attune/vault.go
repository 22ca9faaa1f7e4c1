package main

import (
	"context"
	"fmt"

	"attune/gateway/secret"
)

// openKeys reads the keys of stored secrets.
func (g *gateway) openKeys() (err error) {
	g.vault.Keys, err = g.config.secretKeys()
	return err
}

// secretKeys are those that the configuration names; nil where it names none.
func (c *Config) secretKeys() (*secret.Keyring, error) {
	key, read, from := "secrets.key_file", secret.ReadKeys, c.Secrets.KeyFile
	if from == "" {
		key, read, from = "secrets.key", secret.ParseKeys, c.Secrets.Key
	}
	if from == "" {
		return nil, nil
	}
	keys, err := read(from)
	if err != nil {
		return nil, fmt.Errorf("%s (%s): %w", key, c.Origin(key), err)
	}
	return keys, nil
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

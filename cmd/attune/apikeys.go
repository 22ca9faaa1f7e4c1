package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"attune/gateway/api"
	"attune/gateway/key"
	"attune/gateway/limit"
	"attune/gateway/redis"
	"attune/gateway/sqlite"
)

// databaseFile is the embedded database in state_dir.
const databaseFile = "attune.db"

// exposed tells whether other machines can reach the gateway.
func (c Config) exposed() bool { return !isLoopback(c.Server.Host) }

// openKeyStore opens what holds the API keys, beside a gateway that may be
// running. Whoever opens it closes it.
func (c Config) openKeyStore() (key.Store, func() error, error) {
	if c.Redis.URL != "" {
		client, err := redis.New(c.Redis.URL)
		if err != nil {
			return nil, nil, err
		}
		return client.Keys(), client.Close, nil
	}
	store, err := sqlite.Open(filepath.Join(c.StateDir, databaseFile))
	if err != nil {
		return nil, nil, fmt.Errorf("state_dir (%s): %w", c.Origin("state_dir"), err)
	}
	return store.Keys(), store.Close, nil
}

// checkExposure refuses an address that other machines can reach while nobody
// has an API key. A store that can't be read is no reason: then a key is needed
// all the more, and nobody has one yet.
func (c Config) checkExposure(ctx context.Context) error {
	if c.Redis.URL == "" {
		if _, err := os.Stat(filepath.Join(c.StateDir, databaseFile)); errors.Is(err, fs.ErrNotExist) {
			return c.noKey() // and nothing is made only for looking
		}
	}
	store, done, err := c.openKeyStore()
	if err != nil {
		return exitError{exitGateway, err}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	keys, err := store.Keys(ctx)
	if closing := done(); closing != nil {
		return exitError{exitGateway, closing}
	}
	switch {
	case errors.Is(err, redis.ErrUnavailable):
		return nil
	case err != nil:
		return exitError{exitGateway, err}
	case !key.NewRing(keys...).Usable(time.Now()):
		return c.noKey()
	}
	return nil
}

func (c Config) noKey() error {
	return exitError{exitUsage, Fault{
		Key: "server.host", Origin: c.Origin("server.host"),
		Reason: c.Server.Host + " can be reached from other machines, and there is no API key: make one (attune key create --local --scope admin NAME), listen on 127.0.0.1, or allow it with --insecure",
	}}
}

// openAPIKeys reads the API keys. While Redis is away the gateway starts all the
// same, with those that it knew when it stopped. One that has never known any
// tells everybody to come back: whether a key is needed isn't known.
func (g *gateway) openAPIKeys(ctx context.Context, store key.Store, rates limit.Limiter) error {
	g.keys, g.rates = key.NewKeeper(store, g.log), rates
	if g.redis == nil {
		return g.keys.Load(ctx)
	}
	g.keys.Remember(filepath.Join(g.config.StateDir, "api-keys.json"))
	forgotten := g.keys.Recall()
	err := g.keys.Load(ctx)
	if !errors.Is(err, redis.ErrUnavailable) {
		return err
	}
	if forgotten != nil {
		g.log.Warn("API keys can't be read yet, and none are remembered: until then what may need one is answered 503",
			slog.Any("error", errors.Join(err, forgotten)))
		return nil
	}
	g.log.Warn("API keys can't be read yet; the ones from before go on", slog.Any("error", err))
	return nil
}

// checkKeys: a gateway that doesn't know whether keys are needed lets nobody in.
func (g *gateway) checkKeys() api.HealthCheck {
	check := api.HealthCheck{Name: "api-keys", Required: true, OK: g.keys.Ring() != nil}
	if !check.OK {
		check.Detail = "they were never read: whether one is needed isn't known"
	}
	return check
}

// anonymous is what needs no key.
func (c Config) anonymous() []key.Scope {
	scopes := make([]key.Scope, len(c.Server.Anonymous))
	for i, ref := range c.Server.Anonymous {
		scopes[i] = key.Scope(key.Invoke + ":" + ref)
	}
	return scopes
}

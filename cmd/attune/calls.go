package main

import (
	"fmt"
	"time"

	"attune/gateway/api"
	"attune/gateway/callback"
	"attune/gateway/idempotency"
	"attune/gateway/secret"
)

// killMargin is the longest that an execution may live on beyond its deadline:
// what it takes to kill it, and to notice.
const killMargin = time.Minute

// idempotencyKeys lets calls be repeated. A claim lasts until the execution, which
// began at most now, can't run any more.
func (g *gateway) idempotencyKeys(store idempotency.Store) *idempotency.Keys {
	return &idempotency.Keys{
		Store: store, Lease: time.Duration(g.config.Limits.MaxTimeout) + killMargin,
		Keep: time.Duration(g.config.Idempotency.Keep), Bytes: int(g.config.Idempotency.AnswerBytes),
	}
}

// openCourier makes what delivers callbacks. Without secrets it only stores those
// of calls that another gateway took.
func (g *gateway) openCourier(store callback.Store) error {
	settings := g.config.Callbacks
	origin, text := g.config.Origin("callbacks.secret"), settings.Secret
	if settings.SecretFile != "" {
		origin = g.config.Origin("callbacks.secret_file")
		var err error
		if text, err = secret.ReadPrivate(settings.SecretFile); err != nil {
			return fmt.Errorf("callbacks.secret_file (%s): %w", origin, err)
		}
	}
	var secrets [][]byte
	if text != "" || settings.SecretFile != "" {
		var err error
		if secrets, err = callback.ParseSecrets(text); err != nil {
			return fmt.Errorf("secrets of callbacks (%s): %w", origin, err)
		}
	}
	allow, err := callback.ParseAllow(settings.Allow)
	if err != nil {
		return fmt.Errorf("callbacks.allow (%s): %w", g.config.Origin("callbacks.allow"), err)
	}
	g.courier = callback.New(callback.Options{
		Store: store, Secrets: secrets, Guard: &callback.Guard{Allow: allow}, Agent: "attune/" + version, Logger: g.log,
	})
	return nil
}

// callbacks is the courier where it can sign, and nil otherwise.
func (g *gateway) callbacks() api.Callbacks {
	if len(g.courier.Secrets) == 0 {
		return nil
	}
	return g.courier
}

package main

import (
	"time"

	"attune/gateway/idempotency"
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

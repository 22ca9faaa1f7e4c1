package main

import (
	"cmp"
	"time"

	"attune/gateway/api"
	"attune/gateway/delivery"
	"attune/gateway/execution"
)

// HooksConfig is about the log of what came to hooks.
type HooksConfig struct {
	// Keep is how many deliveries of each hook are remembered. Default 500.
	Keep int `yaml:"keep"`
	// MaxAge forgets older deliveries. Default 168h.
	MaxAge Duration `yaml:"max_age"`
	// Body is up to what size a delivery's body is kept, without which it can't be
	// replayed. Default 64KiB; 0 = none is kept.
	Body Bytes `yaml:"body"`
}

// newReceiver makes the part that takes what webhooks deliver.
func (g *gateway) newReceiver() (*delivery.Receiver, error) {
	log := g.config.Hooks
	return delivery.New(delivery.Options{
		Catalog: g.packs.Catalog, Store: g.hooks, Secrets: g.vault, Queue: g.queue, Invoker: g.runner,
		NewID: execution.NewID, Status: api.StatusOf, Logger: g.log,
		Retention: delivery.Retention{
			Keep: log.Keep, MaxAge: time.Duration(log.MaxAge),
			Body: cmp.Or(int(log.Body), -1), // 0 is "none" here, "the default" there
		},
	})
}

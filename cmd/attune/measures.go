package main

import (
	"context"
	"fmt"
	"time"

	"attune/envcache"
	"attune/gateway/api"
	"attune/gateway/metrics"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/trace"
)

// measures are the gateway's metrics. They are made in any case, and counted only
// where config.Metrics says so.
type measures struct {
	*metrics.Registry
	*metrics.Requests
	executions   *metrics.Executions
	environments *metrics.Environments
	leases       *metrics.Leases
}

var _ api.Metrics = (*measures)(nil)

// openMeasures makes the metrics and what draws traces, and puts the first into
// the way to the engine.
func (g *gateway) openMeasures() error {
	if g.config.Metrics {
		registry := metrics.New(version)
		g.measures = &measures{
			Registry: registry, Requests: metrics.NewRequests(registry), executions: metrics.NewExecutions(registry),
			environments: metrics.NewEnvironments(registry, func() []envcache.Status { return g.inventory.Known() }),
			leases:       metrics.NewLeases(registry),
		}
		g.containers = metrics.Engine(registry, g.engine)
	}
	if g.config.Tracing.Endpoint == "" {
		return nil
	}
	tracer, err := trace.New(trace.Options{
		Endpoint: g.config.Tracing.Endpoint, Sample: g.config.Tracing.Sample, Version: version, GatewayID: g.id, Log: g.log,
	})
	if err != nil {
		return fmt.Errorf("tracing.endpoint (%s): %w", g.config.Origin("tracing.endpoint"), err)
	}
	g.tracer = tracer
	g.onClose("traces", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lastTraces)
		defer cancel()
		if err := tracer.Close(ctx); err != nil { // a receiver that is away is no reason to fail
			g.log.Warn("the last traces were lost", "error", err)
		}
		return nil
	})
	return nil
}

// lastTraces bounds how long a gateway that stops tries to send its last spans.
const lastTraces = 2 * time.Second

// built passes a build's events on to the metrics.
func (g *gateway) built(e envcache.Event) {
	if g.measures != nil {
		g.measures.environments.Event(e)
	}
}

// leasers are those of the cache, counted. shared is nil without Redis.
func (g *gateway) leasers() (local, shared envcache.Leaser) {
	local = g.leases
	if g.measures != nil {
		local = g.measures.leases.Of("file", local)
	}
	if g.redis == nil {
		return local, nil
	}
	redis := g.redis.Leaser()
	if g.measures == nil {
		return local, redis
	}
	redis.RenewFailed = g.measures.leases.RenewFailed("redis")
	return local, g.measures.leases.Of("redis", redis)
}

// observe has what is assembled counted and shown.
func (g *gateway) observe() {
	m := g.measures
	if m == nil {
		return
	}
	g.recorder.OnEnd(m.executions.Ended)
	metrics.Recording(m.Registry, g.recorder.Stats)
	metrics.Jobs(m.Registry, g.jobStats)
	metrics.Instances(m.Registry, g.pools.Stats)
	metrics.Serving(m.Registry, func() (requests, connections int) {
		stats := g.server.Stats()
		return stats.Requests, stats.Connections
	})
	metrics.Up(m.Registry, func() map[string]bool {
		parts := map[string]bool{}
		for _, check := range g.server.Checks() {
			parts[check.Name] = check.OK
		}
		return parts
	})
}

// jobStats counts jobs; false while their store does not answer.
func (g *gateway) jobStats() (queue.Stats, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	stats, err := g.queue.Stats(ctx)
	return stats, err == nil
}

// forget drops what is counted of actions and packs that are gone.
func (m *measures) forget(before, after *pack.Catalog) {
	m.executions.Keep(func(action string) bool {
		ref, err := pack.ParseActionRef(action)
		_, known := after.Action(ref)
		return err == nil && known
	})
	for _, p := range before.Packs() {
		if _, known := after.Pack(p.Ref); !known {
			m.environments.Forget(string(p.Ref))
		}
	}
}

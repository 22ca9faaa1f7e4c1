package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"attune/gateway/api"
)

// checkTimeout bounds one look at all that the gateway depends on.
const checkTimeout = 3 * time.Second

// Check implements api.Health: what the gateway needs to answer calls, and in
// which versions.
func (g *gateway) Check(ctx context.Context) []api.HealthCheck {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return append([]api.HealthCheck{g.checkEngine(ctx), g.checkState(ctx)}, append(g.checkVolume(), g.checkKeys(), api.HealthCheck{
		Name: "program", OK: true, Detail: fmt.Sprintf("attune %s, %s, gateway %s", version, runtime.Version(), g.id),
	})...)
}

func (g *gateway) checkEngine(ctx context.Context) api.HealthCheck {
	check := api.HealthCheck{Name: "engine", Required: true}
	info, err := g.containers.Info(ctx)
	if err != nil {
		check.Detail = "the container engine does not answer"
		return check
	}
	check.OK, check.Detail = true, info.Name+" "+info.Version
	if info.APIVersion != "" {
		check.Detail += ", API " + info.APIVersion
	}
	return check
}

// checkState: without the store calls are answered, and recorded when it is back.
func (g *gateway) checkState(ctx context.Context) api.HealthCheck {
	check := api.HealthCheck{Name: "state", OK: true, Detail: "embedded"}
	if g.redis != nil {
		check.Name = "redis"
	}
	if err := g.store.Ping(ctx); err != nil {
		check.OK, check.Detail = false, "the store of executions does not answer"
		return check
	}
	if g.redis == nil {
		return check
	}
	found, err := g.redis.Version(ctx)
	if err != nil { // it answers all the same: who may use it may not be allowed to ask
		found = "of unknown version"
	}
	check.Detail = found
	return check
}

// checkVolume: without space environments that are ready serve on.
func (g *gateway) checkVolume() []api.HealthCheck {
	volume := api.HealthCheck{Name: "environments", Required: true}
	space := api.HealthCheck{Name: "space"}
	free, err := g.cache.Probe()
	if err != nil {
		volume.Detail = "the directory of environments is gone, or can't be written to"
		space.Detail = "unknown"
		return []api.HealthCheck{volume, space}
	}
	volume.OK, volume.Detail = true, "can be written to"
	needed := g.config.Build.FreeSpace
	space.OK = Bytes(free) >= needed
	space.Detail = fmt.Sprintf("%d MiB free", free>>20)
	if !space.OK {
		space.Detail += fmt.Sprintf(": a build takes %s (build.free_space)", needed)
	}
	return []api.HealthCheck{volume, space}
}

package metrics

import "attune/runtimes"

// Instances shows the pools of warm instances.
func Instances(r *Registry, stats func() runtimes.Stats) {
	r.Gauges("instances", "Instances of this gateway, by pack, runtime and state (starting, idle, busy).", []string{"pack", "runtime", "state"}, func(emit Emit) {
		for _, pool := range stats().Pools {
			emit(float64(pool.Starting), pool.Pack, pool.Runtime, "starting")
			emit(float64(pool.Idle), pool.Pack, pool.Runtime, "idle")
			emit(float64(pool.Busy), pool.Pack, pool.Runtime, "busy")
		}
	})
	r.Gauges("pool_waiting_calls", "Calls that wait for a slot, by pack and runtime.", []string{"pack", "runtime"}, func(emit Emit) {
		for _, pool := range stats().Pools {
			emit(float64(pool.Waiting), pool.Pack, pool.Runtime)
		}
	})
	r.Gauges("pool_budget_used", "What all instances take together: instances, memory_bytes (of their limits), cpu_cores.", []string{"resource"},
		func(emit Emit) { budget(emit, stats().Used) })
	r.Gauges("pool_budget_limit", "What they may take; 0 = no limit.", []string{"resource"},
		func(emit Emit) { budget(emit, stats().Limit) })
	r.Counts("instance_starts_total", "Starts of instances, by outcome.", []string{"outcome"}, func(emit Emit) {
		now := stats()
		emit(float64(now.Started), "started")
		emit(float64(now.StartsFailed), "failed")
	})
	r.Counts("instance_start_seconds_total", "Time that the starts which succeeded took together.", nil,
		func(emit Emit) { emit(stats().StartTime.Seconds()) })
	r.Counts("instance_removals_total", "Instances that were removed, by reason: evicted and yielded made room for others, idle had nothing to do, used served once, spoiled can't be used again, lost ended by themselves, replaced are of a pack that changed.",
		[]string{"reason"}, func(emit Emit) {
			for reason, n := range stats().Removed {
				emit(float64(n), reason)
			}
		})
	r.Counts("pool_refused_calls_total", "Calls that were refused because too many wait already.", nil,
		func(emit Emit) { emit(float64(stats().Refused)) })
}

func budget(emit Emit, b runtimes.Budget) {
	emit(float64(b.Instances), "instances")
	emit(float64(b.Memory), "memory_bytes")
	emit(b.CPU, "cpu_cores")
}

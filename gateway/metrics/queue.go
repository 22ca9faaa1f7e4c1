package metrics

import "attune/gateway/queue"

// Jobs shows the queue. stats is false while its store doesn't answer: then
// nothing is shown, rather than a number of before.
func Jobs(r *Registry, stats func() (queue.Stats, bool)) {
	r.Gauges("queue_jobs", "Asynchronous executions of all gateways on this store: waiting, claimed by one, dead.", []string{"state"}, func(emit Emit) {
		now, known := stats()
		if !known {
			return
		}
		emit(float64(now.Waiting), "waiting")
		emit(float64(now.Claimed), "claimed")
		emit(float64(now.Dead), "dead")
	})
}

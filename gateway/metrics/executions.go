package metrics

import (
	"sync"

	"attune/gateway/execution"
)

// Executions counts executions by action: rate, errors and duration of each.
type Executions struct {
	total *Counter
	took  *Histogram
	phase *Histogram

	byAction *handles[string, *actionHandles]
	keeping  sync.Mutex
}

// actionHandles are one action's.
type actionHandles struct {
	took                           *Observed
	queue, environment, start, run *Observed
	ended                          *handles[end, *Counted]
}

type end struct {
	status execution.Status
	code   string
}

var (
	executionBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	phaseBounds     = []float64{.001, .005, .025, .1, .5, 2.5, 10, 60}
)

// NewExecutions makes the metrics of executions.
func NewExecutions(r *Registry) *Executions {
	e := &Executions{
		total: r.Counter("executions_total", "Executions that have ended, by action, status, and code of the problem (empty = succeeded).", "action", "status", "code"),
		took:  r.Histogram("execution_duration_seconds", "Time from a call's arrival to the end of its execution.", executionBounds, "action"),
		phase: r.Histogram("execution_phase_duration_seconds", "Where that time went: waiting for a slot (queue) or an environment, starting an instance, running.", phaseBounds, "action", "phase"),
	}
	e.byAction = newHandles(func(action string) *actionHandles {
		return &actionHandles{
			took:  e.took.With(action),
			queue: e.phase.With(action, "queue"), environment: e.phase.With(action, "environment"),
			start: e.phase.With(action, "start"), run: e.phase.With(action, "run"),
			ended: newHandles(func(k end) *Counted { return e.total.With(action, string(k.status), k.code) }),
		}
	})
	return e
}

// Ended counts an execution that has ended, whose action was in the catalog when
// it began. It doesn't block.
func (e *Executions) Ended(x *execution.Execution) {
	h := e.byAction.of(x.Action)
	code := ""
	if x.Error != nil {
		code = x.Error.Code
	}
	h.ended.of(end{x.Status, code}).Inc()
	h.took.Observe(x.DurationMS / 1000)
	h.queue.Observe(x.Timing.Queue / 1000)
	h.environment.Observe(x.Timing.Environment / 1000)
	h.start.Observe(x.Timing.Start / 1000)
	h.run.Observe(x.Timing.Run / 1000)
}

// Keep forgets the actions that aren't known any more: packs come and go, and a
// gateway may live for months.
func (e *Executions) Keep(known func(action string) bool) {
	e.keeping.Lock()
	defer e.keeping.Unlock()
	for _, action := range e.byAction.keys() {
		if known(action) {
			continue
		}
		e.byAction.drop(func(other string) bool { return other == action })
		e.total.Forget("action", action)
		e.took.Forget("action", action)
		e.phase.Forget("action", action)
	}
}

// Recording shows what the recorder has before it.
func Recording(r *Registry, stats func() execution.Stats) {
	r.Gauges("executions_running", "Executions that have not ended, by status.", []string{"status"}, func(emit Emit) {
		now := stats()
		emit(float64(now.Queued), string(execution.StatusQueued))
		emit(float64(now.Running), string(execution.StatusRunning))
	})
	r.Gauge("recorder_pending_executions", "Ended executions that the store does not have yet.", func() float64 { return float64(stats().Pending) })
	r.Counts("recorder_lost_executions_total", "Ended executions that were never stored, because the store was away for too long.", nil,
		func(emit Emit) { emit(float64(stats().Lost)) })
}

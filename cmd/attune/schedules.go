package main

import (
	"context"
	"errors"

	"attune/gateway/execution"
	"attune/gateway/queue"
	"attune/gateway/schedule"
)

// newSchedules makes the clockwork of schedules, whose executions are the queue's.
func (g *gateway) newSchedules() *schedule.Clockwork {
	return schedule.New(schedule.Options{
		Catalog: g.packs.Catalog, Store: g.times, Queue: g.queue, Executions: queued{g.recorder, g.queue},
		GatewayID: g.id, Log: g.log,
	})
}

// queued are the executions that the queue has made.
type queued struct {
	*execution.Recorder
	queue *queue.Queue
}

// Cancel implements schedule.Executions.
func (q queued) Cancel(ctx context.Context, id string) error {
	if err := q.queue.Cancel(ctx, id); !errors.Is(err, queue.ErrNoJob) {
		return err
	}
	return nil // it has ended
}

package redis

import (
	"testing"

	"attune/gateway/schedule"
	"attune/gateway/schedule/scheduletest"
)

func TestSchedules(t *testing.T) {
	t.Parallel()
	scheduletest.Exercise(t, func(t *testing.T) schedule.Store { return mustOpen(t).Schedules() })
}

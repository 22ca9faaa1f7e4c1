package sqlite

import (
	"path/filepath"
	"testing"

	"attune/gateway/schedule"
	"attune/gateway/schedule/scheduletest"
)

func TestSchedules(t *testing.T) {
	t.Parallel()
	scheduletest.Exercise(t, func(t *testing.T) schedule.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "attune.db")).Schedules()
	})
}

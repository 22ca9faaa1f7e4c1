package sqlite

import (
	"path/filepath"
	"testing"

	"attune/gateway/queue/queuetest"
)

func TestJobs(t *testing.T) {
	t.Parallel()
	queuetest.Exercise(t, func(t *testing.T) queuetest.Pair {
		s := mustOpen(t, filepath.Join(t.TempDir(), "attune.db"))
		return queuetest.Pair{Jobs: s.Jobs(), Executions: s}
	})
}

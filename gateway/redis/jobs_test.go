package redis

import (
	"testing"

	"attune/gateway/queue/queuetest"
)

func TestJobs(t *testing.T) {
	t.Parallel()
	queuetest.Exercise(t, func(t *testing.T) queuetest.Pair {
		c := mustOpen(t)
		return queuetest.Pair{Jobs: c.Jobs(), Executions: c.Store()}
	})
}

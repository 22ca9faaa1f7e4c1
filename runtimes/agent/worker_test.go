package agent_test

import (
	"testing"
	"time"

	"attune/runtimes/agent"
)

// call is a call of a handler in testdata/warm.
func call(file, parameters string) agent.Call {
	return agent.Call{
		ID: "01TEST", Action: "pack.action", Pack: "pack", File: warmDir + "/" + file, Parameters: []byte(parameters),
		Deadline: time.Now().Add(20 * time.Second), ResultLimit: 1 << 20, StdoutLimit: 1 << 20, StderrLimit: 1 << 20,
	}
}

func TestWorkers(t *testing.T) { t.Parallel() }

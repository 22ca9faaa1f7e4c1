package execution

import (
	"testing"

	"attune/tests/kit"
)

// agentDir holds the agent that instances run.
var agentDir string

func TestMain(m *testing.M) {
	kit.MainWithAgent(m, func(dir string) { agentDir = dir })
}

package runtimes_test

import (
	"testing"

	"attune/runtimes"
	"attune/tests/kit"
)

func TestMain(m *testing.M) {
	kit.MainWithAgent(m, func(dir string) { runtimes.TestAgentDir = dir })
}

package envcache_test

import (
	"testing"

	"attune/envcache"
	"attune/envcache/leasetest"
	"attune/tests/kit"
)

func TestMain(m *testing.M) {
	leasetest.Hold(func(dir string) (envcache.Leaser, error) { return envcache.NewFileLeaser(dir), nil })
	kit.MainWithAgent(m, func(dir string) { envcache.TestAgentDir = dir })
}

package envcache_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"attune/envcache"
	"attune/envcache/leasetest"
	"attune/runtimes"
)

// TestMain builds the agent that builders run.
func TestMain(m *testing.M) {
	leasetest.Hold(func(dir string) (envcache.Leaser, error) { return envcache.NewFileLeaser(dir), nil })
	dir, err := buildAgent()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	envcache.TestAgentDir = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

func buildAgent() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "attune-agent-"); err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, runtimes.AgentFile), "attune/cmd/attune-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", errors.Join(fmt.Errorf("build the agent: %w", err), os.RemoveAll(dir))
	}
	return dir, os.Chmod(dir, 0o755)
}

package execution

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"attune/runtimes"
)

// agentDir holds the agent that instances run.
var agentDir string

func TestMain(m *testing.M) {
	if err := buildAgent(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(agentDir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

func buildAgent() (err error) {
	if agentDir, err = os.MkdirTemp("", "attune-agent-"); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(agentDir, runtimes.AgentFile), "attune/cmd/attune-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return errors.Join(fmt.Errorf("build the agent: %w", err), os.RemoveAll(agentDir))
	}
	return os.Chmod(agentDir, 0o755)
}

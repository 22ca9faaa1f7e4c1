package crash

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"attune/gateway/redis/redistest"
)

// agentDir holds the agent that TestMain has built.
var agentDir string

// TestMain is two programs: the tests, and the gateway that they start.
func TestMain(m *testing.M) {
	if configured := os.Getenv(childVariable); configured != "" {
		os.Exit(runChild(configured))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// atOnce is how many tests run side by side: they wait more than they work.
const atOnce = 8

func run(m *testing.M) (int, error) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel != nil {
		if n, err := strconv.Atoi(parallel.Value.String()); err == nil && n < atOnce {
			if err := parallel.Value.Set(strconv.Itoa(atOnce)); err != nil {
				return 1, err
			}
		}
	}
	dir, err := os.MkdirTemp("", "attune-agent-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "attune-agent"), "attune/cmd/attune-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, err
	}
	agentDir = dir
	return redistest.Main(m), nil
}

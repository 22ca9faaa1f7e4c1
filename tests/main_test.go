package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"attune/gateway/redis/redistest"
)

// bin is the directory of the two programs under test.
var bin string

// gateways are the IDs of all gateways that the tests have started.
var gateways struct {
	sync.Mutex
	ids []string
}

// known makes a gateway one of ours: its builders count, and nothing of it may
// be left.
func known(id string) {
	gateways.Lock()
	defer gateways.Unlock()
	gateways.ids = append(gateways.ids, id)
}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run builds the programs, runs the tests, and fails if a container is left.
func run(m *testing.M) (int, error) {
	// testcontainers' own reaper is an image from a registry; the sweep below
	// and t.Cleanup take its place.
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "" {
		os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	}
	if bin = os.Getenv("ATTUNE_TEST_BIN"); bin == "" {
		dir, err := os.MkdirTemp("", "attune-bin-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir, "./cmd/...") // as make does: the cache serves both
		build.Dir = ".."
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build the programs: %w\n%s", err, out)
		}
		bin = dir
	}
	code := redistest.Main(m)
	closed := closeShared()
	if created.stop != nil {
		created.stop()
	}
	return code, errors.Join(closed, leftovers())
}

// leftovers names the containers of our gateways that outlived them.
func leftovers() error {
	var left []string
	for _, id := range gateways.ids {
		out, err := exec.Command("docker", "ps", "-aq", "--filter", "label=attune.gateway="+id).Output()
		if err != nil && os.Getenv("CI")+os.Getenv("ATTUNE_REQUIRE_DOCKER") != "" {
			return fmt.Errorf("look for leftovers: %w", err)
		}
		if err != nil {
			return nil // no engine: nothing can be left
		}
		left = append(left, strings.Fields(string(out))...)
	}
	if len(left) == 0 {
		return nil
	}
	removed := exec.Command("docker", append([]string{"rm", "-fv"}, left...)...).Run()
	return errors.Join(fmt.Errorf("%d containers were left by the tests' gateways", len(left)), removed)
}

// program is the path of one of the two programs.
func program(name string) string { return filepath.Join(bin, name) }

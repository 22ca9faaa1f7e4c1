// Package kit is what the packages' own tests share: the agent built once,
// golden files, and waiting for what nothing tells.
package kit

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

// MainWithAgent is a TestMain: it builds the agent, tells its directory, runs
// the tests, and fails them if a goroutine is left.
func MainWithAgent(m *testing.M, use func(agentDir string)) {
	dir, err := buildAgent()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	use(dir)
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
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "attune-agent"), "attune/cmd/attune-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", errors.Join(fmt.Errorf("build the agent: %w", err), os.RemoveAll(dir))
	}
	return dir, os.Chmod(dir, 0o755)
}

var update = flag.Bool("update", false, "write the golden files anew")

// Golden compares with testdata/<name>, which -update writes.
func Golden(t testing.TB, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; go test -update writes it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// GoldenJSON compares the JSON of a value with testdata/<name>.
func GoldenJSON(t testing.TB, name string, value any) {
	t.Helper()
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(value); err != nil {
		t.Fatal(err)
	}
	Golden(t, name, got.Bytes())
}

// patience is for a machine under load.
const patience = 30 * time.Second

// Until asks again and again: nothing tells when it becomes true.
func Until(t testing.TB, done func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	timeout := time.After(patience)
	for !done() {
		select {
		case <-again.C:
		case <-timeout:
			t.Fatalf("nothing happened for %v", patience)
		}
	}
}

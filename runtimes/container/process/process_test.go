package process_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/runtimes/container/process"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newEngine(t *testing.T) *process.Engine {
	engine := process.New(process.Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("Close(): %v", err)
		}
	})
	return engine
}

func TestEngine(t *testing.T) {
	t.Parallel()
	containertest.Exercise(t, func(t *testing.T) container.Engine { return newEngine(t) }, containertest.Fixture{
		Image: "any",
		Kill: func(t *testing.T, c container.Container) {
			if err := syscall.Kill(process.Group(c), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
	})
}

// spec is a container of the engine that runs a script.
func spec(t *testing.T, engine *process.Engine, script string) container.Spec {
	image, err := engine.Image(t.Context(), "any")
	if err != nil {
		t.Fatal(err)
	}
	s := containertest.Spec(image.ID, "test", "/bin/sh", "-c", script)
	s.KeepLogs = true
	return s
}

// TestImageID pins an ID: environments are built for it.
func TestImageID(t *testing.T) {
	t.Parallel()
	image, err := newEngine(t).Image(t.Context(), "python:3.13-slim")
	if err != nil || !strings.HasPrefix(image.ID, "sha256:") || len(image.ID) != 71 {
		t.Fatalf("Image() = %+v, %v", image, err)
	}
	const amd64 = "sha256:56bb25dae1f3260c6114a58c7777b15a06a5ca824a7f18d2a269d792bbf553c0"
	if image.OS+"/"+image.Arch == "linux/amd64" && image.ID != amd64 {
		t.Errorf("ID = %s, want %s", image.ID, amd64)
	}
	if other, err := newEngine(t).Image(t.Context(), "python:3.12-slim"); err != nil || other.ID == image.ID {
		t.Errorf("another reference has ID %s, %v", other.ID, err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(e *process.Engine, c container.Container) error{
		"Remove": func(_ *process.Engine, c container.Container) error { return c.Remove(t.Context()) },
		"Close":  func(e *process.Engine, _ container.Container) error { return e.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			engine := newEngine(t)
			c := containertest.Start(t, engine, spec(t, engine, "sleep 100000 & echo $!; wait"))
			read, write := io.Pipe()
			done := make(chan error, 1)
			go func() { done <- c.Logs(t.Context(), write) }()
			line, err := bufio.NewReader(read).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			child, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			group := process.Group(c)
			if err := end(engine, c); err != nil {
				t.Fatalf("%s(): %v", name, err)
			}
			for _, pid := range []int{child, group} {
				if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !bytes.Contains(stat, []byte(") Z ")) {
					t.Errorf("process %d is left: %s", pid, stat)
				}
			}
			if err := <-done; err != nil {
				t.Errorf("Logs() = %v", err)
			}
		})
	}
}

// A process that left the group with setsid is out of reach, but must not hold
// up the result.
func TestEscapedProcessDoesNotHoldTheExit(t *testing.T) {
	t.Parallel()
	engine := newEngine(t)
	exit, output := containertest.Run(t, engine, spec(t, engine, "setsid sleep 5 & echo done; exit 3"))
	if exit.Code != 3 || output != "done\n" {
		t.Errorf("exit = %+v, output %q", exit, output)
	}
}

func TestMountsCanNotMove(t *testing.T) {
	t.Parallel()
	engine := newEngine(t)
	s := spec(t, engine, "true")
	s.Mounts = []container.Mount{{Source: t.TempDir(), Target: "/opt/attune/packs/p"}}
	if _, err := engine.Create(t.Context(), s); err == nil {
		t.Error("Create() = nil, want an error")
	}
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	engine := newEngine(t)
	c := containertest.Start(t, engine, spec(t, engine, "seq 1 400000"))
	if _, err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	if err := c.Logs(t.Context(), &output); err != nil {
		t.Fatal(err)
	}
	if output.Len() != 1<<20 || !bytes.HasSuffix(output.Bytes(), []byte("\n399999\n400000\n")) {
		t.Errorf("%d bytes are kept, the last %q", output.Len(), output.Bytes()[output.Len()-20:])
	}
}

func TestClosedEngine(t *testing.T) {
	t.Parallel()
	engine := newEngine(t)
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.Create(t.Context(), spec(t, engine, "true")); !errors.Is(err, container.ErrUnavailable) {
		t.Errorf("Create() = %v, want ErrUnavailable", err)
	}
}

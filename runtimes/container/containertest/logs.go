package containertest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/runtimes/container"
)

func exerciseLogs(t *testing.T, b *bench) {
	t.Run("both streams, from the beginning, as often as wanted", func(t *testing.T) {
		c := Start(t, b.engine, b.spec("echo out; echo err >&2"))
		wait(t, c)
		for range 2 {
			if output := logs(t, c); sorted(output) != "err\nout" {
				t.Errorf("output = %q", output)
			}
		}
	})
	t.Run("the last line is never lost", func(t *testing.T) {
		for range 5 {
			_, output := Run(t, b.engine, b.spec("seq 1 20000"))
			if !strings.HasPrefix(output, "1\n2\n") || !strings.HasSuffix(output, "\n19999\n20000\n") || len(output) != 108894 {
				t.Errorf("output of %d bytes ends with %q", len(output), output[max(0, len(output)-20):])
			}
		}
	})
	t.Run("follow", func(t *testing.T) { exerciseFollow(t, b) })
	t.Run("a writer's error is the caller's own", func(t *testing.T) {
		c := Start(t, b.engine, b.spec(blocks))
		err := c.Logs(t.Context(), failingWriter{})
		if !errors.Is(err, errWriter) || errors.Is(err, container.ErrUnavailable) {
			t.Errorf("Logs() = %v, want %v", err, errWriter)
		}
	})
	t.Run("output is discarded unless kept", func(t *testing.T) {
		spec := b.spec("echo secret")
		spec.KeepLogs = false
		if exit, output := Run(t, b.engine, spec); exit.Code != 0 || output != "" {
			t.Errorf("exit = %+v, output = %q", exit, output)
		}
	})
}

// exerciseFollow reads a line while the container runs, which only then goes on.
func exerciseFollow(t *testing.T, b *bench) {
	dir := t.TempDir()
	spec := b.spec(fmt.Sprintf("echo one; until [ -e %s/go ]; do sleep 0.02; done; echo two", dir))
	spec.Mounts = []container.Mount{{Source: dir, Target: dir, ReadOnly: true}}
	c := Start(t, b.engine, spec)

	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := c.Logs(t.Context(), write)
		write.CloseWithError(err)
		done <- err
	}()
	first := make([]byte, len("one\n"))
	if _, err := io.ReadFull(read, first); err != nil || string(first) != "one\n" {
		t.Fatalf("first line = %q, %v", first, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(read); err != nil || string(rest) != "two\n" {
		t.Errorf("rest = %q, %v", rest, err)
	}
	if err := <-done; err != nil {
		t.Errorf("Logs() = %v", err)
	}
}

var errWriter = errors.New("writer is full")

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errWriter }

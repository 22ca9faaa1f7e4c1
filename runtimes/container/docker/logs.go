package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"attune/runtimes/container"

	"github.com/containerd/errdefs"
	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// Logs follows, and reads once more after the exit: a Docker 20.10 that follows
// stops at the exit with what it had read by then, not with what was written.
func (i *instance) Logs(ctx context.Context, w io.Writer) error {
	out := &messages{w: w}
	err := i.copyLogs(ctx, out, true)
	if err != nil && !errdefs.IsNotImplemented(err) { // nothing is kept
		return err
	}
	_, waitErr := i.Wait(ctx)
	switch {
	case errors.Is(waitErr, container.ErrNoContainer):
		return nil // it was removed meanwhile, and its output with it
	case waitErr != nil || err != nil:
		return waitErr
	}
	return i.copyLogs(ctx, out, false)
}

func (i *instance) copyLogs(ctx context.Context, out *messages, follow bool) error {
	stream, err := i.engine.client.ContainerLogs(ctx, i.id, api.LogsOptions{
		ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow, Since: out.resume(),
	})
	if err != nil {
		return i.wrap(ctx, "read logs of", err)
	}
	_, err = stdcopy.StdCopy(out, out, stream)
	err = closeAfter(err, stream.Close)
	if out.err != nil {
		return fmt.Errorf("write logs of container %s: %w", i.name, out.err)
	}
	return i.wrap(ctx, "read logs of", err)
}

// messages takes one message of a log with each Write, headed by its time, and
// knows where to go on.
type messages struct {
	w    io.Writer
	err  error  // of w: it must not look like the engine's
	last string // time of the newest message; such times sort as text
	at   int    // how many messages had that time
	skip int    // how many of those are still to come a second time
}

// resume returns the time from which to read on; it is inclusive.
func (m *messages) resume() string {
	m.skip = m.at
	return m.last
}

func (m *messages) Write(p []byte) (int, error) {
	stamp, text, _ := bytes.Cut(p, []byte(" "))
	switch time := string(stamp); {
	case time == m.last && m.skip > 0:
		m.skip--
		return len(p), nil
	case time == m.last:
		m.at++
	case time > m.last:
		m.last, m.at, m.skip = time, 1, 0
	}
	if _, err := m.w.Write(text); err != nil {
		m.err = err
		return 0, err
	}
	return len(p), nil
}

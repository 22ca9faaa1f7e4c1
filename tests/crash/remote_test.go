package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"

	"attune/runtimes/container"
)

var (
	_ container.Engine    = (*remote)(nil)
	_ container.Container = (*borrowed)(nil)
)

// remote is an engine in another process, behind a Unix socket: what it runs
// outlives the gateway that asked for it.
type remote struct{ client *http.Client }

func newRemote(socket string) *remote {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &remote{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 4}}}
}

func (e *remote) call(ctx context.Context, method string, ask request) (reply, error) {
	var answer reply
	body, err := e.post(ctx, method, ask)
	if err != nil {
		return answer, ended(ctx, method, err)
	}
	defer body.Body.Close()
	if err := json.NewDecoder(body.Body).Decode(&answer); err != nil {
		return answer, ended(ctx, method, fmt.Errorf("%w: %w", container.ErrUnavailable, err))
	}
	if answer.Fault != nil {
		return answer, ended(ctx, method, answer.Fault)
	}
	return answer, nil
}

func (e *remote) post(ctx context.Context, method string, ask request) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/"+method, bytes.NewReader([]byte(encode(ask))))
	if err != nil {
		return nil, err
	}
	response, err := e.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", container.ErrUnavailable, err)
	}
	return response, nil
}

// change is a call that is over at once, and whose outcome must not stay
// unknown: it goes on when its caller has left.
func (e *remote) change(ctx context.Context, method string, ask request) (reply, error) {
	if err := container.Ended(ctx); err != nil {
		return reply{}, fmt.Errorf("%s: %w", method, err)
	}
	return e.call(context.WithoutCancel(ctx), method, ask)
}

func (e *remote) Info(ctx context.Context) (container.Info, error) {
	answer, err := e.call(ctx, "info", request{})
	return answer.Info, err
}

func (e *remote) Image(ctx context.Context, ref string) (container.Image, error) {
	answer, err := e.call(ctx, "image", request{Ref: ref})
	return answer.Image, err
}

func (e *remote) Create(ctx context.Context, spec container.Spec) (container.Container, error) {
	answer, err := e.change(ctx, "create", request{Spec: &spec})
	if err != nil {
		return nil, err
	}
	return &borrowed{e, answer.Found[0]}, nil
}

func (e *remote) Find(ctx context.Context, labels map[string]string) ([]container.Container, error) {
	answer, err := e.call(ctx, "find", request{Labels: labels})
	if err != nil {
		return nil, err
	}
	found := []container.Container{}
	for _, d := range answer.Found {
		found = append(found, &borrowed{e, d})
	}
	return found, nil
}

// Close implements container.Engine. The engine itself is its owner's.
func (e *remote) Close() error {
	e.client.CloseIdleConnections()
	return nil
}

// borrowed is a container of an engine in another process.
type borrowed struct {
	engine *remote
	is     described
}

func (c *borrowed) ID() string                { return c.is.ID }
func (c *borrowed) Name() string              { return c.is.Name }
func (c *borrowed) Labels() map[string]string { return c.is.Labels }

func (c *borrowed) Start(ctx context.Context) error {
	_, err := c.engine.change(ctx, "start", request{ID: c.is.ID})
	return err
}

func (c *borrowed) State(ctx context.Context) (container.State, error) {
	answer, err := c.engine.call(ctx, "state", request{ID: c.is.ID})
	return answer.State, err
}

func (c *borrowed) Wait(ctx context.Context) (container.Exit, error) {
	answer, err := c.engine.call(ctx, "wait", request{ID: c.is.ID})
	return answer.Exit, err
}

func (c *borrowed) Remove(ctx context.Context) error {
	_, err := c.engine.call(ctx, "remove", request{ID: c.is.ID})
	return err
}

func (c *borrowed) Logs(ctx context.Context, w io.Writer) error {
	response, err := c.engine.post(ctx, "logs", request{ID: c.is.ID})
	if err != nil {
		return ended(ctx, "logs", err)
	}
	defer response.Body.Close()
	own := &remembering{Writer: w}
	if _, err := io.Copy(own, response.Body); err != nil {
		if own.err != nil {
			return own.err
		}
		return ended(ctx, "logs", fmt.Errorf("%w: %w", container.ErrUnavailable, err))
	}
	trailer := response.Trailer.Get(faultTrailer)
	if trailer == "" {
		return nil
	}
	var f fault
	if err := json.Unmarshal([]byte(trailer), &f); err != nil {
		return err
	}
	return ended(ctx, "logs", &f)
}

// remembering tells a writer's own error from a reader's.
type remembering struct {
	io.Writer
	err error
}

func (r *remembering) Write(p []byte) (n int, err error) {
	n, r.err = r.Writer.Write(p)
	return n, r.err
}

// encode is for what can always be encoded.
func encode(v any) string {
	content, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(content)
}

// Package docker runs containers on a Docker engine, each of them hardened the
// same way whatever is asked for. It is the only importer of the Docker client.
package docker

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"attune/runtimes/container"

	api "github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"
)

var _ container.Engine = (*Engine)(nil)

const (
	// minAPIVersion is the first that knows private cgroup namespaces: an older
	// engine (before 20.10) would ignore the wish silently.
	minAPIVersion = "1.41"
	// subpathAPIVersion is the first that mounts a directory of a volume.
	subpathAPIVersion = "1.45"
)

// Options of an Engine; the zero value is a good default.
type Options struct {
	// Host is the engine's address, "unix:///var/run/docker.sock". Defaults to
	// DOCKER_HOST, then to the client's own default.
	Host string
	// CreateTimeout bounds one create on the engine. Defaults to a minute.
	CreateTimeout time.Duration
	// RemoveTimeout bounds one removal. Defaults to 30 seconds.
	RemoveTimeout time.Duration
	// RequestTimeout bounds every other question that the engine answers at once
	// unless it hangs. Defaults to a minute.
	RequestTimeout time.Duration
	Logger         *slog.Logger // Defaults to slog.Default()
}

// Engine is a connection to a Docker engine.
type Engine struct {
	client  *client.Client
	options Options
	log     *slog.Logger
	paths   paths

	creating sync.WaitGroup // creates that go on after their caller has left
	images   sync.Map       // image ID to imageFacts; an ID's content never changes
	warned   sync.Map       // warnings of the engine that were logged already
}

// New connects to an engine and learns how it sees the gateway's files.
// container.ErrUnavailable if the engine does not answer.
func New(ctx context.Context, options Options) (*Engine, error) {
	options.CreateTimeout = cmp.Or(options.CreateTimeout, time.Minute)
	options.RemoveTimeout = cmp.Or(options.RemoveTimeout, 30*time.Second)
	options.RequestTimeout = cmp.Or(options.RequestTimeout, time.Minute)
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if options.Host != "" {
		opts = append(opts, client.WithHost(options.Host))
	}
	c, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, fmt.Errorf("configure docker client: %w", err)
	}
	e := &Engine{client: c, options: options, log: cmp.Or(options.Logger, slog.Default())}
	if err := e.connect(ctx); err != nil {
		return nil, closeAfter(err, c.Close)
	}
	return e, nil
}

func (e *Engine) connect(ctx context.Context) error {
	ping, err := ask(ctx, e, e.client.Ping)
	if err != nil {
		return fmt.Errorf("connect to docker: %w", portError(ctx, err, nil))
	}
	e.client.NegotiateAPIVersionPing(ping)
	if v := e.client.ClientVersion(); versions.LessThan(v, minAPIVersion) {
		return fmt.Errorf("docker at %s speaks API %s; at least %s (Docker 20.10) is needed", e.client.DaemonHost(), v, minAPIVersion)
	}
	self, err := e.findSelf(ctx)
	if err != nil {
		return fmt.Errorf("find the gateway's own container: %w", err)
	}
	e.paths = paths{self: self, subpath: e.subpathMounts()}
	return nil
}

// ask bounds a question to the engine. One that got no answer in time is as good
// as unavailable, though its connection stands: the caller's own ctx has not
// ended, by which portError tells the two apart.
func ask[T any](ctx context.Context, e *Engine, question func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, e.options.RequestTimeout)
	defer cancel()
	return question(ctx)
}

// Close waits for creates whose callers have left, and closes the connection.
func (e *Engine) Close() error {
	e.creating.Wait()
	return e.client.Close()
}

// Info describes the engine.
func (e *Engine) Info(ctx context.Context) (container.Info, error) {
	version, err := ask(ctx, e, e.client.ServerVersion)
	if err != nil {
		return container.Info{}, fmt.Errorf("ask docker for its version: %w", portError(ctx, err, nil))
	}
	info, err := ask(ctx, e, e.client.Info)
	if err != nil {
		return container.Info{}, fmt.Errorf("ask docker about itself: %w", portError(ctx, err, nil))
	}
	return container.Info{
		Name:          "docker",
		Version:       version.Version,
		APIVersion:    e.client.ClientVersion(),
		Isolated:      true,
		SubpathMounts: e.subpathMounts(),
		SameMachine:   e.paths.self == nil && strings.HasPrefix(e.client.DaemonHost(), "unix://"),
		OSType:        version.Os,
		Architecture:  version.Arch,
		RootDir:       info.DockerRootDir,
	}, nil
}

func (e *Engine) subpathMounts() bool {
	return versions.GreaterThanOrEqualTo(e.client.ClientVersion(), subpathAPIVersion)
}

// Image resolves a reference.
func (e *Engine) Image(ctx context.Context, ref string) (container.Image, error) {
	found, err := e.inspectImage(ctx, ref)
	if err != nil {
		return container.Image{}, fmt.Errorf("inspect image %q: %w", ref, portError(ctx, err, container.ErrNoImage))
	}
	return container.Image{
		Ref: ref, ID: found.ID, Volumes: factsOf(found).volumes, OS: found.Os, Arch: found.Architecture,
	}, nil
}

// Create makes a container.
func (e *Engine) Create(ctx context.Context, spec container.Spec) (container.Container, error) {
	if err := spec.Validate(); err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	if err := container.CheckSources(spec.Mounts); err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	if spec.Name == "" {
		spec.Name = "attune-" + strings.ToLower(rand.Text())
	}
	request, err := e.compile(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", spec.Name, err)
	}
	id, err := e.create(ctx, spec.Name, request)
	if err != nil {
		return nil, fmt.Errorf("create container %s: %w", spec.Name, err)
	}
	return &instance{engine: e, id: id, name: spec.Name, labels: request.config.Labels}, nil
}

// compile gathers what the translation needs to know, then translates.
func (e *Engine) compile(ctx context.Context, spec container.Spec) (request, error) {
	mounts, err := e.paths.translate(spec.Mounts)
	if err != nil {
		return request{}, err
	}
	image, err := e.facts(ctx, spec.Image)
	if err != nil {
		return request{}, err
	}
	if open := image.writable(spec); len(open) > 0 {
		return request{}, fmt.Errorf("image %s declares volumes that would be writable: %q", spec.Image, open)
	}
	return convert(spec, mounts, image), nil
}

type created struct {
	id  string
	err error
}

// create goes on when ctx ends, because the engine would: an abandoned create
// makes its container all the same, and nobody knew its ID. So the ID is waited
// for beside the caller, and the container removed.
func (e *Engine) create(ctx context.Context, name string, r request) (string, error) {
	done := make(chan created)
	e.creating.Go(func() {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.options.CreateTimeout)
		defer cancel()
		response, err := e.client.ContainerCreate(detached, r.config, r.host, nil, nil, name)
		e.warn(detached, response.Warnings)
		select {
		case done <- created{response.ID, e.createError(detached, r.config.Image, err)}:
		case <-ctx.Done():
			e.abandon(context.WithoutCancel(ctx), name, response.ID)
		}
	})
	select {
	case c := <-done:
		return c.id, c.err
	case <-ctx.Done():
		return "", container.Ended(ctx)
	}
}

func (e *Engine) abandon(ctx context.Context, name, id string) {
	if id == "" {
		return
	}
	if err := (&instance{engine: e, id: id, name: name}).Remove(ctx); err != nil {
		e.log.WarnContext(ctx, "container of an abandoned create stays", "container", name, "error", err)
	}
}

// warn logs each warning of the engine once: a limit that the kernel can't keep
// is worth a line, but not one per container.
func (e *Engine) warn(ctx context.Context, warnings []string) {
	for _, w := range warnings {
		if _, known := e.warned.LoadOrStore(w, true); !known {
			e.log.WarnContext(ctx, "docker warns about a container's settings", "warning", w)
		}
	}
}

// Find returns the containers that carry all the labels.
func (e *Engine) Find(ctx context.Context, labels map[string]string) ([]container.Container, error) {
	filter := filters.NewArgs()
	for key, value := range labels {
		filter.Add("label", key+"="+value)
	}
	found, err := ask(ctx, e, func(ctx context.Context) ([]api.Summary, error) {
		return e.client.ContainerList(ctx, api.ListOptions{All: true, Filters: filter})
	})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", portError(ctx, err, nil))
	}
	instances := make([]container.Container, 0, len(found))
	for _, summary := range found {
		instances = append(instances, &instance{engine: e, id: summary.ID, name: nameOf(summary), labels: summary.Labels})
	}
	slices.SortFunc(instances, func(a, b container.Container) int { return cmp.Compare(a.Name(), b.Name()) })
	return instances, nil
}

// nameOf skips the aliases that links once gave to containers.
func nameOf(summary api.Summary) string {
	for _, name := range summary.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			return name
		}
	}
	return ""
}

// Package process is an engine for development and tests whose containers are
// plain child processes: same contract, no isolation, no limits, no root.
//
// A program sees the machine's own files, network, users and processes. User,
// Network, CapAdd, Tmpfs, Limits and Runtime of a Spec have no effect. The
// processes die with the gateway.
package process

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"

	"attune/runtimes/container"
)

var _ container.Engine = (*Engine)(nil)

// Options of an Engine; the zero value is a good default.
type Options struct {
	Logger *slog.Logger // Defaults to slog.Default()
}

// Engine holds the processes that it started.
type Engine struct {
	log *slog.Logger

	mu     sync.Mutex
	closed bool
	byName map[string]*instance // until removed
}

// New returns an engine without containers.
func New(options Options) *Engine {
	log := cmp.Or(options.Logger, slog.Default())
	log.Warn("containers are plain child processes: nothing isolates actions from this machine, nor from each other")
	return &Engine{log: log, byName: make(map[string]*instance)}
}

// Info describes the engine.
func (e *Engine) Info(ctx context.Context) (container.Info, error) {
	return container.Info{Name: "process", SameMachine: true, OSType: runtime.GOOS, Architecture: runtime.GOARCH}, container.Ended(ctx)
}

// Image accepts every reference: the machine is the image. The ID is the same
// for the same reference on the same kind of machine.
func (e *Engine) Image(ctx context.Context, ref string) (container.Image, error) {
	if ref == "" {
		return container.Image{}, fmt.Errorf("image %q: %w", ref, container.ErrNoImage)
	}
	sum := sha256.Sum256([]byte("process\x00" + runtime.GOOS + "/" + runtime.GOARCH + "\x00" + ref))
	return container.Image{
		Ref: ref, ID: fmt.Sprintf("sha256:%x", sum), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}, container.Ended(ctx)
}

// Create records a container.
func (e *Engine) Create(ctx context.Context, spec container.Spec) (container.Container, error) {
	if err := cmp.Or(container.Ended(ctx), spec.Validate(), unmoved(spec.Mounts), container.CheckSources(spec.Mounts)); err != nil {
		return nil, fmt.Errorf("create container: %w", err)
	}
	id := strings.ToLower(rand.Text())
	spec.Name = cmp.Or(spec.Name, "attune-"+id)
	i := newInstance(e, id, spec)

	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("create container %s: %w: it is closed", spec.Name, container.ErrUnavailable)
	}
	if e.byName[spec.Name] != nil {
		return nil, fmt.Errorf("create container %s: %w", spec.Name, container.ErrNameTaken)
	}
	e.byName[spec.Name] = i
	return i, nil
}

// unmoved refuses what a process can't have: files at another path.
func unmoved(mounts []container.Mount) error {
	for _, m := range mounts {
		if m.Source != m.Target {
			return fmt.Errorf("mount %s at %s: the process engine can't show files at another path", m.Source, m.Target)
		}
	}
	return nil
}

// Find returns the containers that carry all the labels, by name.
func (e *Engine) Find(ctx context.Context, labels map[string]string) ([]container.Container, error) {
	if err := container.Ended(ctx); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	found := []container.Container{}
	for _, i := range e.all() {
		if carries(i.spec.Labels, labels) {
			found = append(found, i)
		}
	}
	return found, nil
}

func carries(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

func (e *Engine) all() []*instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Values(e.byName), func(a, b *instance) int { return cmp.Compare(a.Name(), b.Name()) })
}

func (e *Engine) forget(i *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byName[i.spec.Name] == i {
		delete(e.byName, i.spec.Name)
	}
}

// Close removes all containers.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	var errs []error
	for _, i := range e.all() {
		errs = append(errs, i.Remove(context.Background()))
	}
	return errors.Join(errs...)
}

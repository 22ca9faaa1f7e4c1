package docker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"attune/runtimes/container"

	"github.com/docker/docker/api/types/image"
)

// imageFacts is what an image would add to its containers by itself.
type imageFacts struct {
	volumes []string // sorted
	envKeys []string // sorted
}

func factsOf(found image.InspectResponse) imageFacts {
	if found.Config == nil {
		return imageFacts{}
	}
	keys := make(map[string]bool)
	for _, variable := range found.Config.Env {
		key, _, _ := strings.Cut(variable, "=")
		keys[key] = true
	}
	return imageFacts{
		volumes: slices.Sorted(maps.Keys(found.Config.Volumes)),
		envKeys: slices.Sorted(maps.Keys(keys)),
	}
}

func (e *Engine) inspectImage(ctx context.Context, ref string) (image.InspectResponse, error) {
	return ask(ctx, e, func(ctx context.Context) (image.InspectResponse, error) { return e.client.ImageInspect(ctx, ref) })
}

// facts of an image, remembered because its ID is its content.
func (e *Engine) facts(ctx context.Context, id string) (imageFacts, error) {
	if known, ok := e.images.Load(id); ok {
		return known.(imageFacts), nil
	}
	found, err := e.inspectImage(ctx, id)
	if err != nil {
		return imageFacts{}, fmt.Errorf("inspect image: %w", portError(ctx, err, container.ErrNoImage))
	}
	facts := factsOf(found)
	e.images.Store(id, facts)
	return facts, nil
}

// writable returns the image's volumes that the spec doesn't cover: the engine
// would give each a fresh writable directory on disk, without any limit.
func (f imageFacts) writable(spec container.Spec) []string {
	covered := make(map[string]bool)
	for _, m := range spec.Mounts {
		covered[m.Target] = true
	}
	for _, t := range spec.Tmpfs {
		covered[t.Path] = true
	}
	return slices.DeleteFunc(slices.Clone(f.volumes), func(v string) bool { return covered[v] })
}

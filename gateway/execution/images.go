package execution

import (
	"context"
	"fmt"
	"sync"

	"attune/runtimes"
	"attune/runtimes/container"
)

// Images resolves the images of runtimes to IDs, once: containers are created
// from IDs, so that every instance of a runtime is made of the same image until
// the gateway is told to look again.
type Images struct {
	engine container.Engine
	// admit decides whether containers may be made at all, each time an image
	// was looked up.
	admit func(context.Context, container.Image) error

	byRT sync.Map // runtime name → container.Image
}

// NewImages returns an empty cache over an engine. admit is asked before an
// image is used for the first time; its error keeps the image from being used.
func NewImages(engine container.Engine, admit func(context.Context, container.Image) error) *Images {
	return &Images{engine: engine, admit: admit}
}

// Resolve returns the image of a runtime. Errors: container.ErrNoImage,
// container.ErrUnavailable; an image that declares a VOLUME is refused, because
// what is mounted there is writable whatever else is said.
func (i *Images) Resolve(ctx context.Context, rt *runtimes.Runtime) (container.Image, error) {
	if image, ok := i.byRT.Load(rt.Name); ok {
		return image.(container.Image), nil
	}
	image, err := i.engine.Image(ctx, rt.Image)
	if err != nil {
		return container.Image{}, fmt.Errorf("image %s of runtime %s: %w", rt.Image, rt.Name, err)
	}
	if len(image.Volumes) > 0 {
		return container.Image{}, fmt.Errorf("image %s of runtime %s declares VOLUME %v, which would be writable: %w",
			rt.Image, rt.Name, image.Volumes, errBadImage)
	}
	if err := i.admit(ctx, image); err != nil {
		return container.Image{}, err
	}
	i.byRT.Store(rt.Name, image)
	return image, nil
}

// Refresh forgets what was resolved.
func (i *Images) Refresh() { i.byRT.Clear() }

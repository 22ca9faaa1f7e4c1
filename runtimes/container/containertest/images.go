package containertest

import (
	"errors"
	"testing"

	"attune/runtimes/container"
)

func exerciseImages(t *testing.T, b *bench) {
	t.Run("a reference has one ID", func(t *testing.T) {
		again, err := b.engine.Image(t.Context(), b.fixture.Image)
		if err != nil || again.ID != b.image.ID {
			t.Errorf("Image(%q) = %s, %v; before it was %s", b.fixture.Image, again.ID, err, b.image.ID)
		}
		if b.image.Ref != b.fixture.Image || b.image.OS == "" || b.image.Arch == "" {
			t.Errorf("Image() = %+v, want the reference, the system and the architecture", b.image)
		}
	})
	t.Run("an empty reference is no image", func(t *testing.T) {
		if _, err := b.engine.Image(t.Context(), ""); !errors.Is(err, container.ErrNoImage) {
			t.Errorf("Image() = %v, want ErrNoImage", err)
		}
	})
	t.Run("a missing image", func(t *testing.T) {
		if b.fixture.MissingImage == "" {
			t.Skip("this engine has every image")
		}
		if _, err := b.engine.Image(t.Context(), b.fixture.MissingImage); !errors.Is(err, container.ErrNoImage) {
			t.Errorf("Image() = %v, want ErrNoImage", err)
		}
		spec := b.spec("true")
		spec.Image = b.fixture.MissingImage
		if _, err := b.engine.Create(t.Context(), spec); !errors.Is(err, container.ErrNoImage) {
			t.Errorf("Create() = %v, want ErrNoImage", err)
		}
	})
	t.Run("the engine describes itself", func(t *testing.T) {
		info, err := b.engine.Info(t.Context())
		if err != nil || info.Name == "" || info.OSType == "" || info.Architecture == "" {
			t.Errorf("Info() = %+v, %v", info, err)
		}
	})
}

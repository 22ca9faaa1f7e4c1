package envcache

import (
	"context"
	"errors"
	"os"
	"strings"
)

// RemoveDeserted removes the environments of packs that don't exist any more: of those
// that were deleted while no gateway looked. One that anybody uses stays, for
// another gateway may have a pack that this one doesn't.
func (c *Cache) RemoveDeserted(ctx context.Context, exists func(pack string) bool) error {
	entries, err := os.ReadDir(c.volume.packs())
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		pack, runtime, wished := strings.Cut(entry.Name(), "@")
		switch {
		case exists(pack):
		case !wished:
			errs = append(errs, c.volume.forgetIdentity(pack))
		case isName(pack) && isName(runtime):
			errs = append(errs, c.removeUnused(ctx, pack, runtime))
		}
	}
	return errors.Join(errs...)
}

func (c *Cache) removeUnused(ctx context.Context, pack, runtime string) error {
	w, err := c.volume.wish(pack, runtime)
	if err != nil {
		return err
	}
	for _, digest := range w.kept(maxHistory) {
		release, err := c.volume.seize(digest)
		if release == nil {
			return err // held
		}
		used, err := c.used(ctx, digest)
		release()
		if used || err != nil {
			return err
		}
	}
	return c.Remove(ctx, pack, runtime)
}

// Has tells whether anything is known of an environment on the volume, whether
// or not there is still a pack that asks for it.
func (c *Cache) Has(pack, runtime string) bool {
	return c.volume.wishStamp(pack, runtime) != stamp{}
}

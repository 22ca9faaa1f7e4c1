package envcache

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"attune/runtimes/container"
)

// Environment is a published generation. Its files never change, and stay as
// long as somebody holds it.
type Environment struct {
	Digest string
	Dir    string          // as the gateway sees it
	Image  container.Image // it was built in, and works in

	identity  string        // of the pack
	buildTime time.Duration // of its build, for estimates
	reference *os.File      // holds a shared lock: pruning leaves referenced generations alone
	holders   atomic.Int64
}

// Release ends the caller's hold on the environment: from then on it may be
// pruned. Call it once for each Ensure.
func (e *Environment) Release() {
	if e.holders.Add(-1) == 0 {
		_ = unlock(e.reference) // it was only read
	}
}

// hold adds a holder; false if the last one has gone already.
func (e *Environment) hold() bool {
	for {
		holders := e.holders.Load()
		if holders == 0 {
			return false
		}
		if e.holders.CompareAndSwap(holders, holders+1) {
			return true
		}
	}
}

// open takes a reference on a generation and then tests its marker, in that
// order: what is referenced is not pruned. nil if it isn't published. The caller
// is its first holder.
func (c *Cache) open(digest string) (*Environment, error) {
	reference, err := os.OpenFile(c.volume.reference(digest), os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(reference.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		reference.Close()
		return nil, nil // it is being pruned: as good as gone
	}
	if err := c.References.Hold(c.ctx, digest); err != nil {
		// Only a prune on another machine could hurt, and it needs the same
		// service to dare.
		c.Log.Warn("other machines can't be told that an environment is in use", "digest", digest, "error", err)
	}
	marker, err := c.volume.published(digest)
	if err != nil || marker == nil {
		return nil, errors.Join(err, unlock(reference))
	}
	env := &Environment{
		Digest: digest, Dir: c.volume.generation(digest), reference: reference,
		Image:    container.Image{ID: marker.Image, OS: marker.Inputs.OS, Arch: marker.Inputs.Arch},
		identity: marker.Inputs.Identity, buildTime: time.Duration(marker.BuildMS) * time.Millisecond,
	}
	env.holders.Store(1)
	return env, nil
}

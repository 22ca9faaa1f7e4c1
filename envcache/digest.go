package envcache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// digested is what a recipe's files ask for, and what it gets.
type digested struct {
	digest string // the generation to serve: what is asked for, unless somebody went back
	asked  string // digest of inputs
	inputs inputs
	// revision orders generations for the pointer.
	revision int64
}

// rolledBack tells that an earlier generation was chosen.
func (d digested) rolledBack() bool { return d.digest != d.asked }

// askedIn is what the inputs ask for in an epoch: another gateway may have
// raised it since the digest was told.
func (d digested) askedIn(epoch int64) string {
	in := d.inputs
	in.Epoch = epoch
	return in.digest()
}

// known is a digest that is remembered, and as of which wish.
type known struct {
	digested
	recipe *Recipe
	stamp  stamp
}

// digest computes a recipe's digest once, and notes that this generation is now
// the wanted one.
func (c *Cache) digest(r *Recipe) (digested, error) {
	if k, ok := c.known.Load(r.key()); ok {
		return k.(*known).digested, nil
	}
	identity, err := c.volume.packIdentity(r.Pack)
	if err != nil {
		return digested{}, err
	}
	in, err := c.inputs(r, identity)
	if err != nil {
		return digested{}, err
	}
	k := &known{recipe: r}
	k.stamp, err = c.changeWish(r, func(w *wish) {
		k.digested = c.resolve(in, w)
		if !k.rolledBack() {
			w.Refused = ""
			if w.Digest != k.digest {
				w.wants(k.digest)
			}
		}
		k.revision = w.Revision
	})
	if err != nil {
		return digested{}, err
	}
	c.known.Store(r.key(), k)
	return k.digested, nil
}

// foretell is digest for those who only want to know: it writes nothing and
// remembers nothing. met is false of a pack that no gateway has met on this
// volume: it has no identity yet, and so no digest.
func (c *Cache) foretell(r *Recipe) (d digested, met bool, err error) {
	if k, ok := c.known.Load(r.key()); ok {
		return k.(*known).digested, true, nil
	}
	identity, err := c.volume.readIdentity(r.Pack)
	if identity == "" || err != nil {
		return digested{}, false, err
	}
	in, err := c.inputs(r, identity)
	if err != nil {
		return digested{}, false, err
	}
	w, err := c.volume.wish(r.Pack, r.Runtime.Name)
	return c.resolve(in, &w), err == nil, err
}

// resolve says which generation inputs get under a wish. in is without the
// epoch, which the wish knows.
func (c *Cache) resolve(in inputs, w *wish) digested {
	in.Epoch = w.Epoch
	d := digested{asked: in.digest(), inputs: in, revision: w.Revision}
	d.digest = d.asked
	if w.Refused == d.asked {
		// One that is gone can't be gone back to.
		if marker, err := c.volume.published(w.Digest); err == nil && marker != nil {
			d.digest = w.Digest
		}
	}
	return d
}

// reconsider takes over what another gateway has written into the wish: an
// epoch, a way back. It never writes: two gateways whose packs differ would
// outbid each other for ever. It reports false if there is nothing to take over
// from, because the environment was removed.
func (c *Cache) reconsider(k *known) (changed bool, err error) {
	r := k.recipe
	now := c.volume.wishStamp(r.Pack, r.Runtime.Name)
	if now == k.stamp {
		return false, nil
	}
	if now == (stamp{}) {
		c.forget(r.key())
		return true, nil
	}
	w, err := c.volume.wish(r.Pack, r.Runtime.Name)
	if err != nil {
		return false, err
	}
	next := &known{recipe: r, stamp: now, digested: c.resolve(k.inputs, &w)}
	if next.digest != w.Digest {
		next.revision = k.revision
	}
	if !c.known.CompareAndSwap(r.key(), k, next) {
		return false, nil
	}
	return next.digest != k.digest, nil
}

// forget drops all that is remembered of a key.
func (c *Cache) forget(k key) {
	c.known.Delete(k)
	c.ready.drop(func(other key) bool { return other == k })
}

// changeWish changes the wish of a recipe under the pointer's lock, and returns
// its stamp afterwards.
func (c *Cache) changeWish(r *Recipe, change func(*wish)) (after stamp, err error) {
	err = c.locked(r.Pack, r.Runtime.Name, func() error {
		w, err := c.volume.wish(r.Pack, r.Runtime.Name)
		if err != nil {
			return err
		}
		before := w
		change(&w)
		if w.Revision != before.Revision || w.Refused != before.Refused || w.Epoch != before.Epoch {
			err = c.volume.setWish(r.Pack, r.Runtime.Name, w)
		}
		after = c.volume.wishStamp(r.Pack, r.Runtime.Name)
		return err
	})
	return after, err
}

// advance flips the pointer to a generation, unless it leads to a later
// revision already.
func (c *Cache) advance(r *Recipe, d digested) error {
	return c.locked(r.Pack, r.Runtime.Name, func() error {
		w, err := c.volume.wish(r.Pack, r.Runtime.Name)
		if err != nil {
			return err
		}
		if d.revision < w.Shown {
			return nil
		}
		// The environment was removed while this was being built: it is nobody's.
		if identity, err := c.volume.readIdentity(r.Pack); identity != d.inputs.Identity {
			return err
		}
		// The number first: a gateway that dies in between leaves a pointer that
		// its successor moves forward, never one that another moves back.
		// Of one revision there may be two: a gateway that still has older files
		// of the pack follows a rebuild that another has asked for.
		if d.revision > w.Shown || len(w.History) == 0 || w.History[0] != d.digest {
			w.shows(d.digest, d.revision)
			if err := c.volume.setWish(r.Pack, r.Runtime.Name, w); err != nil {
				return err
			}
		}
		if err := c.volume.point(r.Pack, r.Runtime.Name, d.digest); err != nil {
			return fmt.Errorf("point %s/%s to environment %s: %w", r.Pack, r.Runtime.Name, d.digest, err)
		}
		return nil
	})
}

// locked runs f under the lock of a pointer, which is held for a moment only.
func (c *Cache) locked(pack, runtime string, f func() error) error {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	for {
		lease, err := c.pointers.Acquire(ctx, pack+"."+runtime, 0)
		if err == nil {
			return during(lease, f)
		}
		if !errors.Is(err, ErrLeaseTaken) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the pointer of %s/%s: %w", pack, runtime, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// during runs f and gives the lease back, whatever f does.
func during(lease Lease, f func() error) (err error) {
	defer func() { err = errors.Join(err, lease.Release(context.Background())) }()
	return f()
}

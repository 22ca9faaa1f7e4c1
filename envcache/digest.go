package envcache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// digested is a recipe's digest with what it was made over, and the pack's
// revision number for the pointer.
type digested struct {
	digest   string
	inputs   inputs
	revision int64
}

// digest computes a recipe's digest once, and notes that this generation is now
// the wanted one.
func (c *Cache) digest(r *Recipe) (digested, error) {
	if d, ok := c.known.Load(r.key()); ok {
		return d.(digested), nil
	}
	identity, err := c.volume.packIdentity(r.Pack)
	if err != nil {
		return digested{}, err
	}
	in, err := c.inputs(r, identity)
	if err != nil {
		return digested{}, err
	}
	d := digested{digest: in.digest(), inputs: in}
	err = c.locked(r, func() error {
		d.revision, err = c.volume.want(r.Pack, r.Runtime.Name, d.digest)
		return err
	})
	if err != nil {
		return digested{}, err
	}
	c.known.Store(r.key(), d)
	return d, nil
}

// wish is which generation a pack wants, and how often that has changed: a
// number that only grows.
type wish struct {
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
	Shown    int64  `json:"shown"` // highest revision that the pointer was to lead to
}

func (v volume) wish(pack, runtime string) (wish, error) {
	var w wish
	content, err := os.ReadFile(v.wanted(pack, runtime))
	if errors.Is(err, fs.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(content, &w); err != nil {
		return w, fmt.Errorf("%s is damaged; remove it to start its count anew: %w", v.wanted(pack, runtime), err)
	}
	return w, nil
}

func (v volume) setWish(pack, runtime string, w wish) error {
	content, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return v.replace(v.wanted(pack, runtime), content)
}

// want notes the generation that the pack asks for now and returns its
// revision: one more than the last if it is another one. The caller holds the
// pointer's lock.
func (v volume) want(pack, runtime, digest string) (int64, error) {
	w, err := v.wish(pack, runtime)
	if err != nil {
		return 0, err
	}
	if w.Digest == digest {
		return w.Revision, nil
	}
	w.Revision++
	w.Digest = digest
	return w.Revision, v.setWish(pack, runtime, w)
}

// advance flips the pointer to a generation, unless it leads to a later
// revision already.
func (c *Cache) advance(r *Recipe, d digested) error {
	return c.locked(r, func() error {
		w, err := c.volume.wish(r.Pack, r.Runtime.Name)
		if err != nil {
			return err
		}
		if d.revision < w.Shown {
			return nil
		}
		// The number first: a gateway that dies in between leaves a pointer that
		// its successor moves forward, never one that another moves back.
		if d.revision > w.Shown {
			w.Shown = d.revision
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
func (c *Cache) locked(r *Recipe, f func() error) error {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	name := r.Pack + "." + r.Runtime.Name
	for {
		lease, err := c.pointers.Acquire(ctx, name, 0)
		if err == nil {
			return errors.Join(f(), lease.Release(context.WithoutCancel(ctx)))
		}
		if !errors.Is(err, ErrLeaseTaken) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the pointer of %s/%s: %w", r.Pack, r.Runtime.Name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

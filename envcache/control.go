package envcache

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"time"
)

// Errors of what people ask of an environment.
var (
	// ErrNoGeneration says that there is no other generation to go back to, or
	// not the one that was named.
	ErrNoGeneration = errors.New("there is no such generation of the environment")
	// ErrNotBuilt says that the environment has no generation at all.
	ErrNotBuilt = errors.New("the environment was never built")
)

// Build starts a build of what a recipe asks for, whatever its failures and
// whatever generation was gone back to, and returns at once. It does nothing
// where that generation serves already, and rebuilds a damaged one.
func (c *Cache) Build(r *Recipe) error {
	d, err := c.digest(r)
	if err != nil {
		return err
	}
	if _, err := c.volume.published(d.asked); errors.Is(err, ErrDamaged) {
		return c.Rebuild(r)
	}
	if err := c.volume.forgive(d.asked); err != nil {
		return err
	}
	return c.ask(r, func(w *wish) {
		if d.rolledBack() {
			w.Refused = ""
			w.wants(d.askedIn(w.Epoch))
		}
	})
}

// Rebuild starts a build of the same inputs as a new generation and returns at
// once. The present one serves until that is ready.
func (c *Cache) Rebuild(r *Recipe) error {
	d, err := c.digest(r)
	if err != nil {
		return err
	}
	return c.ask(r, func(w *wish) {
		w.Epoch++
		w.Refused = ""
		w.wants(d.askedIn(w.Epoch))
		w.Rebuilt = w.Digest
	})
}

// ask changes the wish and has it fulfilled before all that is planned.
func (c *Cache) ask(r *Recipe, change func(*wish)) error {
	if _, err := c.changeWish(r, change); err != nil {
		return err
	}
	c.known.Delete(r.key())
	if _, err := c.digest(r); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.schedule([]*Recipe{r}, true)
	return nil
}

// digestGrammar is what a digest looks like: one from outside becomes a path.
var digestGrammar = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Rollback makes an earlier generation serve: the one named, or the newest that
// is older than the serving one. It lasts until the pack's manifests change, or
// until Build or Rebuild. ErrNoGeneration.
func (c *Cache) Rollback(r *Recipe, digest string) error {
	d, err := c.digest(r)
	if err != nil {
		return err
	}
	err = c.locked(r.Pack, r.Runtime.Name, func() error {
		w, err := c.volume.wish(r.Pack, r.Runtime.Name)
		if err != nil {
			return err
		}
		target, err := c.volume.backTo(r, w, digest)
		if err != nil {
			return err
		}
		if w.Refused = d.askedIn(w.Epoch); w.Refused == target {
			w.Refused = ""
		}
		w.wants(target)
		w.shows(target, w.Revision)
		if err := c.volume.setWish(r.Pack, r.Runtime.Name, w); err != nil {
			return err
		}
		return c.volume.point(r.Pack, r.Runtime.Name, target)
	})
	if err != nil {
		return err
	}
	c.known.Delete(r.key())
	if d, err = c.digest(r); err != nil {
		return err
	}
	env, err := c.open(d.digest)
	if err != nil {
		return err
	}
	if env == nil { // a prune that came too late has a hand on it for a moment
		c.Plan([]*Recipe{r})
		return nil
	}
	c.ready.put(r.key(), env)
	return nil
}

// backTo finds the generation that a rollback leads to. The caller holds the
// pointer's lock.
func (v volume) backTo(r *Recipe, w wish, named string) (string, error) {
	generations := v.generations(r.Pack, r.Runtime.Name, w)
	now := slices.IndexFunc(generations, func(g Generation) bool { return g.Serving })
	switch {
	case named != "" && slices.ContainsFunc(generations, func(g Generation) bool { return g.Digest == named }):
		return named, nil
	case named == "" && now >= 0 && now+1 < len(generations):
		return generations[now+1].Digest, nil
	}
	return "", ErrNoGeneration
}

// Generations lists the published generations of a recipe's environment, the
// newest first.
func (c *Cache) Generations(r *Recipe) ([]Generation, error) {
	w, err := c.volume.wish(r.Pack, r.Runtime.Name)
	if err != nil {
		return nil, err
	}
	return c.volume.generations(r.Pack, r.Runtime.Name, w), nil
}

// generations leaves out what is damaged, and what a deleted pack of the same
// name has left.
func (v volume) generations(pack, runtime string, w wish) []Generation {
	var list []Generation
	identity, err := v.readIdentity(pack)
	if err != nil {
		return nil
	}
	serving := v.pointsAt(pack, runtime)
	digests := slices.Compact(slices.Sorted(slices.Values(append([]string{w.Digest}, w.History...))))
	for _, digest := range digests {
		if digest == "" {
			continue
		}
		if m, err := v.published(digest); err == nil && m != nil && m.Inputs.Identity == identity {
			list = append(list, Generation{
				Digest: digest, Serving: digest == serving, BuiltAt: m.builtAt(), Bytes: m.Bytes, Files: m.Files, Image: m.Image,
			})
		}
	}
	slices.SortFunc(list, func(a, b Generation) int { return b.BuiltAt.Compare(a.BuiltAt) })
	return list
}

// builtAt is the zero time in a marker that doesn't say.
func (m *Marker) builtAt() time.Time {
	at, err := time.Parse(time.RFC3339Nano, m.BuiltAt)
	if err != nil {
		return time.Time{}
	}
	return at
}

// Remove forgets the environment of a pack and runtime: its pointer, its
// failure, and the pack's identity with the last of its environments, so that
// what comes later under the same name inherits nothing. Its generations are
// pruned as soon as nothing uses them.
func (c *Cache) Remove(ctx context.Context, pack, runtime string) error {
	err := c.locked(pack, runtime, func() error {
		w, err := c.volume.wish(pack, runtime)
		if err != nil {
			return err
		}
		// The pointer first: what it leads to must not be taken for a successor's.
		for _, path := range []string{
			c.volume.pointer(pack, runtime), c.volume.wanted(pack, runtime), c.volume.failure(w.Digest),
		} {
			if err := removeIfThere(path); err != nil {
				return err
			}
		}
		return c.volume.forgetIdentity(pack)
	})
	if err != nil {
		return err
	}
	theirs := func(k key) bool { return k.pack == pack && k.runtime == runtime }
	c.known.Range(func(k, _ any) bool {
		if theirs(k.(key)) {
			c.known.Delete(k)
		}
		return true
	})
	c.ready.drop(theirs)
	_, err = c.pruneThose(ctx, true, func(m *Marker) bool { return m.Inputs.Pack == pack && m.Inputs.Runtime == runtime })
	return err
}

// Subscribe follows the builds of an environment.
func (c *Cache) Subscribe(pack, runtime string) *Subscription { return c.hub.join(pack, runtime) }

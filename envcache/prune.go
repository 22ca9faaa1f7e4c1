package envcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"attune/runtimes/container"
)

// Pruned is a generation that was deleted.
type Pruned struct {
	Pack    string `json:"pack"`
	Runtime string `json:"runtime"`
	Digest  string `json:"digest"`
	Bytes   int64  `json:"bytes"`
}

// Prune deletes generations that are not wanted, not among the last
// Limits.Keep, older than Limits.PruneAfter (unless all is set), and not used
// by any call, container or other gateway.
func (c *Cache) Prune(ctx context.Context, all bool) ([]Pruned, error) {
	return c.pruneThose(ctx, all, func(*Marker) bool { return true })
}

func (c *Cache) pruneThose(ctx context.Context, all bool, match func(*Marker) bool) ([]Pruned, error) {
	pruned := []Pruned{}
	entries, err := os.ReadDir(c.volume.store())
	if err != nil {
		return pruned, err
	}
	var errs []error
	for _, entry := range entries {
		digest := entry.Name()
		marker, err := c.volume.published(digest)
		if errors.Is(err, ErrDamaged) {
			c.Log.Warn("a damaged environment is left alone", "digest", digest, "error", err)
			continue
		}
		if err != nil || marker == nil {
			errs = append(errs, err)
			continue
		}
		if !match(marker) {
			continue
		}
		gone, err := c.prune(ctx, marker, all)
		errs = append(errs, err)
		if gone {
			c.Log.Info("pruned an environment's old generation", "pack", marker.Inputs.Pack,
				"runtime", marker.Inputs.Runtime, "digest", digest, "bytes", marker.Bytes)
			pruned = append(pruned, Pruned{marker.Inputs.Pack, marker.Inputs.Runtime, digest, marker.Bytes})
		}
	}
	return pruned, errors.Join(append(errs, c.volume.sweepRecords())...)
}

// prune deletes one generation if nobody needs it. From seize on nobody can open
// it. The engine is asked before the pointer is locked: it may take its time, and
// every build waits for pointers.
func (c *Cache) prune(ctx context.Context, m *Marker, all bool) (gone bool, err error) {
	pack, runtime := m.Inputs.Pack, m.Inputs.Runtime
	if !digestGrammar.MatchString(m.Digest) || !isName(pack) || !isName(runtime) {
		return false, fmt.Errorf("the marker of environment %s names no pack and runtime", m.Digest)
	}
	if needed, err := c.volume.needed(m, c.Limits, all); needed || err != nil {
		return false, err
	}
	release, err := c.volume.seize(m.Digest)
	if release == nil {
		return false, err
	}
	defer release()
	if used, err := c.used(ctx, m.Digest); used || err != nil {
		return false, err
	}
	var trash string
	err = c.locked(pack, runtime, func() error {
		// Somebody may have gone back to it meanwhile.
		needed, err := c.volume.needed(m, c.Limits, all)
		if !needed && err == nil {
			trash, err = c.volume.hide(c.volume.generation(m.Digest))
		}
		return err
	})
	if err != nil || trash == "" {
		return false, err
	}
	return true, errors.Join(removeTree(trash), c.volume.forgive(m.Digest), removeIfThere(c.volume.log(m.Digest)))
}

// needed tells whether a generation is wanted, kept, or young. One of an
// identity that the pack doesn't have any more is nobody's.
func (v volume) needed(m *Marker, limits Limits, all bool) (bool, error) {
	pack, runtime := m.Inputs.Pack, m.Inputs.Runtime
	w, err := v.wish(pack, runtime)
	if err != nil {
		return true, err
	}
	if v.pointsAt(pack, runtime) == m.Digest || slices.Contains(w.kept(limits.Keep), m.Digest) {
		return true, nil
	}
	since := m.builtAt()
	if info, err := os.Lstat(v.pointer(pack, runtime)); err == nil && info.ModTime().After(since) {
		since = info.ModTime() // it may have served until then
	}
	return !all && time.Since(since) < limits.PruneAfter, nil
}

// recordAge is how long the log and the failure of a build stay that led to no
// generation, or whose generation is gone.
const recordAge = 24 * time.Hour

// sweepRecords removes the logs and failures that tell of nothing any more. A
// pack that is still at it writes its own anew with each attempt.
func (v volume) sweepRecords() error {
	var errs []error
	for _, dir := range []string{filepath.Dir(v.log("x")), filepath.Dir(v.failure("x"))} {
		entries, err := os.ReadDir(dir)
		errs = append(errs, err)
		for _, entry := range entries {
			digest, _, _ := strings.Cut(entry.Name(), ".")
			info, err := entry.Info()
			if err != nil || time.Since(info.ModTime()) < recordAge {
				continue
			}
			if marker, err := v.published(digest); marker == nil && err == nil {
				errs = append(errs, removeIfThere(filepath.Join(dir, entry.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// used tells whether a container or another machine uses a generation.
func (c *Cache) used(ctx context.Context, digest string) (bool, error) {
	found, err := c.Engine.Find(ctx, map[string]string{container.LabelDigest: digest})
	if err != nil || len(found) > 0 {
		return true, err
	}
	return c.References.Held(ctx, digest)
}

// seize takes the reference of a generation for itself alone; nil if somebody
// on this machine holds it.
func (v volume) seize(digest string) (release func(), err error) {
	file, err := os.OpenFile(v.reference(digest), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, err
	}
	return func() { _ = unlock(file) }, nil
}

// forgetIdentity removes a pack's identity if none of its environments is left.
func (v volume) forgetIdentity(pack string) error {
	others, err := filepath.Glob(v.wanted(pack, "*"))
	if err != nil || len(others) > 0 {
		return err
	}
	return removeIfThere(v.identity(pack))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// isName: a component of a path, below everything that begins with a dot.
func isName(name string) bool {
	return name != "" && name[0] != '.' && filepath.IsLocal(name) && !strings.ContainsRune(name, filepath.Separator)
}

// heartbeat repeats to other machines what this gateway uses: what it holds,
// what it copies, and what its containers show.
func (c *Cache) heartbeat(ctx context.Context) error {
	if c.References == (noReferences{}) {
		return nil
	}
	digests := make(map[string]bool)
	for _, env := range c.ready.all() {
		digests[env.Digest] = true
	}
	c.mu.Lock()
	for digest := range c.sources {
		digests[digest] = true
	}
	c.mu.Unlock()
	found, err := c.Engine.Find(ctx, map[string]string{container.LabelGateway: c.GatewayID})
	if err != nil {
		return err // better an old list than a short one
	}
	for _, one := range found {
		if digest := one.Labels()[container.LabelDigest]; digest != "" {
			digests[digest] = true
		}
	}
	list := make([]string, 0, len(digests))
	for digest := range digests {
		list = append(list, digest)
	}
	slices.Sort(list)
	return c.References.Heartbeat(ctx, list)
}

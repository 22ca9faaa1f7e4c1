package envcache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"attune/runtimes"
	"attune/runtimes/container"
)

// An installer's downloads are kept per pack and runtime, for a builder runs
// what its pack brings: what one pack could write, another must not install. Nor
// must what the pack's own code could write be installed without that code:
// builds that may run some have downloads per version of it.
//
// A builder does not share the directory, it has it: taking it is a rename, and
// so is giving it back. Of two builders of one pack the second starts with an
// empty one. No lock, and no gateway that dies, can change that: what was taken
// and never given back is lost, which costs downloads.

// Directories of the downloads. A directory holds data, which builders see, and
// beside it what is known of it, which they don't.
func (v volume) allIdle() string               { return filepath.Join(v.root, ".cache", "idle") }
func (v volume) allBusy() string               { return filepath.Join(v.root, ".cache", "busy") }
func (v volume) idle(key string) string        { return filepath.Join(v.allIdle(), key) }
func (v volume) busy(attempt, k string) string { return filepath.Join(v.allBusy(), attempt+"@"+k) }

const (
	downloadsData = "data"
	downloadsSize = "size" // in bytes, decimal; its mtime is the last use
)

// useDownloads shows a builder the downloads of its pack's former builds; fresh
// says that there are none.
func (c *Cache) useDownloads(spec *container.Spec, r *Recipe, in inputs, attempt string) (fresh bool, err error) {
	vars := r.Runtime.Dependencies.CacheVars
	if c.Limits.CacheBytes == 0 || len(vars) == 0 {
		return true, nil
	}
	key := in.Identity + "." + r.Runtime.Name
	if in.code != "" {
		key += "." + in.code
	}
	dir, fresh, err := c.volume.takeDownloads(attempt, key)
	if err != nil {
		return false, fmt.Errorf("take the downloads of pack %s: %w", r.Pack, err)
	}
	mount := c.mount(dir, runtimes.CacheDir)
	mount.ReadOnly = false
	spec.Mounts = append(spec.Mounts, mount)
	for name, template := range vars {
		value, err := runtimes.ExpandString(template, map[string]string{runtimes.VarCacheDir: mount.Target})
		if err != nil {
			return false, fmt.Errorf("runtime %s: %w", r.Runtime.Name, err)
		}
		setVars(spec, name+"="+value)
	}
	return fresh, nil
}

// takeDownloads moves a pack's directory to the builder of an attempt, or makes
// an empty one.
func (v volume) takeDownloads(attempt, key string) (data string, fresh bool, err error) {
	for _, dir := range []string{v.allIdle(), v.allBusy()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", false, err
		}
	}
	taken := v.busy(attempt, key)
	data = filepath.Join(taken, downloadsData)
	err = os.Rename(v.idle(key), taken)
	switch {
	case err == nil:
		now := time.Now()
		return data, false, os.Chtimes(taken, now, now) // sweepDownloads counts from here
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, err
	}
	if err := os.Mkdir(taken, 0o700); err != nil {
		return "", false, err
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		return "", false, err
	}
	return data, true, give(data)
}

// returnDownloads gives back what a builder had, after the builder is gone. What
// it holds is hostile: it is measured, never read.
func (c *Cache) returnDownloads(attempt string) error {
	taken, key := c.volume.taken(attempt)
	if taken == "" {
		return nil
	}
	size, err := measure(filepath.Join(taken, downloadsData), c.Limits.CacheBytes)
	if err != nil || size > c.Limits.CacheBytes {
		return c.volume.discard(taken) // unreadable to us, or too large to keep
	}
	record := filepath.Join(taken, downloadsSize)
	if err := os.WriteFile(record, []byte(strconv.FormatInt(size, 10)), 0o600); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, taken, unix.AT_FDCWD, c.volume.idle(key), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return c.volume.discard(taken) // another builder of this pack was faster
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.pruneDownloads()
}

// taken finds the directory that the builder of an attempt has, and whose it is.
func (v volume) taken(attempt string) (dir, key string) {
	entries, err := os.ReadDir(v.allBusy())
	if err != nil || attempt == "" {
		return "", "" // no directory: nobody has ever taken one
	}
	for _, entry := range entries {
		if key, ok := strings.CutPrefix(entry.Name(), attempt+"@"); ok {
			return v.busy(attempt, key), key
		}
	}
	return "", ""
}

// measure adds up the files below a directory, and stops beyond most.
func measure(dir string, most int64) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if size += info.Size(); size > most {
			return fs.SkipAll
		}
		return nil
	})
	return size, err
}

// pruneDownloads removes the downloads that were not used for longest until the
// rest is within bounds.
func (c *Cache) pruneDownloads() error {
	entries, err := os.ReadDir(c.volume.allIdle())
	if err != nil {
		return err
	}
	type kept struct {
		path string
		size int64
		used time.Time
	}
	var all []kept
	var total int64
	for _, entry := range entries {
		k := kept{path: c.volume.idle(entry.Name())}
		record := filepath.Join(k.path, downloadsSize)
		content, err := os.ReadFile(record)
		info, statErr := os.Stat(record)
		if err != nil || statErr != nil {
			continue // taken in this moment
		}
		if k.size, err = strconv.ParseInt(string(content), 10, 64); err != nil {
			k.size = c.Limits.CacheBytes + 1 // damaged: not worth repairing
		}
		k.used = info.ModTime()
		all, total = append(all, k), total+k.size
	}
	slices.SortFunc(all, func(a, b kept) int { return a.used.Compare(b.used) })
	var errs []error
	for _, k := range all {
		if total <= c.Limits.CacheBytes {
			break
		}
		errs = append(errs, c.volume.discard(k.path))
		total -= k.size
	}
	return errors.Join(errs...)
}

// sweepDownloads removes what was taken for builders that are long gone, with
// the gateway that would have given it back.
func (c *Cache) sweepDownloads() error {
	entries, err := os.ReadDir(c.volume.allBusy())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		attempt, key, _ := strings.Cut(entry.Name(), "@")
		info, err := entry.Info()
		if err != nil || c.volume.hasAttempt(attempt) || time.Since(info.ModTime()) < c.Limits.Timeout+2*grace {
			continue
		}
		errs = append(errs, c.volume.discard(c.volume.busy(attempt, key)))
	}
	return errors.Join(errs...)
}

// equip gives a builder what is made for it alone. The caller undoes it by
// unequip if the builder isn't created.
func (c *Cache) equip(spec *container.Spec, r *Recipe, in inputs, attempt string) error {
	c.sweep()
	err := c.useView(spec, r, in, attempt)
	fresh := false
	if err == nil {
		fresh, err = c.useDownloads(spec, r, in, attempt)
	}
	if err == nil {
		err = c.useIndex(spec, r, attempt)
	}
	if fresh && r.shareable(in) {
		spec.Labels[labelPure] = "true"
	}
	slices.Sort(spec.Env)
	return err
}

// unequip takes back what a builder had; the builder is gone.
func (c *Cache) unequip(attempt string) error {
	return errors.Join(c.volume.dropSecret(attempt), c.volume.dropView(attempt), c.returnDownloads(attempt))
}

// sweep removes what dead gateways left of builders' equipment.
func (c *Cache) sweep() {
	if err := errors.Join(c.volume.sweepByAttempt(c.volume.memory), c.volume.sweepByAttempt(c.volume.views()), c.sweepDownloads()); err != nil {
		c.Log.Warn("leftovers of builders could not be removed", "error", err)
	}
}

package envcache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"attune/runtimes/container"
)

// A builder whose result another pack may have must have seen nothing that isn't
// in its digest: neither a file of the pack that no manifest was found to
// include, nor one that was changed after it was hashed and changed back. So it
// is shown a copy of what was hashed, compared on the way, in the pack's place.

func (v volume) views() string              { return filepath.Join(v.root, ".views") }
func (v volume) view(attempt string) string { return filepath.Join(v.views(), attempt) }

// shareable tells whether a build is made of its inputs alone. One that runs code
// of the pack isn't: that code may read whatever else is in the pack.
func (r *Recipe) shareable(in inputs) bool {
	return r.Runtime.Environment.Share && in.code == ""
}

// useView shows a builder the files of its pack that decide what is installed,
// and no others. An engine that isolates nothing shows everything anyway.
func (c *Cache) useView(spec *container.Spec, r *Recipe, in inputs, attempt string) error {
	if !c.Layout.Isolated || !r.shareable(in) {
		return nil
	}
	dir, err := c.volume.writeView(attempt, r.PackDir, in.Manifests)
	if err != nil {
		return fmt.Errorf("show the manifests of pack %s to its builder: %w", r.Pack, err)
	}
	spec.Mounts[1].Source = dir
	return nil
}

// writeView copies files of a pack, by their path and SHA-256.
func (v volume) writeView(attempt, packDir string, files map[string]string) (dir string, err error) {
	dir = v.view(attempt)
	if err := os.MkdirAll(v.views(), 0o700); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(packDir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := viewFile(root, dir, name, files[name]); err != nil {
			return "", err
		}
	}
	return dir, filepath.WalkDir(dir, func(p string, entry fs.DirEntry, err error) error {
		if err == nil { // the builder is another user, whatever the gateway's umask is
			err = os.Chmod(p, 0o755)
		}
		return err
	})
}

func viewFile(root *os.Root, dir, name, want string) (err error) {
	from, err := root.Open(name)
	if err != nil {
		return errors.Join(packChanged(), err)
	}
	defer from.Close()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	to, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(to, hash), io.LimitReader(from, maxIncludedBytes)); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != want {
		return packChanged()
	}
	return nil
}

// dropView removes what a builder that is gone was shown.
func (v volume) dropView(attempt string) error {
	if attempt == "" || !filepath.IsLocal(attempt) {
		return nil
	}
	return os.RemoveAll(v.view(attempt))
}

// sweepByAttempt removes the entries of a directory that belong to attempts which
// are gone: their gateway died before it could.
func (v volume) sweepByAttempt(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, entry := range entries {
		if !v.hasAttempt(entry.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(append(errs, err)...)
}

package envcache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Verification is the result of looking at a generation again.
type Verification struct {
	Digest string `json:"digest"`
	OK     bool   `json:"ok"`
	// Faults say what differs from what was published, the first hundred.
	Faults []string `json:"faults"`
	Files  int64    `json:"files"` // looked at
	Bytes  int64    `json:"bytes"`
}

// maxFaults bounds a Verification.
const maxFaults = 100

func (v *Verification) fault(format string, args ...any) {
	if len(v.Faults) < maxFaults {
		v.Faults = append(v.Faults, fmt.Sprintf(format, args...))
	}
}

// Verify compares the serving generation of a recipe with what was published,
// file by file, and lets its interpreter show that it still works. ErrNotBuilt.
func (c *Cache) Verify(ctx context.Context, r *Recipe) (Verification, error) {
	result := Verification{Faults: []string{}}
	d, err := c.digest(r)
	if err != nil {
		return result, err
	}
	marker, err := c.serving(r, d)
	if errors.Is(err, ErrDamaged) {
		result.Digest = d.digest
		result.fault("%v", ErrDamaged)
		return result, nil
	}
	if err != nil {
		return result, err
	}
	if marker == nil {
		return result, ErrNotBuilt
	}
	env, err := c.open(marker.Digest) // so that it stays meanwhile
	if err != nil {
		return result, err
	}
	if env == nil {
		return result, ErrNotBuilt
	}
	defer env.Release()
	result.Digest = env.Digest
	if err := compareListing(ctx, env.Dir, marker.Listing, &result); err != nil {
		return result, err
	}
	if to := c.volume.pointsAt(r.Pack, r.Runtime.Name); to != env.Digest {
		result.fault("the pointer of the environment leads to %q", to)
	}
	if err := c.works(ctx, r, env); err != nil {
		var failed *FailedError
		if !errors.As(err, &failed) {
			return result, err
		}
		result.fault("%s", failed.Reason)
	}
	result.OK = len(result.Faults) == 0
	return result, nil
}

// works runs the verify_command in the image that the environment was built in.
func (c *Cache) works(ctx context.Context, r *Recipe, env *Environment) error {
	if len(r.Runtime.Environment.VerifyCommand) == 0 {
		return nil
	}
	then := *r
	then.Image = env.Image
	return c.probe(ctx, &then, env.Digest, env.Dir)
}

// entryLine describes an entry of an environment: its mode, its content, its
// name. Times and owners are not part of it.
func entryLine(root *os.Root, name string, info fs.FileInfo) (string, error) {
	content := "-"
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := root.Readlink(name)
		if err != nil {
			return "", err
		}
		content = fmt.Sprintf("%q", target)
	case info.Mode().IsRegular():
		file, err := root.Open(name)
		if err != nil {
			return "", err
		}
		defer file.Close()
		hash := sha256.New()
		if _, err := io.Copy(hash, file); err != nil {
			return "", err
		}
		content = hex.EncodeToString(hash.Sum(nil))
	}
	return fmt.Sprintf("%s %s %q", info.Mode(), content, name), nil
}

// eachEntry gives the lines of an environment in a fixed order, without the top
// directory and without the gateway's own files.
func eachEntry(dir string, give func(name, line string, size int64) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." || name == markerFile || name == listingFile {
			return err
		}
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		line, err := entryLine(root, name, info)
		if err != nil {
			return err
		}
		return give(name, line, info.Size())
	})
}

// writeListing lists a sealed attempt in itself and returns the list's SHA-256.
func writeListing(attempt string) (sum string, err error) {
	file, err := os.OpenFile(filepath.Join(attempt, listingFile), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(file, hash))
	err = eachEntry(attempt, func(_, line string, _ int64) error {
		_, err := w.WriteString(line + "\n")
		return err
	})
	if err = errors.Join(err, w.Flush()); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// compareListing reports every entry that isn't as it was published.
func compareListing(ctx context.Context, dir, sum string, result *Verification) error {
	content, err := os.ReadFile(filepath.Join(dir, listingFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if found := sha256.Sum256(content); err != nil || hex.EncodeToString(found[:]) != sum {
		result.fault("the list of the environment's files is not the one that was published")
		return nil
	}
	published := make(map[string]string)
	for line := range bytes.Lines(content) {
		text := strings.TrimSuffix(string(line), "\n")
		published[nameOf(text)] = text
	}
	err = eachEntry(dir, func(name, line string, size int64) error {
		result.Files++
		result.Bytes += size
		was, listed := published[nameOf(line)]
		delete(published, nameOf(line))
		switch {
		case !listed:
			result.fault("%q was added", name)
		case was != line:
			result.fault("%q was changed", name)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for name := range published {
		result.fault("%s is missing", name)
	}
	return nil
}

// nameOf is the quoted name in a line: mode and content hold no space but for a
// link's target, which is quoted, too.
func nameOf(line string) string {
	inQuotes, start := false, 0
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\\' && inQuotes:
			i++
		case line[i] == '"':
			if inQuotes = !inQuotes; inQuotes {
				start = i
			}
		}
	}
	return line[start:]
}

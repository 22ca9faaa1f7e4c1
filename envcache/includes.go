package envcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"attune/runtimes"
)

// Bounds of what manifests may bring in: further files, their bytes in all, and
// the bytes of one that is read for further includes.
const (
	maxIncludes      = 2000
	maxIncludedBytes = 1 << 30
	maxFollowed      = 1 << 20
)

// includes hashes what manifests include: files and directories of the pack,
// by their path in it. What isn't there, or lies outside, the installer doesn't
// find either: a builder sees the pack alone.
type includes struct {
	root     *os.Root
	patterns []*regexp.Regexp
	hashes   map[string]string // path → SHA-256; holds the manifests themselves, too
	code     map[string]bool   // of them, what is no text that names further packages
	sources  []string          // names of files that make a directory a source
	trees    []string          // directories that are sources
	files    int
	bytes    int64
}

// follow reads the file of a pack that a manifest is, or includes, and hashes
// what it includes in turn.
func (i *includes) follow(name string) error {
	if len(i.patterns) == 0 {
		return nil
	}
	text, err := i.text(name)
	if err != nil || text == nil {
		i.code[name] = true
		return err
	}
	for _, pattern := range i.patterns {
		for _, match := range pattern.FindAllSubmatch(text, -1) {
			target := path.Join(path.Dir(name), strings.Trim(string(match[1]), `"'`))
			if err := i.add(target); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is what a small text file says, in whole lines as installers read them:
// a backslash at the end of one goes on in the next. nil for everything else.
func (i *includes) text(name string) ([]byte, error) {
	file, err := i.root.Open(name)
	if err != nil {
		return nil, absent(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFollowed+1))
	if err != nil || len(text) > maxFollowed || !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("\\\n"), []byte(" ")), nil
}

// add hashes a file that is included, or a directory's files.
func (i *includes) add(name string) error {
	if i.hashes[name] != "" || !fs.ValidPath(name) {
		return nil
	}
	info, err := i.root.Stat(name)
	if err != nil {
		return absent(err)
	}
	switch {
	case info.Mode().IsRegular():
		if err := i.hash(name); err != nil {
			return err
		}
		return i.follow(name)
	case info.IsDir():
		i.source(name)
		return fs.WalkDir(i.root.FS(), name, func(p string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if !i.isFile(p, entry) {
				return nil
			}
			i.code[p] = true // even where it was met as text
			if i.hashes[p] != "" {
				return nil
			}
			return i.hash(p)
		})
	}
	return nil
}

// source notes a directory that is built where it lies.
func (i *includes) source(name string) {
	for _, mark := range i.sources {
		if _, err := i.root.Stat(path.Join(name, mark)); err == nil {
			i.trees = append(i.trees, name)
			return
		}
	}
}

// codeHash is of what the pack brings that a build may run; empty if nothing.
func (i *includes) codeHash() string {
	if len(i.code) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(i.code)) {
		fmt.Fprintf(sum, "%q %s\n", name, i.hashes[name])
	}
	return hex.EncodeToString(sum.Sum(nil))[:32]
}

// outermost are the directories of which none is in another.
func outermost(dirs []string) []string {
	var out []string
	for _, dir := range slices.Compact(slices.Sorted(slices.Values(dirs))) {
		if !slices.ContainsFunc(out, func(o string) bool { return o == "." || strings.HasPrefix(dir, o+"/") }) {
			out = append(out, dir)
		}
	}
	return out
}

// isFile tells whether an entry of a directory is a file, or a link to one.
func (i *includes) isFile(name string, entry fs.DirEntry) bool {
	if entry.Type() != fs.ModeSymlink {
		return entry.Type().IsRegular()
	}
	info, err := i.root.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func (i *includes) hash(name string) error {
	file, err := i.root.Open(name)
	if err != nil {
		return absent(err)
	}
	defer file.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, io.LimitReader(file, maxIncludedBytes+1-i.bytes))
	if err != nil {
		return err
	}
	i.files++
	i.bytes += n
	if i.files > maxIncludes || i.bytes > maxIncludedBytes {
		return refuse("the manifest includes more than %d files or %d bytes of the pack", maxIncludes, maxIncludedBytes)
	}
	i.hashes[name] = hex.EncodeToString(hash.Sum(nil))
	return nil
}

// absent is nil for a file that isn't in the pack.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || isEscape(err) {
		return nil
	}
	return err
}

// isEscape tells whether os.Root refused a path that leads out of it. Its error
// is not exported.
func isEscape(err error) bool {
	var pathErr *fs.PathError
	return errors.As(err, &pathErr) && strings.Contains(pathErr.Err.Error(), "escapes")
}

// newIncludes compiles a manifest's patterns, which were checked when the
// runtime was loaded.
func newIncludes(root *os.Root, m *runtimes.Manifest, hashes map[string]string) (*includes, error) {
	i := &includes{root: root, hashes: hashes, code: map[string]bool{}, sources: m.Sources}
	for _, text := range m.Includes {
		pattern, err := regexp.Compile(text)
		if err != nil {
			return nil, err
		}
		i.patterns = append(i.patterns, pattern)
	}
	return i, nil
}

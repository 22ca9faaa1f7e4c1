package envcache

import (
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// copyJob copies a published generation into an attempt: what its listing has and
// nothing else, in the state that sealTree leaves.
type copyJob struct {
	from, to string
	most     int64    // bytes of all files
	foreign  []string // no file may hold one of these
	inside   string   // where containers see the copy; empty = programs see the whole machine

	source *os.Root
	copied atomic.Int64
}

// listed is a line of a listing.
type listed struct {
	mode    fs.FileMode
	content string // SHA-256 of a file, target of a link
	name    string
}

// copyWorkers is how many files are copied at once: the kernel does most of it.
var copyWorkers = min(4, runtime.GOMAXPROCS(0))

// run copies. errDiffers if the source is not what was published, errPlaced if it
// works only where it lies; every other error is of the copy.
func (j *copyJob) run(ctx context.Context, listing string) error {
	content, err := readListing(j.from, listing)
	if err != nil {
		return err
	}
	entries, err := parseListing(content)
	if err != nil {
		return err
	}
	if j.source, err = os.OpenRoot(j.from); err != nil {
		return fmt.Errorf("%w: %w", errDiffers, err)
	}
	defer j.source.Close()
	var files, dirs []listed
	for _, e := range entries { // a directory comes before what is in it
		switch e.mode.Type() {
		case fs.ModeDir:
			err = os.Mkdir(filepath.Join(j.to, e.name), 0o700)
			dirs = append(dirs, e)
		case fs.ModeSymlink:
			err = j.link(e)
		default:
			files = append(files, e)
		}
		if err != nil {
			return err
		}
	}
	if err := j.files(ctx, files); err != nil {
		return err
	}
	for _, e := range slices.Backward(dirs) {
		if err := os.Chmod(filepath.Join(j.to, e.name), e.mode.Perm()); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(j.to, listingFile), content, 0o444)
}

// files copies several at once, until one fails.
func (j *copyJob) files(ctx context.Context, files []listed) error {
	var next atomic.Int64
	errs := make([]error, copyWorkers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var workers sync.WaitGroup
	for i := range errs {
		workers.Go(func() {
			buffer := make([]byte, 256<<10)
			for n := next.Add(1) - 1; n < int64(len(files)); n = next.Add(1) - 1 {
				if errs[i] = ctx.Err(); errs[i] == nil {
					errs[i] = j.file(files[n], buffer)
				}
				if errs[i] != nil {
					cancel()
					return
				}
			}
		})
	}
	workers.Wait()
	// The fault itself, not what it has cancelled.
	slices.SortStableFunc(errs, func(a, b error) int { return rankOf(a) - rankOf(b) })
	return errs[0]
}

func rankOf(err error) int {
	switch {
	case err == nil:
		return 2
	case errors.Is(err, context.Canceled):
		return 1
	}
	return 0
}

// file copies one, and compares what came of it. Where the file system can, the
// two share their blocks until one of them is written.
func (j *copyJob) file(e listed, buffer []byte) (err error) {
	from, err := j.source.OpenFile(e.name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%w: %q: %w", errDiffers, e.name, err)
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil || !info.Mode().IsRegular() || j.copied.Add(info.Size()) > j.most {
		return fmt.Errorf("%w: %q", errDiffers, e.name)
	}
	to, err := os.OpenFile(filepath.Join(j.to, e.name), os.O_CREATE|os.O_EXCL|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	size, err := to.ReadFrom(io.LimitReader(from, info.Size()))
	if err != nil {
		return err
	}
	hash, words := sha256.New(), &finder{words: j.foreign}
	if _, err := io.CopyBuffer(io.MultiWriter(hash, words), io.NewSectionReader(to, 0, size), buffer); err != nil {
		return err
	}
	if hex.EncodeToString(hash.Sum(nil)) != e.content {
		return fmt.Errorf("%w: %q was changed", errDiffers, e.name)
	}
	if words.found {
		return fmt.Errorf("%w: %q", errPlaced, e.name)
	}
	return to.Chmod(e.mode.Perm())
}

// link makes a symlink anew, which lies at another path now.
func (j *copyJob) link(e listed) error {
	if target, err := j.source.Readlink(e.name); err != nil || target != e.content {
		return fmt.Errorf("%w: link %q was changed", errDiffers, e.name)
	}
	names := func(word string) bool { return strings.Contains(e.content, word) }
	if slices.ContainsFunc(j.foreign, names) || j.inside != "" && !linkStays(e.name, e.content, j.inside) {
		return fmt.Errorf("%w: link %q", errPlaced, e.name)
	}
	return os.Symlink(e.content, filepath.Join(j.to, e.name))
}

// parseListing reads what writeListing has written. It was published, so a line
// of any other form is damage.
func parseListing(content []byte) ([]listed, error) {
	var entries []listed
	for line := range strings.Lines(string(content)) {
		e, ok := parseListed(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil, fmt.Errorf("%w: line %d of the list of its files", errDiffers, len(entries)+1)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// sealedModes are those that sealTree leaves.
var sealedModes = map[string]fs.FileMode{
	fs.FileMode(0o444).String():             0o444,
	fs.FileMode(0o555).String():             0o555,
	(fs.ModeDir | 0o555).String():           fs.ModeDir | 0o555,
	(fs.ModeSymlink | fs.ModePerm).String(): fs.ModeSymlink | fs.ModePerm,
}

func parseListed(line string) (e listed, ok bool) {
	mode, rest, _ := strings.Cut(line, " ")
	if e.mode, ok = sealedModes[mode]; !ok {
		return e, false
	}
	if e.mode.Type() == fs.ModeSymlink {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return e, false
		}
		if e.content, err = strconv.Unquote(quoted); err != nil {
			return e, false
		}
		rest, ok = strings.CutPrefix(rest[len(quoted):], " ")
	} else {
		e.content, rest, ok = strings.Cut(rest, " ")
	}
	name, err := strconv.Unquote(rest)
	e.name = name
	return e, ok && err == nil && filepath.IsLocal(name) && name != "." && name != markerFile && name != listingFile
}

// finder looks for words in what is written to it, also across two writes.
type finder struct {
	words []string
	tail  []byte // of what was written: a word may begin in it
	found bool
}

// Write implements io.Writer; it never fails.
func (f *finder) Write(p []byte) (int, error) {
	n, keep := len(p), 0
	for _, word := range f.words {
		border := append(bytes.Clone(f.tail), p[:min(len(word)-1, len(p))]...)
		f.found = f.found || bytes.Contains(p, []byte(word)) || bytes.Contains(border, []byte(word))
		keep = max(keep, len(word)-1)
	}
	if len(p) < keep { // short writes add up
		p = append(bytes.Clone(f.tail), p...)
	}
	f.tail = append(f.tail[:0], p[max(0, len(p)-keep):]...)
	return n, nil
}

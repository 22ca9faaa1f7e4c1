package supervisor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"attune/runtimes/agent/wire"
)

// put makes files in dir that only their owner can read.
func put(dir string, files []wire.File) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open scratch directory: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		if f.Name == "" || f.Name == "." || f.Name == ".." || strings.Contains(f.Name, "/") {
			return fmt.Errorf("make file %q: not a plain name", f.Name)
		}
		w, err := root.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
		if err != nil {
			return fmt.Errorf("make file: %w", err)
		}
		_, err = w.Write(f.Data)
		if err := errors.Join(err, w.Close()); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
	}
	return nil
}

// wipe removes everything in dir but not dir itself, and follows no symlink. A
// dir that does not exist is clean. Nobody may be writing in it, but the uid
// spare (0 = none), whose entries stay where they can't be removed.
func wipe(dir string, spare int, limit time.Time) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	defer root.Close()
	w := wiper{root: root, spare: spare, limit: limit}
	if err := w.empty("."); err != nil {
		return fmt.Errorf("wipe %s: %w", dir, err)
	}
	return nil
}

// wiper removes a tree without recursion: a directory inside a directory is moved
// up to the top before it is emptied. So the depth of the tree, which user code
// chooses, costs neither stack nor descriptors.
type wiper struct {
	root  *os.Root
	spare int
	limit time.Time
}

// batch is how many entries are looked at at a time.
const batch = 256

// empty removes what is in dir, which is the top or a directory at the top, until
// there is nothing that it could remove: what is moved may have been passed.
func (w *wiper) empty(dir string) error {
	for {
		if removed, err := w.pass(dir); err != nil || removed == 0 {
			return err
		}
	}
}

// pass goes through dir once.
func (w *wiper) pass(dir string) (removed int, err error) {
	d, err := w.root.Open(dir)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(batch)
		if err == io.EOF {
			return removed, nil
		}
		if err != nil {
			return removed, err
		}
		for _, e := range entries {
			if time.Now().After(w.limit) {
				return removed, errors.New("too much is left to be removed in time")
			}
			err := w.remove(dir, e)
			if errors.Is(err, fs.ErrPermission) && w.spares(dir, e) {
				continue
			}
			if err != nil {
				return removed, err
			}
			removed++
		}
	}
}

// spares tells whether an entry is one of those that stay.
func (w *wiper) spares(dir string, e fs.DirEntry) bool {
	if w.spare == 0 || dir != "." {
		return false
	}
	info, err := w.root.Lstat(e.Name())
	return errors.Is(err, fs.ErrNotExist) || err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == w.spare
}

// remove removes an entry of dir, or moves it to the top.
func (w *wiper) remove(dir string, e fs.DirEntry) error {
	name := path.Join(dir, e.Name())
	if !e.IsDir() {
		return w.root.Remove(name)
	}
	// To be moved or emptied it must be writable, whatever mode it was left with.
	if err := w.root.Chmod(name, 0o700); err != nil {
		return err
	}
	if dir != "." {
		return w.root.Rename(name, fmt.Sprintf("wipe-%016x%016x", rand.Uint64(), rand.Uint64()))
	}
	if err := w.empty(name); err != nil {
		return err
	}
	return w.root.Remove(name)
}

// wipeOwn removes what a uid has in a directory that others may write, too. What
// is in its subdirectories goes with them. A dir that does not exist is clean.
func wipeOwn(dir string, uid int) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	defer root.Close()
	top, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("wipe %s: %w", dir, err)
	}
	defer top.Close()
	entries, err := top.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("wipe %s: %w", dir, err)
	}
	for _, e := range entries {
		info, err := root.Lstat(e.Name())
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != uid {
			continue // gone meanwhile, or somebody else's
		}
		if err := root.RemoveAll(e.Name()); err != nil {
			return fmt.Errorf("wipe %s: %w", dir, err)
		}
	}
	return nil
}

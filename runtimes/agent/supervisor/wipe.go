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

// anybody is no uid: wipe removes whatever is there.
const anybody = -1

// wipe removes what a uid has in dir but not dir itself, and follows no symlink.
// What is in the uid's directories goes with them. A dir that does not exist is
// clean. Nobody of that uid may be writing in it.
func wipe(dir string, uid int, limit time.Time) error {
	if empty(dir) {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	defer root.Close()
	w := wiper{root: root, uid: uid, limit: limit}
	if err := w.empty("."); err != nil {
		return fmt.Errorf("wipe %s: %w", dir, err)
	}
	return nil
}

// empty tells whether dir has nothing in it but itself and its parent, as nearly
// all have; false where that can't be said.
func empty(dir string) bool {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer syscall.Close(fd) // it was only read
	var entries [512]byte
	n, err := syscall.ReadDirent(fd, entries[:])
	if err != nil {
		return false
	}
	_, _, names := syscall.ParseDirent(entries[:n], -1, nil) // leaves out both
	return n > 0 && len(names) == 0
}

// wipe removes what an execution has left in its scratch directory, and on it.
func (p place) wipe(limit time.Time) error {
	if !p.alone {
		return wipe(p.scratch, p.uid, limit)
	}
	// The directory is user code's own: its mode may keep us out or let others in,
	// and its attributes can hold a message to whoever comes next.
	if err := os.Chmod(p.scratch, 0o700); err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	if err := dropAttributes(p.scratch); err != nil {
		return fmt.Errorf("wipe %s: %w", p.scratch, err)
	}
	return wipe(p.scratch, anybody, limit)
}

// dropAttributes removes a file's extended attributes, access lists among them.
func dropAttributes(path string) error {
	n, err := syscall.Listxattr(path, nil)
	if n == 0 || err == syscall.ENOTSUP {
		return nil
	}
	names := make([]byte, n)
	if err == nil {
		n, err = syscall.Listxattr(path, names)
	}
	if err != nil {
		return fmt.Errorf("list attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "trusted.") {
			continue // nothing that user code could have set
		}
		if err := syscall.Removexattr(path, name); err != nil {
			return fmt.Errorf("remove attribute %s: %w", name, err)
		}
	}
	return nil
}

// wiper removes a tree without recursion: a directory inside a directory is moved
// up to the top before it is emptied. So the depth of the tree, which user code
// chooses, costs neither stack nor descriptors.
type wiper struct {
	root  *os.Root
	uid   int // whose is removed; anybody = all
	limit time.Time
}

// batch is how many entries are looked at at a time.
const batch = 256

// empty removes what is in dir, which is the top or a directory at the top.
func (w *wiper) empty(dir string) error {
	for {
		removed, err := w.pass(dir)
		if err != nil || !removed {
			return err
		}
	}
}

// pass goes through dir once. Names that are removed meanwhile can hide others,
// so it is clean only when a pass finds nothing to do.
func (w *wiper) pass(dir string) (removed bool, err error) {
	d, err := w.root.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(batch)
		if err == io.EOF {
			return removed, nil
		}
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if time.Now().After(w.limit) {
				return false, errors.New("too much is left to be removed in time")
			}
			if dir == "." && !w.owns(e) {
				continue
			}
			removed = true
			if err := w.remove(dir, e); err != nil {
				return false, err
			}
		}
	}
}

// owns tells whether an entry at the top is to be removed.
func (w *wiper) owns(e fs.DirEntry) bool {
	if w.uid == anybody {
		return true
	}
	info, err := w.root.Lstat(e.Name())
	return err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == w.uid
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

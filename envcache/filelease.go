package envcache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// FileLeaser grants leases by locking files: between processes that see the
// same file system of one kernel, in whatever containers they are. The kernel
// frees a lease when its holder dies, so there is no ttl, no clock and nothing
// to renew.
//
// It doesn't reach across machines: network file systems differ in what flock
// means there.
type FileLeaser struct {
	dir string
}

var _ Leaser = (*FileLeaser)(nil)

// NewFileLeaser grants leases by <dir>/<name>.lock, and makes dir (but not its
// parents) when the first is asked for. The files stay: a lock on a file that
// another has unlinked would exclude nobody, so nothing may remove them.
func NewFileLeaser(dir string) *FileLeaser {
	return &FileLeaser{dir: dir}
}

// lockAttempts bounds how often Acquire opens a file that was replaced under it.
const lockAttempts = 3

// Acquire implements Leaser. It ignores ttl: a dead holder is noticed at once,
// and a paused one keeps its lease.
func (l *FileLeaser) Acquire(ctx context.Context, name string, _ time.Duration) (Lease, error) {
	if err := CheckLeaseName(name); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	if err := os.Mkdir(l.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make directory of leases: %w", err)
	}
	path := filepath.Join(l.dir, name+".lock")
	for range lockAttempts {
		file, err := lockFile(path)
		if err != nil {
			return nil, fmt.Errorf("acquire lease %s: %w", name, err)
		}
		if file != nil {
			return &fileLease{file: file, lost: make(chan struct{})}, nil
		}
	}
	return nil, fmt.Errorf("acquire lease %s: its file is being replaced", name)
}

// lockFile opens and locks path, or returns nil where path came to name another
// file in between. Each call has an open file description of its own, which is
// what flock excludes: so it excludes within a process as well. The descriptor
// is closed on exec (as all that os opens), or a child would keep the lease.
func lockFile(path string) (_ *os.File, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	opened, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !opened.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if err := tryFlock(file); err != nil {
		return nil, err
	}
	named, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && os.SameFile(opened, named) {
		return file, nil
	}
	return nil, file.Close()
}

func tryFlock(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLeaseTaken
		case err != nil:
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		return nil
	}
}

type fileLease struct {
	file *os.File
	lost chan struct{} // never closed

	once sync.Once
	err  error // of the release
}

// Lost implements Lease. A file lock ends by its holder only.
func (l *fileLease) Lost() <-chan struct{} { return l.lost }

// Release implements Lease. It doesn't block, so it works with a ctx that is
// over.
func (l *fileLease) Release(context.Context) error {
	l.once.Do(func() {
		if err := unlock(l.file); err != nil {
			l.err = fmt.Errorf("release lease: %w", err)
		}
	})
	return l.err
}

// unlock frees a file's lock and closes it. Closing alone is not enough: a child
// between fork and exec has a copy of the descriptor, and would keep the lock
// for that moment.
func unlock(file *os.File) error {
	return errors.Join(unix.Flock(int(file.Fd()), unix.LOCK_UN), file.Close())
}

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// secretsDir is where the credentials of running builders are: a directory in
// memory, the same for all gateways of a volume on this machine, so that each
// can clean up after the others. Empty (on the volume) where the engine can't
// see this machine's memory, or where there is none.
func (g *gateway) secretsDir(root string) string {
	if !g.info.SameMachine || len(g.config.Build.IndexCredentials) == 0 {
		return ""
	}
	name := sha256.Sum256([]byte(root))
	dir, err := privateInMemory("/dev/shm", "attune-"+hex.EncodeToString(name[:])[:16])
	if err != nil {
		g.log.Debug("credentials of builders are kept on the volume", "error", err)
		return ""
	}
	g.onClose("credentials", func() error {
		_ = os.Remove(dir) // not while a builder runs on
		return nil
	})
	return dir
}

// privateInMemory makes a directory on a tmpfs, where everybody may make what
// they like: one that is there already must be nobody else's.
func privateInMemory(base, name string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil {
		return "", err
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return "", &os.PathError{Op: "use", Path: base, Err: syscall.ENOTSUP}
	}
	dir := filepath.Join(base, name)
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(owner.Uid) != os.Geteuid() {
		return "", &os.PathError{Op: "use", Path: dir, Err: syscall.EPERM}
	}
	return dir, nil
}

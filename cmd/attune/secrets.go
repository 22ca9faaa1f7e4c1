package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"attune/runtimes/container/docker"
)

// Where credentials are kept while a builder may read them.
const (
	ownMemory = "/dev/shm" // of a gateway on the engine's machine
	// lentMemory is for a gateway in a container, whose own memory nobody can be
	// shown: a volume of type tmpfs is mounted there.
	lentMemory = "/run/attune/secrets"
)

// errNoMemory says that there is no place for credentials.
var errNoMemory = errors.New("credentials of package indexes are kept in memory that builders can be shown, and there is none")

// memoryCure is what helps.
const memoryCure = "run the gateway on the engine's machine with a tmpfs at " + ownMemory + ", or in a container with a volume of type tmpfs at " +
	lentMemory + " (docker-compose.yaml has one); or leave build.index_credentials out"

// secretsDir is where the credentials of running builders are: a directory in
// memory, the same for all gateways of a volume on this machine, so that each
// can clean up after the others. Empty where there are no credentials;
// errNoMemory where they would have to go to a disk.
func (g *gateway) secretsDir(root string) (string, error) {
	if len(g.config.Build.IndexCredentials) == 0 {
		return "", nil
	}
	name := sha256.Sum256([]byte(root))
	dir, err := privateInMemory(g.sharedMemory(), "attune-"+hex.EncodeToString(name[:])[:16])
	if engine, ok := g.engine.(*docker.Engine); ok && err == nil {
		err = engine.Shares(dir)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoMemory, err)
	}
	g.onClose("credentials", func() error {
		_ = os.Remove(dir) // not while a builder runs on
		return nil
	})
	return dir, nil
}

// sharedMemory is the directory in memory that the engine sees, if there is one.
func (g *gateway) sharedMemory() string {
	if g.info.SameMachine {
		return ownMemory
	}
	return lentMemory
}

// privateInMemory makes a directory on a tmpfs, where everybody may make what
// they like: one that is there already must be nobody else's.
func privateInMemory(base, name string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(base, &fs); err != nil {
		return "", &os.PathError{Op: "use", Path: base, Err: err}
	}
	if fs.Type != unix.TMPFS_MAGIC {
		return "", fmt.Errorf("%s is not in memory: %w", base, syscall.ENOTSUP)
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

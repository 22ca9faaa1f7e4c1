package envcache

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// markerFile says that an environment is whole; it is written last.
const markerFile = ".attune-env.json"

// listingFile lists every file of an environment as it was published, for
// whoever wants to know whether it still is.
const listingFile = ".attune-files"

// volume is the directory that gateways and containers share. What correctness
// rests on (publishing once, never by halves) is here, and asks no lock.
type volume struct {
	root   string
	memory string // for secrets; empty = there are none
}

// Directories of the volume. Names that begin with a dot can't be pack refs.
func (v volume) store() string               { return filepath.Join(v.root, ".store") }
func (v volume) generation(d string) string  { return filepath.Join(v.root, ".store", d) }
func (v volume) attempts() string            { return filepath.Join(v.root, ".tmp") }
func (v volume) attempt(name string) string  { return filepath.Join(v.root, ".tmp", name) }
func (v volume) locks() string               { return filepath.Join(v.root, ".locks") }
func (v volume) trash() string               { return filepath.Join(v.root, ".trash") }
func (v volume) failure(d string) string     { return filepath.Join(v.root, ".failed", d+".json") }
func (v volume) log(d string) string         { return filepath.Join(v.root, ".logs", d+".log") }
func (v volume) packs() string               { return filepath.Join(v.root, ".packs") }
func (v volume) identity(pack string) string { return filepath.Join(v.root, ".packs", pack) }
func (v volume) pointer(p, rt string) string { return filepath.Join(v.root, p, rt) }
func (v volume) wanted(p, rt string) string  { return filepath.Join(v.root, ".packs", p+"@"+rt) }
func (v volume) marker(d string) string      { return filepath.Join(v.generation(d), markerFile) }
func (v volume) reference(d string) string   { return filepath.Join(v.locks(), d+".ref") }

// init makes the directories. Instances' mounts are made one by one, so that
// nothing here needs to be open to anybody but the gateway; the directories on
// the way to a generation can be passed so that a person may look at it.
func (v volume) init() error {
	private := map[string]bool{".tmp": true, ".locks": true, ".trash": true, ".failed": true, ".logs": true, ".packs": true}
	for _, name := range []string{".", ".store", ".tmp", ".locks", ".trash", ".failed", ".logs", ".packs"} {
		mode := os.FileMode(0o755)
		if private[name] {
			mode = 0o700
		}
		if err := os.MkdirAll(filepath.Join(v.root, name), mode); err != nil {
			return fmt.Errorf("prepare the environments' directory: %w", err)
		}
	}
	return nil
}

// Marker is what is known of a published environment.
type Marker struct {
	Digest  string `json:"digest"`
	Inputs  inputs `json:"inputs"`
	Builder string `json:"builder"` // gateway ID
	Bytes   int64  `json:"bytes"`
	Files   int64  `json:"files"`
	BuiltAt string `json:"built_at"` // RFC 3339, with nanoseconds
	BuildMS int64  `json:"build_ms"`
	Image   string `json:"image"`
	Listing string `json:"listing,omitempty"` // SHA-256 of the list of files
	// Pure says that nothing but the inputs has decided what is in it: see share.
	Pure   bool    `json:"pure,omitempty"`
	Origin *Origin `json:"origin,omitempty"` // of a copy
	// Packages are what the installer has put there, by name.
	Packages []Package `json:"packages,omitempty"`
}

// ErrDamaged says that somebody has laid hands on a published generation. A
// rebuild makes another one.
var ErrDamaged = errors.New("the environment is damaged: its marker is not what was published; rebuild it")

// published reads the marker of a generation; nil if there is none. Anything
// but a whole marker of that very digest is ErrDamaged.
func (v volume) published(digest string) (*Marker, error) {
	content, err := os.ReadFile(v.marker(digest))
	// Nobody makes a generation without a marker. It may have been published
	// between two looks, and so it is looked at again; and pruned.
	for there := 0; errors.Is(err, fs.ErrNotExist); there++ {
		if _, err := os.Lstat(v.generation(digest)); err != nil {
			return nil, nil
		}
		if there > 2 {
			return nil, damaged(v.generation(digest))
		}
		content, err = os.ReadFile(v.marker(digest))
	}
	if err != nil {
		return nil, err
	}
	var m Marker
	if err := json.Unmarshal(content, &m); err != nil || m.Digest != digest {
		return nil, damaged(v.generation(digest))
	}
	return &m, nil
}

func damaged(generation string) error {
	return fmt.Errorf("%w (%s)", ErrDamaged, generation)
}

// publish makes a whole attempt visible under its digest. It reports false if a
// generation of that digest is there already: then the attempt is not needed.
//
// renameat2 with RENAME_NOREPLACE onto a content-addressed name is a
// compare-and-set; a plain rename would replace an empty directory.
func (v volume) publish(attempt, digest string) (bool, error) {
	if err := syncTree(attempt); err != nil {
		return false, err
	}
	err := unix.Renameat2(unix.AT_FDCWD, attempt, unix.AT_FDCWD, v.generation(digest), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		_, err := v.published(digest)
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("publish environment %s: %w", digest, err)
	}
	return true, v.seal(digest)
}

// seal takes the write bit from a generation's top directory, which only root
// could have renamed without it, and makes the rename durable. Idempotent.
func (v volume) seal(digest string) error {
	if err := os.Chmod(v.generation(digest), 0o555); err != nil {
		return err
	}
	return syncDir(v.store())
}

// point makes {pack}/{runtime} lead to a generation. The caller holds the
// pointer's lock.
func (v volume) point(pack, runtime, digest string) error {
	link := v.pointer(pack, runtime)
	target := filepath.Join("..", ".store", digest)
	if now, err := os.Readlink(link); err == nil && now == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return err
	}
	next := filepath.Join(v.attempts(), "pointer."+randomName())
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	if err := os.Rename(next, link); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return syncDir(filepath.Dir(link))
}

// pointsAt tells which generation a pointer leads to, empty if there is none.
func (v volume) pointsAt(pack, runtime string) string {
	target, err := os.Readlink(v.pointer(pack, runtime))
	if err != nil || !strings.HasPrefix(target, "../.store/") {
		return ""
	}
	return filepath.Base(target)
}

// discard moves a directory out of everybody's sight, then deletes it. The move
// is what counts: a directory that somebody else has taken meanwhile is not
// touched. Symlinks are not followed.
func (v volume) discard(path string) error {
	trash, err := v.hide(path)
	if trash == "" {
		return err
	}
	return removeTree(trash)
}

// hide is the first half of discard, which takes no time; empty if there was
// nothing.
func (v volume) hide(path string) (trash string, err error) {
	trash = filepath.Join(v.trash(), randomName())
	err = os.Rename(path, trash)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return trash, nil
}

// removeTree deletes a tree. Where its directories are read-only, everybody but
// root has to change that first.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	err = filepath.WalkDir(path, func(p string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(p, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(path))
}

// packIdentity is the pack's random ID on this volume, made by whichever
// gateway meets the pack first, so that replicas agree on digests and a later
// pack of the same ref doesn't inherit environments.
func (v volume) packIdentity(pack string) (string, error) {
	path := v.identity(pack)
	for range 3 {
		identity, err := v.readIdentity(pack)
		if identity != "" || err != nil {
			return identity, err
		}
		// A link of a finished file onto the name: nobody reads half of one.
		if err := v.createOnce(path, []byte(randomName())); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("give pack %s an identity: %w", pack, err)
		}
	}
	return "", fmt.Errorf("the identity of pack %s is damaged; remove %s to start it anew", pack, path)
}

// readIdentity is empty where there is none, or a damaged one.
func (v volume) readIdentity(pack string) (string, error) {
	content, err := os.ReadFile(v.identity(pack))
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(content) != 32:
		return "", nil
	case err != nil:
		return "", err
	}
	return string(content), nil
}

func (v volume) createOnce(path string, content []byte) error {
	next := filepath.Join(v.attempts(), "file."+randomName())
	defer os.Remove(next)
	if err := writeSynced(next, content); err != nil {
		return err
	}
	return os.Link(next, path)
}

// replace writes a file so that a reader sees the old or the new content.
func (v volume) replace(path string, content []byte) error {
	next := filepath.Join(v.attempts(), "file."+randomName())
	err := writeSynced(next, content)
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	return nil
}

// writeSynced makes a file whose content is durable before its name: after a
// reset of the machine a file that others see must not be empty.
func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.Write(content); err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(file.Sync(), file.Close())
}

// free is the space left for an ordinary user, in bytes.
func (v volume) free() (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(v.root, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}

// syncTree makes everything below path durable: one call for the whole file
// system is cheaper than one for each of thousands of files.
func syncTree(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// randomName is 128 random bits in hexadecimal.
func randomName() string {
	random := make([]byte, 16)
	rand.Read(random) // never fails: it crashes the program instead
	return hex.EncodeToString(random)
}

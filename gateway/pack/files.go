package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"attune/runtimes/strictyaml"
)

// Bounds of a pack.
const (
	DefaultMaxFiles = 10_000
	DefaultMaxBytes = 256 << 20
)

// What the container's user, who is "other" to every file, needs.
const (
	otherRead = 0o004
	otherExec = 0o001
)

// errNotRegular is the fault of what was expected to be a file.
var errNotRegular = errors.New("isn't a regular file")

// tree is a pack's directory. All access is below its root: no link leads out.
type tree struct {
	root   *os.Root
	faults *strictyaml.Faults
	files  []file // all that is there but directories
}

type file struct {
	path string // slashes, below the pack
	info fs.FileInfo
}

// openTree opens a pack's directory, which must not be a link.
func openTree(dir string, faults *strictyaml.Faults) (*tree, error) {
	info, err := os.Lstat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		faults.Addf("", 0, "isn't a directory: a pack is one, and no link to one")
		return nil, faults.Err()
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	if opened, err := root.Stat("."); err != nil || !os.SameFile(info, opened) {
		return nil, errors.Join(errors.New("was replaced while it was opened"), err, root.Close())
	}
	return &tree{root: root, faults: faults}, nil
}

// walk looks at everything in the pack, and says what it can't have. It returns
// false if there is more than opt allows.
func (t *tree) walk(dir string, opt LoadOptions) bool {
	var size int64
	var unreadable []string
	err := fs.WalkDir(t.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			t.faults.Addf(name, 0, "can't be read: %v", cause(err))
			return fs.SkipDir
		}
		info, err := entry.Info()
		if err != nil {
			t.faults.Addf(name, 0, "can't be read: %v", cause(err))
			return nil
		}
		if !t.inspect(name, info) {
			unreadable = append(unreadable, name)
		}
		if info.IsDir() {
			return nil
		}
		t.files = append(t.files, file{name, info})
		size += info.Size()
		if len(t.files) > opt.MaxFiles || size > opt.MaxBytes {
			return errTooMuch
		}
		return nil
	})
	if err != nil {
		t.faults.Addf("", 0, "holds more than %d files or %d MiB", opt.MaxFiles, opt.MaxBytes>>20)
		return false
	}
	t.reportUnreadable(dir, unreadable)
	return true
}

var errTooMuch = errors.New("too much")

// inspect reports what a pack can't have, and tells whether the container's user
// can read it.
func (t *tree) inspect(name string, info fs.FileInfo) (readable bool) {
	mode := info.Mode()
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		t.faults.Addf("", 0, "file name %s holds control characters: rename it", quote(name))
	}
	switch {
	case mode.IsDir():
		return mode.Perm()&(otherRead|otherExec) == otherRead|otherExec
	case mode&fs.ModeSymlink != 0:
		t.inspectLink(name)
		return true
	case !mode.IsRegular():
		t.faults.Addf(name, 0, "is %s: a pack holds files and directories only", typeName(mode))
		return true
	case mode&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		t.faults.Addf(name, 0, "is setuid or setgid: chmod ug-s it")
	}
	return mode.Perm()&otherRead != 0
}

// inspectLink allows a link that stays in the pack, and one to nothing, as
// editors make them.
func (t *tree) inspectLink(name string) {
	target, err := t.root.Readlink(name)
	if err == nil && !path.IsAbs(target) {
		if _, err = t.root.Stat(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	t.faults.Addf(name, 0, "is a symbolic link that leaves the pack: put the file itself there")
}

func typeName(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "a special file"
}

func (t *tree) reportUnreadable(dir string, names []string) {
	const shown = 5
	if len(names) == 0 {
		return
	}
	list := strings.Join(names[:min(shown, len(names))], ", ")
	if len(names) > shown {
		list += fmt.Sprintf(" and %d more", len(names)-shown)
	}
	t.faults.Addf("", 0, "the container's user can't read %s: chmod -R o+rX %s", list, dir)
}

// revision digests the path, mode, size and content of every file.
func (t *tree) revision() string {
	slices.SortFunc(t.files, func(a, b file) int { return strings.Compare(a.path, b.path) })
	all := sha256.New()
	for _, f := range t.files {
		sum, err := t.sum(f)
		if err != nil {
			t.faults.Addf(f.path, 0, "can't be read: %v", cause(err))
			continue
		}
		fmt.Fprintf(all, "%s\x00%o\x00%d\x00%x\n", f.path, f.info.Mode(), f.info.Size(), sum)
	}
	return hex.EncodeToString(all.Sum(nil))[:32]
}

func (t *tree) sum(f file) (sum []byte, err error) {
	hash := sha256.New()
	switch {
	case f.info.Mode()&fs.ModeSymlink != 0:
		target, err := t.root.Readlink(f.path)
		if err != nil {
			return nil, err
		}
		hash.Write([]byte(target))
		return hash.Sum(nil), nil
	case !f.info.Mode().IsRegular():
		return nil, nil // a fault already
	}
	in, err := t.open(f.path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	if _, err := io.Copy(hash, io.LimitReader(in, f.info.Size())); err != nil {
		return nil, err
	}
	return hash.Sum(nil), nil
}

// open opens a regular file without ever waiting for one that isn't.
func (t *tree) open(name string) (*os.File, error) {
	in, err := t.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := in.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

// read reads a YAML file, one byte more than the reader takes at most.
func (t *tree) read(name string) (data []byte, err error) {
	in, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	return io.ReadAll(io.LimitReader(in, strictyaml.MaxBytes+1))
}

// has tells whether a name is there, as anything.
func (t *tree) has(name string) bool {
	_, err := t.root.Lstat(name)
	return err == nil
}

// yamlFiles lists the *.yaml and *.yml files of a directory, in order.
func (t *tree) yamlFiles(dir string) []string {
	var names []string
	for _, f := range t.files { // sorted
		below, ok := strings.CutPrefix(f.path, dir+"/")
		ext := path.Ext(below)
		if ok && !strings.HasPrefix(below, ".") && !strings.Contains(below, "/") && (ext == ".yaml" || ext == ".yml") {
			names = append(names, f.path)
		}
	}
	return names
}

// cause is an error without the path that it begins with.
func cause(err error) error {
	if withPath, ok := errors.AsType[*fs.PathError](err); ok {
		return withPath.Err
	}
	return err
}

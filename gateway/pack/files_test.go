package pack

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnsafeFiles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(t *testing.T, dir string)
		want    []string
	}{
		"link to a file outside": {
			func(t *testing.T, dir string) { must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "lib"))) },
			[]string{"lib: is a symbolic link that leaves the pack: put the file itself there"},
		},
		"relative link outside": {
			func(t *testing.T, dir string) { must(t, os.Symlink("../..", filepath.Join(dir, "lib"))) },
			[]string{"lib: is a symbolic link that leaves the pack: put the file itself there"},
		},
		"link through a link": {
			func(t *testing.T, dir string) {
				must(t, os.Symlink("..", filepath.Join(dir, "actions", "up")))
				must(t, os.Symlink("actions/up/../etc", filepath.Join(dir, "out")))
			},
			[]string{"out: is a symbolic link that leaves the pack: put the file itself there"},
		},
		"entry point is a link outside": {
			func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, "actions/a.sh")))
				must(t, os.Symlink("/bin/ls", filepath.Join(dir, "actions/a.sh")))
			},
			[]string{
				"actions/a.sh: is a symbolic link that leaves the pack: put the file itself there",
				`actions/a.yaml:2: entry_point "a.sh" leads out of the pack, or to nothing`,
			},
		},
		"actions is a link outside": {
			func(t *testing.T, dir string) {
				must(t, os.RemoveAll(filepath.Join(dir, "actions")))
				must(t, os.Symlink("/etc", filepath.Join(dir, "actions")))
			},
			[]string{"actions: is a symbolic link that leaves the pack: put the file itself there"},
		},
		"pack.yaml is a link outside": {
			func(t *testing.T, dir string) {
				must(t, os.Rename(filepath.Join(dir, "pack.yaml"), filepath.Join(dir, "..", "x.yaml")))
				must(t, os.Symlink("../x.yaml", filepath.Join(dir, "pack.yaml")))
			},
			[]string{
				"pack.yaml: is a symbolic link that leaves the pack: put the file itself there",
				"pack.yaml: lies outside of the pack, or can't be read",
			},
		},
		"manifest is a link outside": {
			func(t *testing.T, dir string) {
				must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "requirements.txt")))
			},
			[]string{
				"requirements.txt: is a symbolic link that leaves the pack: put the file itself there",
				"requirements.txt: lies outside of the pack, or can't be read",
			},
		},
		"manifest is a directory": {
			func(t *testing.T, dir string) { must(t, os.Mkdir(filepath.Join(dir, "package.json"), 0o755)) },
			[]string{"package.json: is a directory, but must be a file"},
		},
		"links inside are fine": {
			func(t *testing.T, dir string) {
				must(t, os.Rename(filepath.Join(dir, "actions/a.sh"), filepath.Join(dir, "real.sh")))
				must(t, os.Symlink("../real.sh", filepath.Join(dir, "actions/a.sh")))
				must(t, os.Symlink("nobody@host:1", filepath.Join(dir, ".#lock")))
			},
			nil,
		},
		"named pipe": {
			func(t *testing.T, dir string) { must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644)) },
			[]string{"pipe: is a named pipe: a pack holds files and directories only"},
		},
		"pack.yaml is a pipe": {
			func(t *testing.T, dir string) {
				must(t, os.Remove(filepath.Join(dir, "pack.yaml")))
				must(t, syscall.Mkfifo(filepath.Join(dir, "pack.yaml"), 0o644))
			},
			[]string{"pack.yaml: is a named pipe: a pack holds files and directories only", "pack.yaml: isn't a regular file"},
		},
		"socket": {
			func(t *testing.T, dir string) {
				path := filepath.Join(dir, "s")
				listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
				must(t, err)
				t.Cleanup(func() { must(t, listener.Close()) })
				must(t, os.Chmod(path, 0o666))
			},
			[]string{"s: is a socket: a pack holds files and directories only"},
		},
		"setuid": {
			func(t *testing.T, dir string) {
				must(t, os.Chmod(filepath.Join(dir, "actions/a.sh"), 0o755|os.ModeSetuid))
			},
			[]string{"actions/a.sh: is setuid or setgid: chmod ug-s it"},
		},
		"unreadable": {
			func(t *testing.T, dir string) {
				must(t, os.Chmod(filepath.Join(dir, "actions/a.sh"), 0o750))
				must(t, os.Chmod(filepath.Join(dir, "actions/lib"), 0o754))
			},
			[]string{"the container's user can't read actions/a.sh, actions/lib: chmod -R o+rX DIR"},
		},
		"the pack itself unreadable": {
			func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o750)) },
			[]string{"the container's user can't read .: chmod -R o+rX DIR"},
		},
		"a name with a newline": {
			func(t *testing.T, dir string) {
				must(t, os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o644))
			},
			[]string{`file name "a\nb" holds control characters: rename it`},
		},
		"yaml too large": {
			func(t *testing.T, dir string) {
				must(t, os.WriteFile(filepath.Join(dir, "actions/a.yaml"), []byte("x: "+strings.Repeat("x", 2<<20)), 0o644))
			},
			[]string{"actions/a.yaml: is larger than 1048576 bytes"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "demo")
			write(t, dir, nil)
			test.prepare(t, dir)
			if diff := cmp.Diff(test.want, faultsOf(t, dir, LoadOptions{})); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackMustBeADirectory(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	write(t, filepath.Join(base, "real"), nil)
	must(t, os.Symlink("/etc", filepath.Join(base, "evil")))
	must(t, os.Symlink("real", filepath.Join(base, "alias")))
	must(t, os.WriteFile(filepath.Join(base, "file"), nil, 0o644))
	tests := map[string][]string{
		"evil":  {"isn't a directory: a pack is one, and no link to one"},
		"alias": {"isn't a directory: a pack is one, and no link to one"},
		"file":  {"isn't a directory: a pack is one, and no link to one"},
		"lost":  {"can't be read: no such file or directory"},
	}
	for name, want := range tests {
		if diff := cmp.Diff(want, faultsOf(t, filepath.Join(base, name), LoadOptions{})); diff != "" {
			t.Errorf("faults of %s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPackIsBounded(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	write(t, dir, map[string]string{"big": strings.Repeat("x", 2<<20)})
	if diff := cmp.Diff([]string{"holds more than 3 files or 256 MiB"}, faultsOf(t, dir, LoadOptions{MaxFiles: 3})); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"holds more than 10000 files or 1 MiB"}, faultsOf(t, dir, LoadOptions{MaxBytes: 1 << 20})); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestDirectoryNames(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	tests := map[string]string{
		"My.Pack":      `the directory's name is the pack's ref: invalid ref "My.Pack": a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -`,
		"node_modules": "the name node_modules is runtime node's: choose another",
	}
	for name, want := range tests {
		dir := filepath.Join(base, name)
		write(t, dir, nil)
		if got := faultsOf(t, dir, LoadOptions{}); len(got) == 0 || got[0] != want {
			t.Errorf("faults of %s: %q, want %s", name, got, want)
		}
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	revision := func(dir string) string {
		pack, err := Load(dir, runtimes.Builtin(), LoadOptions{})
		must(t, err)
		return pack.Revision
	}
	a, b := filepath.Join(base, "x", "demo"), filepath.Join(base, "y", "demo")
	write(t, a, nil)
	write(t, b, nil)
	before := revision(a)
	if revision(b) != before {
		t.Error("two equal packs have different revisions")
	}
	seen := map[string]string{before: "nothing"}
	changes := []struct {
		what   string
		change func() error
	}{
		{"content", func() error {
			return os.WriteFile(filepath.Join(a, "actions/a.sh"), []byte("#!/bin/sh\necho b\n"), 0o644)
		}},
		{"mode", func() error { return os.Chmod(filepath.Join(a, "actions/a.sh"), 0o755) }},
		{"a new file", func() error { return os.WriteFile(filepath.Join(a, "new"), nil, 0o644) }},
		{"a name", func() error { return os.Rename(filepath.Join(a, "new"), filepath.Join(a, "newer")) }},
		{"a link", func() error { return os.Symlink("newer", filepath.Join(a, "link")) }},
	}
	for _, c := range changes {
		must(t, c.change())
		got := revision(a)
		if other, same := seen[got]; same {
			t.Errorf("the revision after %s is that after %s", c.what, other)
		}
		seen[got] = c.what
	}
}

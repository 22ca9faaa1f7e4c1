package envcache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"attune/runtimes"
)

// inside is where a container would see the environment of these tests.
const inside = "/opt/attune/runtime_envs/demo/sh"

func TestSealTreeRefuses(t *testing.T) {
	t.Parallel()
	link := func(target, name string) func(*testing.T, string) error {
		return func(_ *testing.T, dir string) error {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			return os.Symlink(target, path)
		}
	}
	for name, test := range map[string]struct {
		plant func(t *testing.T, dir string) error
		want  string
	}{
		"absolute link out":        {link("/etc/passwd", "l"), `symlink "l" leads out`},
		"relative link out":        {link("../x", "l"), `symlink "l" leads out`},
		"link out of a directory":  {link("../../x", "a/l"), `symlink "a/l" leads out`},
		"link to a sibling's name": {link(inside+"2/x", "l"), `symlink "l" leads out`},
		"up again after a name":    {link("a/../../x", "l"), `symlink "l" leads out`},
		"a tool's directory":       {link("/usr/bin/../lib/x", "l"), `symlink "l" leads out`},
		"fifo":                     {func(_ *testing.T, dir string) error { return syscall.Mkfifo(dir+"/f", 0o644) }, "neither file, directory nor symlink"},
		"socket":                   {func(_ *testing.T, dir string) error { return syscall.Mknod(dir+"/s", syscall.S_IFSOCK|0o644, 0) }, "neither file, directory nor symlink"},
		"device": {func(t *testing.T, dir string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root makes devices")
			}
			return syscall.Mknod(dir+"/d", syscall.S_IFCHR|0o666, 1<<8|3)
		}, "neither file, directory nor symlink"},
		"setuid":     {func(_ *testing.T, dir string) error { return plantMode(dir, 0o755|os.ModeSetuid) }, "setuid or setgid"},
		"setgid":     {func(_ *testing.T, dir string) error { return plantMode(dir, 0o755|os.ModeSetgid) }, "setuid or setgid"},
		"setgid dir": {func(_ *testing.T, dir string) error { return os.Chmod(dir, 0o755|os.ModeSetgid) }, "setuid or setgid"},
		"too many files": {func(_ *testing.T, dir string) error {
			for i := range 20 {
				if err := os.WriteFile(fmt.Sprint(dir, "/", i), nil, 0o644); err != nil {
					return err
				}
			}
			return nil
		}, "larger than 20 files"},
		"too many bytes": {func(_ *testing.T, dir string) error { return os.WriteFile(dir+"/big", make([]byte, 1<<16), 0o644) }, "or 65536 bytes"},
		"sparse bytes": {func(_ *testing.T, dir string) error {
			if err := os.WriteFile(dir+"/hole", nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(dir+"/hole", 1<<40)
		}, "or 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := test.plant(t, dir); err != nil {
				t.Fatal(err)
			}
			_, err := sealTree(dir, inside, Limits{MaxFiles: 20, MaxBytes: 1 << 16})
			if err == nil || !strings.Contains(err.Error(), test.want) || asFailure(err).Infrastructure {
				t.Errorf("sealTree() = %v, want a fault of the pack: %s", err, test.want)
			}
		})
	}
}

func plantMode(dir string, mode os.FileMode) error {
	if err := os.WriteFile(dir+"/f", nil, 0o755); err != nil {
		return err
	}
	return os.Chmod(dir+"/f", mode)
}

func TestLinkStays(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, target string
		want         bool
	}{
		{"lib64", "lib", true},
		{"bin/python3", "/usr/bin/python3", true},
		{"bin/python", "python3", true},
		{"a/b/c", "../../x", true},
		{"a/b/c", "../..", true},
		{"node_modules/.bin/tool", "../tool/cli.js", true},
		{"l", inside, true},
		{"l", inside + "/x", true},
		{"l", ".", true},
		{"l", "..", false},
		{"a/b/c", "../../..", false},
		{"l", "../sh/x", false}, // by its own name is not by its own path
		{"l", inside + "/../x", false},
		{"l", "/usr/bin", false},
		{"l", "/usr/bin/../../etc/shadow", false},
		{"l", "/", false},
		{"l", "//etc/passwd", false},
		{"l", "./../x", false},
		{"l", "..//../x", false},
		{"l", "x\x00y", false},
	} {
		if got := linkStays(test.name, test.target, inside); got != test.want {
			t.Errorf("linkStays(%q, %q) = %v", test.name, test.target, got)
		}
	}
}

// A directory link lets ".." mean something else than it says: lexically the
// second stays inside, and in truth it doesn't.
func TestLinkThroughALinkIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/p/q/r", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../..", dir+"/p/q/r/top"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("p/q/r/top/../../../etc", dir+"/evil"); err != nil {
		t.Fatal(err)
	}
	if _, err := sealTree(dir, inside, Limits{MaxFiles: 20, MaxBytes: 1 << 20}); err == nil || !strings.Contains(err.Error(), `"evil"`) {
		t.Errorf("sealTree() = %v, want evil refused", err)
	}
}

// What a builder leaves is refused, removed, and never seen.
func TestHostileBuilderPublishesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ script, want string }{
		"fifo":          {"mkfifo f", "neither file"},
		"setuid":        {"echo >f; chmod 4755 f", "setuid"},
		"many files":    {"seq 200 | xargs touch", "100 files"},
		"too large":     {"head -c 2000000 /dev/zero >big", "1048576 bytes"},
		"closed to us":  {"mkfifo d; chmod 0 .", "neither file"},
		"unverifiable":  {"touch broken", "does not work"},
		"edited in use": {"echo b >{pack_dir}/deps.txt", "manifest was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.gateway(t, nil)
			recipe := r.recipe(t, test.script)
			recipe.Runtime.Environment.VerifyCommand = []string{"/bin/sh", "-c", "! test -e {env_dir}/broken"}
			failed := mustFail(t, c, recipe)
			if !strings.Contains(failed.Reason, test.want) || failed.Infrastructure {
				t.Errorf("failure = %+v, want the pack's: %s", failed, test.want)
			}
			for _, place := range []string{".store", "demo"} {
				if entries, err := os.ReadDir(filepath.Join(r.root, place)); len(entries) > 0 {
					t.Errorf("%s holds %v, %v", place, entries, err)
				}
			}
			r.nothingLeft(t)
		})
	}
}

func TestForgedMarkerIsReplaced(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"a file":      `echo '{"digest":"forged"}' >` + markerFile,
		"a directory": "mkdir -p " + markerFile + "/x",
		"a link":      "ln -s /etc/hostname " + markerFile,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			c := r.gateway(t, nil)
			env := mustEnsure(t, c, r.recipe(t, script))
			if marker, err := c.volume.published(env.Digest); err != nil || marker.Builder != "gw" {
				t.Errorf("marker = %+v, %v", marker, err)
			}
			wantSealed(t, env.Dir)
		})
	}
}

// The environment's own interpreter runs before anybody sees the environment.
func TestVerifyCommandSeesTheSealedEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	recipe := r.recipe(t, "printf '#!/bin/sh\necho \"$0\" >&2' >tool; chmod 700 tool")
	recipe.Runtime.Environment.InterpreterPath = "{env_dir}/tool"
	recipe.Runtime.Environment.VerifyCommand = []string{"{interpreter}"}
	recipe.Runtime.Dependencies = runtimes.Dependencies{}
	mustEnsure(t, r.gateway(t, nil), recipe)
	r.nothingLeft(t)
}

package envcache

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/container"
)

// pinned is a recipe of which everything is fixed but the pack's directory.
func pinned(t *testing.T) *Recipe {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "requirements.txt"), "requests==2.32.3\n")
	write(t, filepath.Join(dir, "uv.lock"), "version = 1\n")
	return &Recipe{
		Pack: "python_example", PackDir: dir, Revision: "r1",
		Image: container.Image{Ref: "attune/python", ID: "sha256:11", OS: "linux", Arch: "amd64"},
		Runtime: &runtimes.Runtime{
			Name:        "python",
			Interpreter: runtimes.Interpreter{Binary: "python3", Args: []string{"-u"}},
			Environment: runtimes.Environment{
				EnvType:         runtimes.EnvVirtualenv,
				CreateCommand:   []string{"{interpreter}", "-m", "venv", "{env_dir}"},
				VerifyCommand:   []string{"{interpreter}", "-c", "pass"},
				InterpreterPath: "{env_dir}/bin/python3",
			},
			Dependencies: runtimes.Dependencies{
				ManifestFile:         "requirements.txt",
				LockFiles:            []string{"uv.lock", "pip.lock"},
				CopyManifests:        true,
				InstallCommand:       []string{"{interpreter}", "-m", "pip", "install", "-r", "{manifest_path}"},
				LockedInstallCommand: []string{"{interpreter}", "-m", "pip", "install", "--require-hashes", "-r", "{manifest_path}"},
			},
			Variants: []runtimes.Variant{{
				Needs:          "uv",
				CreateCommand:  []string{"uv", "venv", "{env_dir}"},
				InstallCommand: []string{"uv", "pip", "install", "-r", "{manifest_path}"},
			}},
		},
	}
}

const identity = "ffffffffffffffffffffffffffffffff"

func digestOf(t *testing.T, r *Recipe, identity string, vars map[string]string) string {
	t.Helper()
	in, err := r.inputs(identity, vars)
	if err != nil {
		t.Fatal(err)
	}
	return in.digest()
}

// Golden digests are pinned: when one changes, every environment of every
// installation is built anew. If that is meant, raise schemaVersion.
func TestI11GoldenDigests(t *testing.T) {
	t.Parallel()
	bare := &Recipe{Pack: "p", PackDir: t.TempDir(), Runtime: &runtimes.Runtime{Name: "r"}}
	for _, test := range []struct {
		name   string
		recipe *Recipe
		vars   map[string]string
		want   string
	}{
		{"python", pinned(t), map[string]string{"UV_INDEX_URL": "https://mirror/simple", "A": "b"}, "c262739c078e73f2402e8da6017516d6"},
		{"nothing but names", bare, nil, "07b9d7a4b4f8bface4184b5d6672fad9"},
	} {
		if got := digestOf(t, test.recipe, identity, test.vars); got != test.want {
			t.Errorf("%s: digest = %s, want %s", test.name, got, test.want)
		}
	}
}

func TestI11EveryInputChangesTheDigest(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"UV_INDEX_URL": "https://mirror/simple"}
	file := func(name, content string) func(*testing.T, *Recipe) {
		return func(t *testing.T, r *Recipe) { write(t, filepath.Join(r.PackDir, name), content) }
	}
	seen := map[string]string{digestOf(t, pinned(t), identity, vars): "the original"}
	check := func(name, digest string) {
		if other, taken := seen[digest]; taken {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[digest] = name
	}
	for name, change := range map[string]func(*testing.T, *Recipe){
		"pack":            func(_ *testing.T, r *Recipe) { r.Pack = "other" },
		"runtime":         func(_ *testing.T, r *Recipe) { r.Runtime.Name = "python2" },
		"image":           func(_ *testing.T, r *Recipe) { r.Image.ID = "sha256:22" },
		"os":              func(_ *testing.T, r *Recipe) { r.Image.OS = "plan9" },
		"arch":            func(_ *testing.T, r *Recipe) { r.Image.Arch = "arm64" },
		"interpreter":     func(_ *testing.T, r *Recipe) { r.Runtime.Interpreter.Binary = "python3.12" },
		"own interpreter": func(_ *testing.T, r *Recipe) { r.Runtime.Environment.InterpreterPath = "{env_dir}/bin/pypy" },
		"create":          func(_ *testing.T, r *Recipe) { r.Runtime.Environment.CreateCommand[2] = "virtualenv" },
		"argument borders": func(_ *testing.T, r *Recipe) {
			r.Runtime.Environment.CreateCommand = []string{"{interpreter} -m", "venv", "{env_dir}"}
		},
		"locked install":   func(_ *testing.T, r *Recipe) { r.Runtime.Dependencies.LockedInstallCommand[3] = "sync" },
		"copying":          func(_ *testing.T, r *Recipe) { r.Runtime.Dependencies.CopyManifests = false },
		"variant's needs":  func(_ *testing.T, r *Recipe) { r.Runtime.Variants[0].Needs = "uvx" },
		"variant's create": func(_ *testing.T, r *Recipe) { r.Runtime.Variants[0].CreateCommand[1] = "virtualenv" },
		"variants":         func(_ *testing.T, r *Recipe) { r.Runtime.Variants = nil },
		"manifest":         file("requirements.txt", "requests==2.32.4\n"),
		"lock file":        file("uv.lock", "version = 2\n"),
		"second lock file": file("pip.lock", ""),
		"no manifest": func(t *testing.T, r *Recipe) {
			if err := os.Remove(filepath.Join(r.PackDir, "requirements.txt")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		r := pinned(t)
		change(t, r)
		check(name, digestOf(t, r, identity, vars))
	}
	check("identity", digestOf(t, pinned(t), "eeee", vars))
	check("vars' value", digestOf(t, pinned(t), identity, map[string]string{"UV_INDEX_URL": "https://other/simple"}))
	check("vars' name", digestOf(t, pinned(t), identity, map[string]string{"PIP_INDEX_URL": "https://mirror/simple"}))
	in, err := pinned(t).inputs(identity, vars)
	if err != nil {
		t.Fatal(err)
	}
	in.Epoch++
	check("epoch", in.digest())
	in.Epoch--
	in.Schema++
	check("schema", in.digest())
}

func TestI11WhatDoesNotChangeTheDigest(t *testing.T) {
	t.Parallel()
	vars := map[string]string{}
	for _, name := range []string{"A", "B", "C", "D", "E"} {
		vars[name] = "x"
	}
	want := digestOf(t, pinned(t), identity, vars)
	for name, change := range map[string]func(*Recipe){
		"another directory": func(*Recipe) {},
		"revision":          func(r *Recipe) { r.Revision = "r2" },
		"an image's name":   func(r *Recipe) { r.Image.Ref = "attune/python:2" },
		"mtime": func(r *Recipe) {
			if err := os.Chtimes(filepath.Join(r.PackDir, "uv.lock"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		},
		"mode": func(r *Recipe) {
			if err := os.Chmod(filepath.Join(r.PackDir, "uv.lock"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a file that is no manifest": func(r *Recipe) { write(t, filepath.Join(r.PackDir, "README.md"), "hello") },
		"how actions are run":        func(r *Recipe) { r.Runtime.Interpreter.Args = nil },
		"how it is verified":         func(r *Recipe) { r.Runtime.Environment.VerifyCommand = nil },
		"an unused command":          func(r *Recipe) { r.Runtime.Dependencies.InstallCommand = nil },
	} {
		r := pinned(t)
		change(r)
		if got := digestOf(t, r, identity, vars); got != want {
			t.Errorf("%s changes the digest", name)
		}
	}
	for range 20 { // maps are walked in another order each time
		if got := digestOf(t, pinned(t), identity, vars); got != want {
			t.Fatal("the digest depends on the order of a map")
		}
	}
	if digestOf(t, pinned(t), identity, nil) != digestOf(t, pinned(t), identity, map[string]string{}) {
		t.Error("no variables and an empty set of them differ")
	}
}

// Every execution can read the marker; an index's credentials are not for it.
func TestMarkerHoldsNoValueOfAVariable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, func(o *Options) { o.Vars = map[string]string{"PIP_INDEX_URL": "https://me:secret@index"} })
	env := mustEnsure(t, c, r.recipe(t, `test ${#PIP_INDEX_URL} = 23`))
	marker := read(t, filepath.Join(env.Dir, markerFile))
	for _, word := range []string{"secret", "@"} {
		if containsWord(marker, word) {
			t.Errorf("the marker holds %q:\n%s", word, marker)
		}
	}
}

func TestInstallCommandsForWhatIsThere(t *testing.T) {
	t.Parallel()
	plain, locked := []string{"plain"}, []string{"locked"}
	uvPlain, uvLocked := []string{"uv", "plain"}, []string{"uv", "locked"}
	both := map[string]string{"m": "", "lock": ""}
	for _, test := range []struct {
		name                     string
		there                    map[string]string
		locked, uvLocked         []string
		wantInstall, wantVariant []string
	}{
		{"no manifest", map[string]string{"lock": ""}, locked, uvLocked, nil, nil},
		{"no lock file", map[string]string{"m": ""}, locked, uvLocked, plain, uvPlain},
		{"a lock file", both, locked, uvLocked, locked, uvLocked},
		{"a lock file nobody uses", both, nil, nil, plain, uvPlain},
		{"a lock file the variant can't use", both, locked, nil, locked, nil},
		{"a lock file only the variant uses", both, nil, uvLocked, plain, uvLocked},
	} {
		r := &Recipe{Runtime: &runtimes.Runtime{
			Dependencies: runtimes.Dependencies{
				ManifestFile: "m", LockFiles: []string{"lock"}, InstallCommand: plain, LockedInstallCommand: test.locked,
			},
			Variants: []runtimes.Variant{{Needs: "uv", InstallCommand: uvPlain, LockedInstallCommand: test.uvLocked}},
		}}
		in := inputs{Manifests: test.there}
		r.chooseInstall(&in)
		if !slices.Equal(in.Install, test.wantInstall) || !slices.Equal(in.Variants[0].Install, test.wantVariant) {
			t.Errorf("%s: install = %q, variant's = %q, want %q and %q",
				test.name, in.Install, in.Variants[0].Install, test.wantInstall, test.wantVariant)
		}
	}
}

func TestManifestThatIsNoFileIsRefused(t *testing.T) {
	t.Parallel()
	for name, plant := range map[string]func(path string) error{
		"link out":  func(path string) error { return os.Symlink("/etc/hostname", path) },
		"directory": func(path string) error { return os.Mkdir(path, 0o755) },
		"huge":      func(path string) error { return os.WriteFile(path, make([]byte, maxManifest+1), 0o644) },
	} {
		r := newRig(t)
		recipe := r.recipe(t, "true")
		manifest := filepath.Join(recipe.PackDir, "deps.txt")
		if err := os.Remove(manifest); err != nil {
			t.Fatal(err)
		}
		if err := plant(manifest); err != nil {
			t.Fatal(err)
		}
		if failed := mustFail(t, r.gateway(t, nil), recipe); failed.Infrastructure || !containsWord(failed.Reason, "deps.txt") {
			t.Errorf("%s: failure = %+v, want the pack's", name, failed)
		}
		r.engine.wantBuilders(t, 0)
	}
}

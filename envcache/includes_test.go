package envcache

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"attune/runtimes"
)

// shipped is a recipe of a shipped runtime over a pack of the given files.
func shipped(t *testing.T, runtime string, files map[string]string) *Recipe {
	t.Helper()
	rt, ok := runtimes.Builtin().ByName(runtime)
	if !ok {
		t.Fatalf("there is no runtime %s", runtime)
	}
	dir := t.TempDir()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	return &Recipe{Pack: "p", PackDir: dir, Runtime: rt}
}

// TestFilesOfAManifest: everything that decides what is installed is in the
// digest, and nothing out of the pack ever is.
func TestFilesOfAManifest(t *testing.T) {
	t.Parallel()
	outside := filepath.Join(t.TempDir(), "outside.txt")
	write(t, outside, "six\n")
	for _, test := range []struct {
		name, runtime string
		files         map[string]string
		want          string
	}{
		{"requirements win", "python", map[string]string{"requirements.txt": "six\n", "pyproject.toml": "", "uv.lock": ""}, "requirements.txt"},
		{"project", "python", map[string]string{"pyproject.toml": "", "uv.lock": "", "uv.toml": "", "other.txt": ""}, "pyproject.toml uv.lock uv.toml"},
		{"lock file alone", "python", map[string]string{"uv.lock": ""}, ""},
		{"includes of includes", "python", map[string]string{
			"requirements.txt": "-r deps/a.txt\n--constraint=deps/c.txt # why\n  -cdeps/d.txt\n-r missing.txt\n# -r no.txt\n",
			"deps/a.txt":       "-r b.txt\r\n--requirement \\\n  e.txt\n-r ../requirements.txt\n", "deps/b.txt": "-r a.txt\n", "deps/c.txt": "", "deps/d.txt": "", "deps/e.txt": "", "no.txt": "",
		}, "deps/a.txt deps/b.txt deps/c.txt deps/d.txt deps/e.txt requirements.txt"},
		{"local packages", "python", map[string]string{
			"requirements.txt": "--no-index\n--find-links ./wheels\n./lib/one.whl\nlib/two.tar.gz; python_version > '3'\n-e ./src\nthree @ file:./lib/three.whl\nfour @ https://x/lib/four.whl\n",
			"wheels/a.whl":     "\x00\xff", "lib/one.whl": "", "lib/two.tar.gz": "", "lib/three.whl": "", "lib/four.whl": "", "src/pyproject.toml": "", "src/src/m.py": "",
		}, "lib/one.whl lib/three.whl lib/two.tar.gz requirements.txt src/pyproject.toml src/src/m.py wheels/a.whl"},
		{"out of the pack", "python", map[string]string{
			"requirements.txt": "-r " + outside + "\n-r ../../../../../../etc/hostname\n-r /etc/hostname\n-r link.txt\n-c ..\n",
		}, "requirements.txt"},
		{"sources", "python", map[string]string{
			"pyproject.toml": "[tool.uv.sources]\nx = { path = \"lib/x\" }\n", "lib/x/pyproject.toml": "",
		}, "lib/x/pyproject.toml pyproject.toml"},
		{"node", "node", map[string]string{
			"package.json": `{"dependencies":{"a":"file:./vendor/a.tgz","b":"vendor/b.tgz","c":"./vendor/c.tgz","d":"^1"}}`, "package-lock.json": "{}",
			"vendor/a.tgz": "", "vendor/b.tgz": "", "vendor/c.tgz": "", "yarn.lock": "",
		}, "package-lock.json package.json vendor/a.tgz vendor/b.tgz vendor/c.tgz"},
	} {
		recipe := shipped(t, test.runtime, test.files)
		if err := os.Symlink(outside, filepath.Join(recipe.PackDir, "link.txt")); err != nil {
			t.Fatal(err)
		}
		got, err := recipe.manifests()
		if names := strings.Join(slices.Sorted(maps.Keys(got)), " "); err != nil || names != test.want {
			t.Errorf("%s: manifests() = %s (%v), want %s", test.name, names, err, test.want)
		}
	}
}

func TestChangedIncludeIsANewDigest(t *testing.T) {
	t.Parallel()
	files := map[string]string{"requirements.txt": "-r more.txt\n", "more.txt": "six==1.16.0\n"}
	before := digestOf(t, shipped(t, "python", files), identity, nil)
	if again := digestOf(t, shipped(t, "python", files), identity, nil); again != before {
		t.Errorf("digests of the same files are %s and %s", before, again)
	}
	files["more.txt"] = "six==1.17.0\n"
	if after := digestOf(t, shipped(t, "python", files), identity, nil); after == before {
		t.Error("another included file has the same digest")
	}
}

func TestBoundsOfIncludes(t *testing.T) {
	t.Parallel()
	files := map[string]string{"requirements.txt": "--find-links wheels\n"}
	for i := range maxIncludes + 1 {
		files["wheels/"+string(rune('a'+i%26))+strings.Repeat("x", i/26)] = ""
	}
	if _, err := shipped(t, "python", files).manifests(); err == nil || !strings.Contains(err.Error(), "more than 2000 files") {
		t.Errorf("manifests() error = %v, want the bound", err)
	}
}

// TestLockFilesOfOtherTools: a lock that nobody here reads is never installed
// past in silence.
func TestLockFilesOfOtherTools(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"} {
		files := map[string]string{"package.json": "{}", name: ""}
		_, err := shipped(t, "node", files).manifests()
		if err == nil || asFailure(err).Infrastructure || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "npm install --package-lock-only") {
			t.Errorf("%s alone: error = %v, want the pack's, with the cure", name, err)
		}
		files["package-lock.json"] = "{}"
		if _, err := shipped(t, "node", files).manifests(); err != nil {
			t.Errorf("%s beside a package-lock.json: error = %v", name, err)
		}
	}
}

// TestLocalCode: what a build may run is told from what only names packages, and
// directories that are built from those that are searched.
func TestLocalCode(t *testing.T) {
	t.Parallel()
	source := map[string]string{"setup.py": "", "lib/pyproject.toml": "", "lib/m.py": "1", "lib/inner/setup.py": "", "wheels/a.whl": "\x00", "more.txt": "six\n", "members/a/pyproject.toml": ""}
	for _, test := range []struct {
		name, file, content string
		code                bool
		trees               string
	}{
		{"an index's", "requirements.txt", "-r more.txt\nsix==1.17.0\n", false, ""},
		{"a source", "requirements.txt", "./lib\n", true, "lib"},
		{"with an extra", "requirements.txt", "lib/[fast]\n", true, "lib"},
		{"named", "requirements.txt", "mine[fast] @ ./lib\n", true, "lib"},
		{"editable", "requirements.txt", "-e lib[fast] # here\n", true, "lib"},
		{"in each other", "requirements.txt", "./lib/inner\n./lib\n", true, "lib"},
		{"archives", "requirements.txt", "--find-links ./wheels\n./wheels/a.whl\n", true, ""},
		{"the pack", "requirements.txt", ".\n./lib\n", true, "."},
		{"the pack with an extra", "requirements.txt", " .[fast] ; python_version > '3'\n", true, "."},
		{"a dynamic list", "pyproject.toml", "[project]\ndynamic = [\"version\",\n  'dependencies']\n", true, "."},
		{"a dynamic version", "pyproject.toml", "[project]\ndynamic = [\"version\"]\n", false, ""},
		{"members", "pyproject.toml", "[tool.uv.sources]\na = { workspace = true }\n", true, "."},
		{"a path", "pyproject.toml", "[tool.uv.sources]\na = { path = 'lib' }\n", true, "lib"},
	} {
		files := maps.Clone(source)
		files[test.file] = test.content
		in, err := shipped(t, "python", files).inputs(identity, nil)
		if err != nil || (in.code != "") != test.code || strings.Join(in.trees, " ") != test.trees {
			t.Errorf("%s: code %q, sources %q (%v); want %v, %q", test.name, in.code, in.trees, err, test.code, test.trees)
			continue
		}
		files["lib/m.py"], files["more.txt"] = "2", "six<2\n"
		again, err := shipped(t, "python", files).inputs(identity, nil)
		if changed := strings.Contains(test.trees, "lib") || test.trees == "."; err != nil || (again.code != in.code) != changed {
			t.Errorf("%s: other sources have the hash %q after %q (%v)", test.name, again.code, in.code, err)
		}
	}
}

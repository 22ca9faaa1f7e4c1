package tests

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"attune/envcache"
)

// backend is a build backend in its package's own tree, which makes a wheel of
// mylib.py. Like setuptools it leaves files beside the source; extra is run
// before that.
func backend(extra string) map[string]string {
	return map[string]string{
		"mylib/pyproject.toml": "[project]\nname = \"mylib\"\nversion = \"1\"\n[build-system]\nrequires = []\nbuild-backend = \"back\"\nbackend-path = [\".\"]\n",
		"mylib/back.py": "import os, zipfile\n\ndef build_wheel(directory, config_settings=None, metadata_directory=None):\n" + extra +
			"    os.makedirs('mylib.egg-info', exist_ok=True)\n    open('mylib.egg-info/SOURCES.txt', 'w').write('mylib.py')\n" +
			"    name, info = 'mylib-1-py3-none-any.whl', 'mylib-1.dist-info/'\n" +
			"    with zipfile.ZipFile(os.path.join(directory, name), 'w') as wheel:\n        wheel.write('mylib.py')\n" +
			"        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: mylib\\nVersion: 1\\n')\n" +
			"        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n" +
			"        wheel.writestr(info + 'RECORD', 'mylib.py,,\\n' + ''.join(info + f + ',,\\n' for f in ('METADATA', 'WHEEL', 'RECORD')))\n    return name\n",
		"mylib/mylib.py": "says = 'one'\n",
	}
}

// local is a pack with a package of its own, whose action tells where it came from.
func local(ref, requirements, extra string) map[string]string {
	files := backend(extra)
	maps.Copy(files, map[string]string{
		"requirements.txt": requirements,
		"actions/v.yaml":   "ref: " + ref + ".v\nentry_point: v.py\n",
		"actions/v.py":     "import mylib\nprint(mylib.says)\n",
	})
	return files
}

// TestLocalPackages of a pack are built though the pack is read-only, and anew
// when they change, by uv and by pip.
func TestLocalPackages(t *testing.T) {
	x := newIndex(t, "", "")
	for _, installer := range []string{"uv", "pip"} {
		t.Run(installer, func(t *testing.T) {
			h := newHome(t)
			packs := map[string]string{}
			for ref, requirement := range map[string]string{"by_path": "./mylib", "by_extra": "./mylib[x]", "by_url": "mylib @ file:mylib"} {
				if installer == "pip" && ref == "by_url" {
					continue // takes absolute paths only
				}
				packs[ref] = h.pack(t, ref, local(ref, requirement+"\n", ""))
			}
			vars := []string{"ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX=" + x.url + "/simple,PIP_NO_INDEX=1"}
			if installer == "pip" {
				vars = append(vars, "ATTUNE__RUNTIMES_DIR="+withoutUV(t))
			}
			g := h.start(t, vars...)
			for ref := range packs {
				if got := g.mustInvoke(t, ref+".v", "{}").body; got != "one\n" {
					t.Errorf("POST /invoke/%s.v = %q", ref, got)
				}
			}
			for _, dir := range packs {
				write(t, filepath.Join(dir, "mylib", "mylib.py"), "says = 'two'\n", 0o644)
			}
			g.hangup(t)
			for ref := range packs {
				g.untilResult(t, ref+".v", "one\n", "two\n")
			}
		})
	}
}

// TestWholePackIsAPackage: it is built from a copy, too, and runs from where it
// will be.
func TestWholePackIsAPackage(t *testing.T) {
	h := newHome(t)
	files := map[string]string{}
	for name, content := range local("whole", "", "") {
		files[strings.TrimPrefix(name, "mylib/")] = content
	}
	files["requirements.txt"] = ".\n"
	h.pack(t, "whole", files)
	g := h.start(t, "ATTUNE__BUILD__NETWORK=none")
	if got := g.mustInvoke(t, "whole.v", "{}").body; got != "one\n" {
		t.Errorf("POST /invoke/whole.v = %q", got)
	}
}

// TestLocalCodeLeavesNoTrace: what a pack's own code writes into its downloads is
// not there any more for a build without that code.
func TestLocalCodeLeavesNoTrace(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	files := tinyPy("poisoned", map[string]string{"requirements.txt": "tiny==1.0.0\n"})
	maps.Copy(files, backend("    for root, _, names in os.walk(os.environ['UV_CACHE_DIR'] + '/..'):\n        for name in names:\n"+
		"            if name == '__init__.py': open(root + '/' + name, 'w').write('__version__ = \"poison\"\\ndef main(): print(__version__)\\n')\n"))
	dir := h.pack(t, "poisoned", files)
	g := h.start(t, "ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX="+x.url+"/simple")
	fetched := x.files()
	for n, step := range []struct {
		requirements string
		files        int // fetched by its build
	}{
		{"tiny==1.0.0\n", 1},
		{"tiny==1.0.0\n./mylib\n", 1},
		{"tiny==1.0.0\n./mylib\n# again\n", -1}, // what it did to itself is its own affair
		{"tiny==1.0.0 --hash=sha256:" + wheelHash("1.0.0") + "\n", 0},
	} {
		write(t, filepath.Join(dir, "requirements.txt"), step.requirements, 0o644)
		g.hangup(t)
		g.mustInvoke(t, "poisoned.v", "{}")
		g.untilState(t, "poisoned", "python", envcache.StateReady)
		if got := x.files() - fetched; step.files >= 0 && got != step.files {
			t.Errorf("build %d fetched %d files, want %d", n+1, got, step.files)
		}
		fetched = x.files()
	}
	if got := g.mustInvoke(t, "poisoned.v", "{}").body; got != "1.0.0 tiny says 1.0.0 tiny\n" {
		t.Errorf("with a hash: %q, want what the hash is of", got)
	}
}

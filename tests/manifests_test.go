package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tinyPy is a pack whose action says which tiny it has, by import and by the
// package's own command.
func tinyPy(ref string, manifests map[string]string) map[string]string {
	files := map[string]string{
		"actions/v.yaml": "ref: " + ref + ".v\nentry_point: v.py\n",
		"actions/v.py": "import subprocess, tiny\nfrom importlib.metadata import distributions\n" +
			"print(tiny.__version__, subprocess.check_output(['tinypy'], text=True).strip(), *sorted(d.name for d in distributions() if d.name != 'pip'))\n",
	}
	for name, content := range manifests {
		files[name] = content
	}
	return files
}

const project = "[project]\nname = \"mine\"\nversion = \"1\"\nrequires-python = \">=3.9\"\ndependencies = [\"tiny<1.1\"]\n" +
	"[project.optional-dependencies]\nextra = [\"no-such-package\"]\n[dependency-groups]\ndev = [\"no-such-package\"]\n" +
	"[build-system]\nrequires = [\"no-such-backend\"]\nbuild-backend = \"no_such_backend\"\n"

// uvLock locks tiny 1.0.0 of an index, as uv would write it.
func uvLock(x *index) string {
	return "version = 1\nrevision = 3\nrequires-python = \">=3.9\"\n\n" +
		"[[package]]\nname = \"mine\"\nversion = \"1\"\nsource = { editable = \".\" }\ndependencies = [{ name = \"tiny\" }]\n\n" +
		"[package.optional-dependencies]\nextra = []\n\n[package.metadata]\nrequires-dist = [{ name = \"tiny\", specifier = \"<1.1\" }]\n\n" +
		"[[package]]\nname = \"tiny\"\nversion = \"1.0.0\"\nsource = { registry = \"" + x.url + "/simple\" }\n" +
		"wheels = [{ url = \"" + x.url + "/files/" + wheelName("1.0.0") + "\", hash = \"sha256:" + wheelHash("1.0.0") + "\" }]\n"
}

// TestPythonManifests makes an environment from each kind of manifest, by uv and
// by pip: the same packages, whose commands work, and the pack is not one of
// them.
func TestPythonManifests(t *testing.T) {
	x := newIndex(t, "", "")
	packs := map[string]map[string]string{
		"by_requirements": {"requirements.txt": "-r more.txt\n", "more.txt": "tiny\n-c pins.txt\n", "pins.txt": "tiny==1.0.0\n", "pyproject.toml": "[tool.any]\n"},
		"by_hash":         {"requirements.txt": "tiny==1.0.0 --hash=sha256:" + wheelHash("1.0.0") + "\n"},
		"by_project":      {"pyproject.toml": project},
		"by_lock":         {"pyproject.toml": project, "uv.lock": uvLock(x)},
	}
	h := newHome(t)
	for ref, manifests := range packs {
		h.pack(t, ref, tinyPy(ref, manifests))
	}
	h.pack(t, "wrong_hash", tinyPy("wrong_hash", map[string]string{"requirements.txt": "tiny==1.0.0 --hash=sha256:" + strings.Repeat("0", 64) + "\n"}))
	for _, installer := range []string{"uv", "pip"} {
		t.Run(installer, func(t *testing.T) {
			h := home{packs: h.packs, envs: h.envs + "-" + installer, state: h.state + "-" + installer}
			vars := []string{"ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX=" + x.url + "/simple,PIP_INDEX_URL=" + x.url + "/simple,PIP_TRUSTED_HOST=" + hostOf(x.url)}
			if installer == "pip" {
				vars = append(vars, "ATTUNE__RUNTIMES_DIR="+withoutUV(t))
			}
			g := h.start(t, vars...)
			for ref := range packs {
				if ref == "by_lock" && installer == "pip" {
					continue
				}
				if got, want := g.mustInvoke(t, ref+".v", "{}").body, "1.0.0 tiny says 1.0.0 tiny\n"; got != want {
					t.Errorf("POST /invoke/%s.v = %q, want %q", ref, got, want)
				}
			}
			a := g.invoke(t, "wrong_hash.v", "{}")
			if p := a.problem(t); p.Type != "/problems/environment-failed" || !strings.Contains(strings.ToLower(p.Log), "hash") {
				t.Errorf("a wrong hash = %d %s", a.status, a.body)
			}
			if installer == "pip" {
				a := g.invoke(t, "by_lock.v", "{}")
				if p := a.problem(t); a.status != http.StatusServiceUnavailable || !strings.Contains(p.Detail, "uv.lock is read by uv") {
					t.Errorf("uv.lock without uv = %d %s", a.status, a.body)
				}
			}
		})
	}
}

// withoutUV is a directory of runtimes in which python has no variants, as in a
// stock image.
func withoutUV(t *testing.T) string {
	t.Helper()
	shipped, err := os.ReadFile("../runtimes/python/runtime.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(shipped), "needs: uv\n", "needs: no-such-uv\n")
	if text == string(shipped) {
		t.Fatal("the shipped runtime has no variant for uv")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "python", "runtime.yaml"), text, 0o644)
	return dir
}

func hostOf(url string) string { return strings.TrimPrefix(url, "http://") }

package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/envcache"
)

// TestSecondPackGetsACopy: of two packs that ask for the very same the second has
// a copy of the first's environment, which works at its own path and knows no
// other, and nothing is fetched for it.
func TestSecondPackGetsACopy(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	const script = "import subprocess, sys, tiny\n" +
		"print(tiny.__version__, subprocess.check_output(['tinypy'], text=True).strip(), sys.prefix, tiny.__file__, tiny.main.__code__.co_filename, tiny.__cached__)\n"
	for _, ref := range []string{"twin_a", "twin_b"} {
		h.pack(t, ref, map[string]string{
			"requirements.txt": "-r more.txt\n", "more.txt": "tiny<1.1\n", "package.json": `{"dependencies":{"tiny":"1.0.0"}}`,
			"actions/py.yaml": "ref: " + ref + ".py\nentry_point: py.py\n", "actions/py.py": script,
			"actions/js.yaml": "ref: " + ref + ".js\nentry_point: js.mjs\n",
			"actions/js.mjs":  "import tiny from 'tiny'\nimport { execSync } from 'child_process'\nconsole.log(tiny.version, execSync('tinyjs').toString().trim(), import.meta.resolve('tiny'))\n",
		})
	}
	since := time.Now()
	g := h.start(t, "ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX="+x.url+"/simple,npm_config_registry="+x.url+"/npm/")
	for _, ref := range []string{"twin_a", "twin_b"} {
		for _, language := range []string{"py", "js"} {
			got := g.mustInvoke(t, ref+"."+language, "{}").body
			if !strings.HasPrefix(got, "1.0.0 tiny says 1.0.0 ") {
				t.Errorf("POST /invoke/%s.%s = %q", ref, language, got)
			}
			if other := map[string]string{"twin_a": "twin_b", "twin_b": "twin_a"}[ref]; strings.Contains(got, "/"+other+"/") {
				t.Errorf("%s knows the path of %s: %s", ref, other, got)
			}
			at := "/opt/attune/runtime_envs/" + ref + "/python"
			if language == "py" && strings.Count(got, at+"/lib/") != 3 || language == "py" && !strings.Contains(got, at+" ") {
				t.Errorf("the modules of %s lie, or say that they lie, elsewhere than below %s: %s", ref, at, got)
			}
		}
	}
	if n := x.files(); n != 2 {
		t.Errorf("%d files were fetched, want 2", n)
	}
	if got := builds(t, since, "twin_b"); got != 0 {
		t.Errorf("%d builders for the second pack", got)
	}
	for _, runtime := range []string{"python", "node"} {
		first, second := g.get(t, "/api/v1/environments/twin_a/"+runtime).value(t), g.get(t, "/api/v1/environments/twin_b/"+runtime).value(t)
		from, _ := second["shared_from"].(map[string]any)
		if from["pack"] != "twin_a" || from["digest"] != first["serving"] || from["resolved_at"] != first["built_at"] || first["shared_from"] != nil {
			t.Errorf("environments %v and %v", first, second)
		}
		if log := g.get(t, "/api/v1/environments/twin_b/"+runtime+"/log").body; !strings.Contains(log, "the same as pack twin_a has") {
			t.Errorf("log of the copy = %q", log)
		}
		if v := g.post(t, "/api/v1/environments/twin_b/"+runtime+"/verify", "").value(t); v["ok"] != true {
			t.Errorf("verification of the copy = %v", v)
		}
		if text := everything(t, filepath.Join(h.envs, "twin_b", runtime)+"/"); strings.Contains(text, "twin_a") {
			t.Errorf("in the %s environment of the second pack is the name of the first", runtime)
		}
	}
	// Who asks for a rebuild gets one.
	g.post(t, "/api/v1/environments/twin_b/python/rebuild", "")
	before := g.get(t, "/api/v1/environments/twin_b/python").value(t)["serving"]
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		now := g.get(t, "/api/v1/environments/twin_b/python").value(t)
		if now["serving"] != before && now["state"] == string(envcache.StateReady) {
			if now["shared_from"] != nil || builds(t, since, "twin_b") != 1 {
				t.Errorf("after a rebuild: %v", now)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the rebuild has not ended: %v", now)
		}
	}
}

// TestBuilderSeesWhatItsDigestNames: a manifest that reaches for a file of the
// pack by a way that no digest follows finds nothing; else another pack, equal
// but for that file, would get what it holds.
func TestBuilderSeesWhatItsDigestNames(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	for i, ref := range []string{"attacker", "victim"} {
		version := []string{"1.0.0", "1.1.0"}[i]
		h.pack(t, ref, tinyPy(ref, map[string]string{
			"requirements.txt":             fmt.Sprintf("tiny @ file://${PROJECT_ROOT}/hidden/%s\n", wheelName("1.0.0")),
			"hidden/" + wheelName("1.0.0"): string(wheel(version)),
		}))
	}
	g := h.start(t, "ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX="+x.url+"/simple")
	for _, ref := range []string{"attacker", "victim"} {
		if a := g.invoke(t, ref+".v", "{}"); a.status != 503 {
			t.Errorf("POST /invoke/%s.v = %d %s, want that there is no such file", ref, a.status, a.body)
		}
	}
	if left, err := os.ReadDir(filepath.Join(h.envs, ".views")); err != nil || len(left) > 0 {
		t.Errorf("views are left: %v, %v", left, err)
	}
}

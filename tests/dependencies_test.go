package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDependencyIsolation holds the seventeen promises of a pack's dependencies,
// each in real containers.
func TestDependencyIsolation(t *testing.T) {
	h := newHome(t)
	where := "import os, sys\nprint(sys.executable, os.getcwd())\n"
	h.pack(t, "plain", map[string]string{ // no manifest
		"actions/where.yaml": "ref: plain.where\nrunner_type: python\nentry_point: where.py\n", "actions/where.py": where,
		"actions/named.yaml": "ref: plain.named\nrunner_type: shell\nentry_point: script.py\n", "actions/script.py": "echo \"shell $BASH_VERSION\"\n",
		"actions/match.yaml": "ref: plain.match\nentry_point: sub/match.py\n", "actions/sub/match.py": where,
	})
	version := "import idna\nprint(idna.__version__)\n"
	h.pack(t, "pack_a", map[string]string{
		"requirements.txt": "idna==3.7\n",
		"actions/v.yaml":   "ref: pack_a.v\nentry_point: v.py\n", "actions/v.py": version,
	})
	h.pack(t, "pack_b", map[string]string{
		"requirements.txt": "idna==3.10\nhumanize==4.12.3\npygments==2.19.1\n",
		"actions/v.yaml":   "ref: pack_b.v\nentry_point: v.py\n", "actions/v.py": version,
		"actions/tool.yaml": "ref: pack_b.tool\nentry_point: tool.py\n",
		"actions/tool.py": "import subprocess\n" +
			"print(subprocess.check_output(['pygmentize', '-V'], text=True))\n" +
			"print(subprocess.check_output(['/opt/attune/runtime_envs/pack_b/python/bin/pygmentize', '-V'], text=True))\n",
	})
	h.pack(t, "scripts", map[string]string{
		"actions/pwd.yaml": "ref: scripts.pwd\nentry_point: pwd.sh\n", "actions/pwd.sh": "pwd\n",
	})
	before := treeOf(t, h.packs)
	g := h.start(t)
	env := func(pack string) string { return filepath.Join(h.envs, pack, "python") }
	const inside = "/opt/attune/runtime_envs/plain/python"

	t.Run("6 absent before, by pack ref", func(t *testing.T) {
		if got := environment(t, g, "plain")["state"]; got != "absent" {
			t.Errorf("state = %v before the first call", got)
		}
		if a := g.get(t, "/api/v1/environments/nobody/python"); a.status != 404 {
			t.Errorf("environment of an unknown pack = %d %s", a.status, a.body)
		}
	})
	t.Run("1 made outside the pack", func(t *testing.T) {
		g.mustInvoke(t, "plain.where", "{}")
		if _, err := os.Stat(filepath.Join(env("plain"), "bin")); err != nil {
			t.Error(err)
		}
		if diff := treeOf(t, h.packs); diff != before {
			t.Errorf("the packs have changed:\n%s", diff)
		}
	})
	t.Run("6 ready after", func(t *testing.T) {
		if got := environment(t, g, "plain"); got["state"] != "ready" || got["path"] != inside {
			t.Errorf("status = %v", got)
		}
	})
	t.Run("2 idempotent", func(t *testing.T) {
		link, _ := os.Readlink(env("plain"))
		g.mustInvoke(t, "plain.where", "{}")
		if again, _ := os.Readlink(env("plain")); again != link || link == "" {
			t.Errorf("environment moved from %q to %q", link, again)
		}
	})
	t.Run("3 dependencies installed", func(t *testing.T) {
		if got := g.mustInvoke(t, "pack_a.v", "{}").body; got != "3.7\n" {
			t.Errorf("idna is %q, want the 3.7 of requirements.txt", got)
		}
	})
	t.Run("4 none for shell", func(t *testing.T) {
		g.mustInvoke(t, "scripts.pwd", "{}")
		if _, err := os.Lstat(filepath.Join(h.envs, "scripts")); err == nil {
			t.Error("a shell pack has an environment")
		}
	})
	t.Run("5 12 14 the manifest and nothing else decides", func(t *testing.T) {
		for pack, want := range map[string]bool{"pack_a": true, "plain": false} {
			log := g.get(t, "/api/v1/environments/"+pack+"/python/log").body
			if got := strings.Contains(log, "==> install:"); got != want || !strings.Contains(log, "==> create:") {
				t.Errorf("%s: installed = %v, want %v:\n%s", pack, got, want, log)
			}
		}
	})
	t.Run("7 two packs are apart and clean", func(t *testing.T) {
		if got := g.mustInvoke(t, "pack_b.v", "{}").body; got != "3.10\n" {
			t.Errorf("idna of pack_b is %q", got)
		}
		if got := g.mustInvoke(t, "pack_a.v", "{}").body; got != "3.7\n" {
			t.Errorf("idna of pack_a is %q beside pack_b", got)
		}
		if diff := treeOf(t, h.packs); diff != before {
			t.Errorf("the packs have changed:\n%s", diff)
		}
	})
	t.Run("8 11 python runs from its environment", func(t *testing.T) {
		if got := g.mustInvoke(t, "plain.where", "{}").body; !strings.HasPrefix(got, inside+"/bin/python3 ") {
			t.Errorf("sys.executable, cwd = %q", got)
		}
	})
	t.Run("9 10 shell runs without one, in the pack", func(t *testing.T) {
		if got := g.mustInvoke(t, "scripts.pwd", "{}").body; got != "/opt/attune/packs/scripts\n" {
			t.Errorf("pwd = %q", got)
		}
	})
	t.Run("13 17 without a name the extension decides", func(t *testing.T) {
		if got := g.mustInvoke(t, "plain.match", "{}").body; !strings.HasPrefix(got, inside) {
			t.Errorf("sub/match.py ran by %q", got)
		}
	})
	t.Run("16 an explicit name is authoritative", func(t *testing.T) {
		if got := g.mustInvoke(t, "plain.named", "{}").body; !strings.HasPrefix(got, "shell 5") {
			t.Errorf("script.py with runner_type shell printed %q", got)
		}
	})
	t.Run("15 commands of packages work", func(t *testing.T) {
		if got := g.mustInvoke(t, "pack_b.tool", "{}").body; strings.Count(got, "Pygments version 2.19.1") != 2 {
			t.Errorf("pygmentize by PATH and by its path = %q", got)
		}
	})
}

// TestNodeResolvesFromAReadOnlyPack: import walks up from the script, require as
// well, and neither finds anything in the pack.
func TestNodeResolvesFromAReadOnlyPack(t *testing.T) {
	g := examples(t)
	for _, action := range []string{"nodejs_example.hello", "nodejs_example.hello_esm"} {
		if got := g.mustInvoke(t, action, `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
			t.Errorf("%s: greeting = %v", action, got)
		}
	}
	if _, err := os.Stat(filepath.Join(g.packs, "nodejs_example", "node_modules")); err == nil {
		t.Error("node_modules appeared in the pack")
	}
	if _, err := os.Stat(filepath.Join(g.envs, "nodejs_example", "node", "node_modules", "ms", "package.json")); err != nil {
		t.Error(err)
	}
}

// TestExamplesStayClean compares the example packs with what is committed.
func TestExamplesStayClean(t *testing.T) {
	g := examples(t)
	g.mustInvoke(t, "python_example.hello", "{}")
	for _, name := range []string{"core", "python_example", "nodejs_example", "shell_example"} {
		if got, want := treeOf(t, filepath.Join(g.packs, name)), treeOf(t, filepath.Join("..", "packs", name)); got != want {
			t.Errorf("%s has changed:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// treeOf lists a directory: path, kind, size of every entry.
func treeOf(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		content := ""
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(data)
		}
		name, err := filepath.Rel(dir, path)
		b.WriteString(name + " " + entry.Type().String() + "\n" + content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

package tests

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnotherLanguageTakesOneFolder adds Perl, which every Debian has.
func TestAnotherLanguageTakesOneFolder(t *testing.T) {
	h := newHome(t, "shell_example")
	runtimes := h.packs + "-runtimes"
	write(t, filepath.Join(runtimes, "README"), "not a runtime\n", 0o644)
	write(t, filepath.Join(runtimes, "perl", "runtime.yaml"), `name: perl
aliases: [perl5]
image: attune/shell
interpreter: {binary: perl, args: [-w, -Mstrict], file_extension: .pl}
env_vars: {PERL_FROM: "{pack_dir}", PATH: {operation: append, value: /opt/extra}}
`, 0o644)
	script := "my $in = <STDIN>; my $more = defined(<STDIN>) ? 'more' : 'end';\nprint \"$] $in$more $0 $ENV{PERL_FROM} $ENV{PATH}\\n\";\n"
	h.pack(t, "camel", map[string]string{
		"actions/by_extension.yaml": "ref: camel.by_extension\nentry_point: hi.pl\n", "actions/hi.pl": script,
		"actions/by_name.yaml": "ref: camel.by_name\nrunner_type: Perl5\nentry_point: hi.py\n", "actions/hi.py": script,
		"actions/strict.yaml": "ref: camel.strict\nentry_point: strict.pl\n", "actions/strict.pl": "$undeclared = 1;\n",
	})
	g := h.start(t, "ATTUNE__RUNTIMES_DIR="+runtimes)
	for action, file := range map[string]string{"by_extension": "hi.pl", "by_name": "hi.py"} {
		got := g.mustInvoke(t, "camel."+action, `{"a":1}`).body
		want := "{\"a\":1}\nend /opt/attune/packs/camel/actions/" + file + " /opt/attune/packs/camel "
		if !strings.HasPrefix(got, "5.") || !strings.Contains(got, want) || !strings.HasSuffix(got, ":/opt/extra\n") {
			t.Errorf("POST /invoke/camel.%s = %q, want perl's version and %q", action, got, want)
		}
		if runtime := g.get(t, "/api/v1/actions/camel."+action).value(t)["runtime"]; runtime != "perl" {
			t.Errorf("GET /api/v1/actions/camel.%s: runtime = %v", action, runtime)
		}
	}
	if a := g.invoke(t, "camel.strict", ""); a.status != 502 || !strings.Contains(a.problem(t).Log, "$undeclared") {
		t.Errorf("POST /invoke/camel.strict = %d %s, want perl's words under -Mstrict", a.status, a.body)
	}
	g.mustInvoke(t, "shell_example.hello", "{}") // the shipped ones are still there
}

// TestOperatorReplacesAShippedRuntime: the folder's name decides which.
func TestOperatorReplacesAShippedRuntime(t *testing.T) {
	h := newHome(t)
	runtimes := h.packs + "-runtimes"
	write(t, filepath.Join(runtimes, "python", "runtime.yaml"), `name: python
aliases: [python3]
image: attune/python
interpreter: {binary: python3, args: [-I], file_extension: .py}
env_vars: {HOUSE: ours}
`, 0o644)
	h.pack(t, "house", map[string]string{
		"requirements.txt": "idna==3.7\n", // this runtime has no environments
		"actions/a.yaml":   "ref: house.a\nrunner_type: python3\nentry_point: a.py\n",
		"actions/a.py":     "import os, sys\nprint(sys.executable, sys.flags.isolated, os.environ['HOUSE'], 'VIRTUAL_ENV' in os.environ)\n",
	})
	g := h.start(t, "ATTUNE__RUNTIMES_DIR="+runtimes)
	if got := g.mustInvoke(t, "house.a", "").body; got != "/usr/bin/python3 1 ours False\n" {
		t.Errorf("POST /invoke/house.a = %q, want the operator's runtime", got)
	}
	if _, err := os.Lstat(filepath.Join(h.envs, "house")); err == nil {
		t.Error("a runtime without environments made one")
	}
}

// TestRuntimeFaultsComeAllAtOnce and keep the gateway from starting.
func TestRuntimeFaultsComeAllAtOnce(t *testing.T) {
	h := newHome(t)
	runtimes := h.packs + "-runtimes"
	write(t, filepath.Join(runtimes, "perl", "runtime.yaml"), "name: perl\nimage: attune/shell\ninterpreter: {binary: perl, file_extension: .py}\n", 0o644)
	write(t, filepath.Join(runtimes, "lua", "runtime.yaml"), "name: moon\nimagine: x\ninterpreter: {args: ['{env_dir}']}\n", 0o644)
	vars := []string{"ATTUNE__ENGINE=process", "ATTUNE__PACKS_BASE_DIR=" + h.packs, "ATTUNE__RUNTIME_ENVS_DIR=" + h.envs,
		"ATTUNE__STATE_DIR=" + h.state, "ATTUNE__RUNTIMES_DIR=" + runtimes}
	_, stderr, code := attune(t, vars, "serve", "--port", "0")
	for _, want := range []string{"imagine", "image must be", "{env_dir}", "interpreter.binary"} {
		if code == 0 || !strings.Contains(stderr, want) {
			t.Errorf("attune serve = %d with nothing of %s:\n%s", code, want, stderr)
		}
	}
	if err := os.RemoveAll(filepath.Join(runtimes, "lua")); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := attune(t, vars, "serve", "--port", "0"); code == 0 || !strings.Contains(stderr, ".py belongs to both runtime perl and runtime python") {
		t.Errorf("attune serve with two runtimes of .py = %d\n%s", code, stderr)
	}
}

// TestNodeResolvesFromAReadOnlyPack: import walks up from the script, require as
// well, and neither finds anything in the pack.
func TestNodeResolvesFromAReadOnlyPack(t *testing.T) {
	g := examples(t)
	for _, action := range []string{"nodejs_example.hello", "nodejs_example.hello_esm"} {
		if got := g.mustInvoke(t, action, `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
			t.Errorf("POST /invoke/%s: greeting = %v", action, got)
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
		if diff := cmp.Diff(treeOf(t, filepath.Join("..", "packs", name)), treeOf(t, filepath.Join(g.packs, name))); diff != "" {
			t.Errorf("%s has changed (-committed +after a call):\n%s", name, diff)
		}
	}
}

// treeOf lists a directory: path, kind, and digest of every entry.
func treeOf(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var digest [sha256.Size]byte
		if entry.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			digest = sha256.Sum256(data)
		}
		name, err := filepath.Rel(dir, path)
		fmt.Fprintf(&b, "%s %s %x\n", name, entry.Type(), digest[:6])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

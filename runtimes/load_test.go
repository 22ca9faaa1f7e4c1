package runtimes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShippedRuntimes(t *testing.T) {
	t.Parallel()
	var names []string
	for _, runtime := range Builtin().All() {
		names = append(names, runtime.Name)
	}
	if diff := cmp.Diff([]string{"native", "node", "python", "shell"}, names); diff != "" {
		t.Errorf("runtimes (-want +got):\n%s", diff)
	}
	byName := map[string]string{
		"shell": "shell", "bash": "shell", "SH": "shell", "python": "python", "Python3": "python", "node": "node", "NodeJS": "node",
		"node.js": "node", "native": "native", "builtin": "native", "core.python": "python", "ruby": "", "": "", ".sh": "",
	}
	for name, want := range byName {
		runtime, ok := Builtin().ByName(name)
		if ok != (want != "") || ok && runtime.Name != want {
			t.Errorf("ByName(%q) = %v, %t, want %q", name, runtime, ok, want)
		}
	}
	byFile := map[string]string{
		"hello.py": "python", "/a/b/c.PY": "python", "a.sh": "shell", "a.js": "node", "a.mjs": "node", "a.cjs": "node",
		"a": "", "": "", "py": "", "a.rb": "", "a.py.txt": "", ".py": "python",
	}
	for file, want := range byFile {
		runtime, ok := Builtin().ForFile(file)
		if ok != (want != "") || ok && (runtime.Name != want || !runtime.MatchesFile(file)) {
			t.Errorf("ForFile(%q) = %v, %t, want %q", file, runtime, ok, want)
		}
	}
}

const perl = `
name: perl
aliases: [perl5]
image: example/perl
interpreter: {binary: perl, args: [-w], file_extension: .pl}
environment:
  env_type: local_lib
  create_command: [mkdir, -p, "{env_dir}/lib"]
  verify_command: [test, -d, "{env_dir}/lib"]
dependencies:
  manifest_file: cpanfile
  install_command: [cpanm, --local-lib, "{env_dir}", --installdeps, --cpanfile, "{manifest_path}", "{pack_dir}"]
env_vars:
  PERL5LIB: {operation: append, value: "{env_dir}/lib/perl5"}
  PERL_UNICODE: SDA
`

func writeRuntime(t *testing.T, dir, name, text string) {
	t.Helper()
	folder := filepath.Join(dir, name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "runtime.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A language is one folder, and no Go.
func TestAddPerl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeRuntime(t, dir, "perl", perl)
	if err := os.WriteFile(filepath.Join(dir, "README.md"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	registry, err := Builtin().With(dir)
	if err != nil {
		t.Fatal(err)
	}
	runtime, ok := registry.ByName("Perl5")
	if byFile, _ := registry.ForFile("x.pl"); !ok || byFile != runtime || !runtime.HasEnvironment() {
		t.Fatalf("perl is %+v, and for x.pl %+v", runtime, byFile)
	}
	if len(registry.All()) != len(Builtin().All())+1 {
		t.Errorf("%d runtimes", len(registry.All()))
	}
	if _, ok := Builtin().ByName("perl"); ok {
		t.Error("With has changed the registry that it came from")
	}
	vars, err := runtime.Vars(map[string]string{"PERL5LIB": "/x", "A": "1"}, nil, map[string]string{"env_dir": "/e"})
	if diff := cmp.Diff([]string{"A=1", "PERL5LIB=/x:/e/lib/perl5", "PERL_UNICODE=SDA"}, vars); err != nil || diff != "" {
		t.Errorf("Vars (-want +got), %v:\n%s", err, diff)
	}
}

func TestOverrideShipped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeRuntime(t, dir, "python", strings.NewReplacer("perl\n", "python\n", "perl5", "python2", ".pl", ".py").Replace(perl))
	registry, err := Builtin().With(dir)
	if err != nil {
		t.Fatal(err)
	}
	runtime, _ := registry.ForFile("a.py")
	if runtime.Image != "example/perl" && runtime.Image != "example/python" {
		t.Errorf("python is %+v", runtime)
	}
	if _, ok := registry.ByName("python3"); ok {
		t.Error("an alias of the shipped python is still known")
	}
}

func TestWithReportsEveryFault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeRuntime(t, dir, "a", "name: b\nimage: x\n")
	writeRuntime(t, dir, "c", "name: c\n")
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Builtin().With(dir)
	if err == nil {
		t.Fatal("With has no error")
	}
	for _, want := range []string{
		"a/runtime.yaml: name is b, but the folder is a: they must be equal",
		"c/runtime.yaml: image must be an image reference, for example attune/shell",
		"d/runtime.yaml: no such file or directory",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("With: %v lacks %q", err, want)
		}
	}
	if _, err := Builtin().With(filepath.Join(dir, "lost")); err == nil {
		t.Error("With of a directory that isn't there has no error")
	}
}

func TestClashes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeRuntime(t, dir, "fish", "name: fish\naliases: [Bash]\nimage: x\ninterpreter: {binary: fish, file_extension: SH}\n")
	_, err := Builtin().With(dir)
	for _, want := range []string{
		"name bash belongs to both runtime fish and runtime shell",
		"file extension .sh belongs to both runtime fish and runtime shell",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("With: %v lacks %q", err, want)
		}
	}
}

func TestLoadFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want []string
	}{
		"names": {
			"name: Node.js\naliases: ['a b']\nimage: ''\nimgae: x\n",
			[]string{
				`r.yaml:4: unknown key "imgae": did you mean "image"?`, "r.yaml:1: name must be a lower-case letter and up to 62 of a-z, 0-9, _ and -",
				`r.yaml:2: alias "a b" must begin with a letter and hold letters, digits and _ . + - only`,
				"r.yaml:3: image must be an image reference, for example attune/shell",
			},
		},
		"templates": {
			`name: x
image: x
interpreter: {binary: x, args: ["{env_dri}", "{manifest_path}"], file_extension: ./x}
environment:
  env_type: e
  create_command: [a, "{manifest_path}", "{ok", "{}", "{Not}"]
  verify_command: [a, "{x}"]
  interpreter_path: "{pack_dir}/x"
  mounts:
    - {from: ../x, at: /etc}
    - {from: x, at: "{packs_dir}/../x"}
env_vars: {ATTUNE_X: 1, TRACEPARENT: 1, "A B": "{interpreter}", C: {value: x, operation: add}}
`,
			[]string{
				`r.yaml:3: file extension "./x" must look like .py`,
				"r.yaml:3: {env_dri} has no value in interpreter.args: there is {action_file}, {env_dir}, {pack_dir}, {packs_dir}",
				"r.yaml:3: {manifest_path} has no value in interpreter.args: there is {action_file}, {env_dir}, {pack_dir}, {packs_dir}",
				"r.yaml:6: {manifest_path} has no value in environment.create_command: there is {env_dir}, {interpreter}, {pack_dir}, {packs_dir}",
				"r.yaml:7: {x} has no value in environment.verify_command: there is {env_dir}, {interpreter}, {pack_dir}, {packs_dir}",
				"r.yaml:8: {pack_dir} has no value in environment.interpreter_path: there is {env_dir}",
				"r.yaml:10: from must be a path below the environment, for example node_modules",
				"r.yaml:10: at must be a path that begins with {packs_dir}/",
				"r.yaml:11: at must be a path that begins with {packs_dir}/",
				`r.yaml:12: variable name "A B" must be letters, digits and _`,
				"r.yaml:12: {interpreter} has no value in env_vars.A B: there is {env_dir}, {pack_dir}, {packs_dir}",
				"r.yaml:12: variables that begin with ATTUNE_ are reserved",
				"r.yaml:12: operation must be set, prepend or append",
				"r.yaml:12: TRACEPARENT is reserved: it says where in a trace an execution is",
			},
		},
		"commands without an environment": {
			"name: x\nimage: x\nenvironment: {env_type: none, create_command: [a]}\ndependencies: {manifest_file: a, install_command: [a]}\nenv_vars: {A: '{env_dir}'}\n",
			[]string{
				"r.yaml:3: environment has settings, but no env_type: name it, for example virtualenv",
				"r.yaml:4: dependencies need an environment to go into: add one with an env_type",
				"r.yaml:5: {env_dir} has no value in env_vars.A: there is {pack_dir}, {packs_dir}",
			},
		},
		"an environment without commands": {
			"name: x\nimage: x\nenvironment: {env_type: e}\ndependencies: {manifest_file: ../a, locked_install_command: [x]}\nvariants: [{}]\n",
			[]string{
				"r.yaml:3: environment.create_command is missing: say how one is made, or set env_type to none",
				"r.yaml:3: environment.verify_command is missing: it must exit 0 before an environment is published",
				"r.yaml:4: manifest_file and lock_files must be names of files at a pack's root",
				"r.yaml:4: dependencies.install_command is missing",
				"r.yaml:4: locked_install_command needs lock_files",
				"r.yaml:5: needs must be the name of a program, for example uv",
			},
		},
		"args alone": {"name: x\nimage: x\ninterpreter: {args: [-u]}\n", []string{"r.yaml:3: interpreter.args need an interpreter.binary"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load([]byte(test.text), "r.yaml")
			if err == nil {
				t.Fatal("Load has no error")
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

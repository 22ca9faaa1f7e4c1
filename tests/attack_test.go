package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// attackIsolations are the ways in which the actions of these suites are run: every
// attack is tried in each.
var attackIsolations = []string{"process", "worker", "container"}

// attackConcurrency is how many executions share an instance where siblings
// matter.
const attackConcurrency = 2

// attack is code that does harm. Python and Node define main(params, context),
// which is a handler as it stands; as a script its result is printed. Shell is a
// script alone.
type attack struct {
	code string
	more string // of the action's description
}

// languages have a file extension, what makes a script of a handler, and code that
// does nothing.
var languages = map[string]struct{ extension, script, nothing string }{
	"python": {".py", `
if __name__ == "__main__":
    import json, sys
    result = main(json.loads(sys.stdin.readline()), None)
    if result is not None:
        print(json.dumps(result))
`, "def main(params, context): pass\n"},
	"node": {".js", `
module.exports = main;
if (require.main === module) {
  const print = result => result === undefined || process.stdout.write(JSON.stringify(result) + '\n');
  Promise.resolve(main(JSON.parse(require('fs').readFileSync(0)), null)).then(print);
}
`, "async function main() {}\n"},
	"shell":  {".sh", "", ""},
	"native": {"", "", "#!/bin/bash\n"},
}

// attacks makes a pack of attacks in one language, all run in the same way, and
// returns its ref. settings are lines of its pack.yaml.
func (h home) attacks(t testing.TB, language, isolation, settings string, all map[string]attack) (ref string) {
	t.Helper()
	ref = language + "_" + isolation
	files := map[string]string{"pack.yaml": "ref: " + ref + "\nversion: 1.0.0\n" + settings}
	l := languages[language]
	for name, a := range all {
		files["actions/"+name+".yaml"] = "ref: " + ref + "." + name + "\nrunner_type: " + language + "\nisolation: " + isolation +
			"\nentry_point: " + name + l.extension + "\n" + a.more
		files["actions/"+name+l.extension] = a.code + l.script
	}
	h.pack(t, ref, files)
	return ref
}

// runs tells whether a language has actions of this isolation.
func runs(language, isolation string) bool {
	return isolation != "worker" || language == "python" || language == "node"
}

// instances lists a pack's running instances.
func (g *gateway) instances(t testing.TB, pack string) []string {
	t.Helper()
	ids := g.containers(t, "label=attune.role=instance", "label=attune.pack="+pack, "status=running")
	slices.Sort(ids)
	return ids
}

// hostPID is the process ID of an instance's agent as the host counts.
func hostPID(t testing.TB, instance string) string {
	t.Helper()
	return dockerLines(t, "inspect", "--format", "{{.State.Pid}}", instance)[0]
}

// kill9 kills a process of an instance of ours by its ID on the host.
func kill9(t testing.TB, pid string) {
	t.Helper()
	if syscall.Geteuid() != 0 {
		lacking(t, "killing an agent takes root on its host")
	}
	if out, err := exec.Command("kill", "-9", pid).CombinedOutput(); err != nil {
		t.Fatalf("kill -9 %s: %v\n%s", pid, err, out)
	}
}

// impostor builds the program of that name and returns its path.
func impostor(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "impostor")
	build := exec.Command("go", "build", "-o", path, "./testdata/impostor")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the impostor: %v\n%s", err, out)
	}
	return path
}

// sandboxed runs a suite for each language and isolation that there is.
func sandboxed(t *testing.T, suite func(t *testing.T, language, isolation string), languages ...string) {
	for _, isolation := range attackIsolations {
		for _, language := range languages {
			if runs(language, isolation) {
				t.Run(strings.Join([]string{language, isolation}, "/"), func(t *testing.T) { suite(t, language, isolation) })
			}
		}
	}
}

// python is an attack whose main has this body.
func python(body, more string) attack {
	return attack{"def main(params, context):\n    " + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n    ") + "\n", more}
}

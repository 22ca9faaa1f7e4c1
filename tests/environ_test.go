package tests

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes/container/containertest"
)

// TestEnvironIsTheDocumentedList, in every shipped runtime, with what the pack
// and the action declare and nothing of the gateway's.
func TestEnvironIsTheDocumentedList(t *testing.T) {
	h := newHome(t)
	h.pack(t, "vars", map[string]string{
		"pack.yaml":           "ref: vars\nversion: 1.0.0\nvars: {COLOUR: red, SIZE: big}\n",
		"actions/shell.yaml":  "ref: vars.shell\nentry_point: e.sh\nvars: {SIZE: small}\n",
		"actions/e.sh":        "exec env -0\n", // exec: bash's own SHLVL and _ are not ours
		"actions/python.yaml": "ref: vars.python\nentry_point: e.py\n",
		"actions/e.py":        "import os\nprint('\\0'.join(f'{name}={value}' for name, value in os.environ.items()), end='')\n",
		"actions/node.yaml":   "ref: vars.node\nentry_point: e.js\n",
		"actions/e.js":        "process.stdout.write(Object.entries(process.env).map(([name, value]) => name + '=' + value).join('\\0'))\n",
		"actions/native.yaml": "ref: vars.native\nrunner_type: native\nentry_point: e\n",
		"actions/e":           "#!/bin/bash\ncat /proc/self/environ\n",
	})
	g := h.start(t)
	always := "ATTUNE_ACTION ATTUNE_DEADLINE ATTUNE_EXEC_ID ATTUNE_PACK ATTUNE_PACK_DIR ATTUNE_PARAMETER_DELIVERY ATTUNE_PARAMETER_FORMAT COLOUR HOME LANG PATH SIZE TMPDIR TZ"
	for action, more := range map[string]string{
		"shell": "", "native": "", "node": "NODE_PATH", "python": "PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONUNBUFFERED VIRTUAL_ENV",
	} {
		t.Run(action, func(t *testing.T) {
			a := g.mustInvoke(t, "vars."+action, "{}")
			got := map[string]string{}
			for entry := range strings.SplitSeq(strings.Trim(a.body, "\x00"), "\x00") {
				name, value, _ := strings.Cut(entry, "=")
				if _, twice := got[name]; twice {
					t.Errorf("%s is there twice", name)
				}
				got[name] = value
			}
			for _, own := range []string{"PWD", "OLDPWD", "SHLVL", "_"} { // what bash adds for itself
				delete(got, own)
			}
			want := strings.Fields(always + " " + more)
			slices.Sort(want)
			if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			size := "big"
			if action == "shell" {
				size = "small" // the action's word is nearer
			}
			if got["COLOUR"] != "red" || got["SIZE"] != size || got["ATTUNE_ACTION"] != "vars."+action || got["ATTUNE_EXEC_ID"] != a.header.Get("Attune-Execution-Id") {
				t.Errorf("values = %v", got)
			}
		})
	}
}

// TestAllLanguagesInTheFullImage: every shipped runtime works in attune/full, by
// a runtime of its name in the operator's directory.
func TestAllLanguagesInTheFullImage(t *testing.T) {
	containertest.RequireDocker(t)
	if out, err := exec.Command("docker", "image", "inspect", "--format", "{{.Id}}", "attune/full").CombinedOutput(); err != nil {
		t.Fatalf("attune/full is missing, `make images` makes it: %s", out)
	}
	h := newHome(t, "python_example", "nodejs_example", "shell_example")
	runtimes := h.packs + "-runtimes"
	for _, name := range []string{"python", "node", "shell"} {
		description, err := os.ReadFile(filepath.Join("..", "runtimes", name, "runtime.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(runtimes, name, "runtime.yaml"), strings.Replace(string(description), "image: attune/"+name, "image: attune/full", 1), 0o644)
	}
	g := h.start(t, "ATTUNE__RUNTIMES_DIR="+runtimes)
	for _, pack := range []string{"python_example", "nodejs_example", "shell_example"} {
		if got := g.mustInvoke(t, pack+".hello", `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
			t.Errorf("%s: greeting = %v", pack, got)
		}
	}
}

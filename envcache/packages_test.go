package envcache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes"
)

// TestPackagesOfAHostileEnvironment: what is well-formed is listed, by what its
// place says, and the rest is left out.
func TestPackagesOfAHostileEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "package.json")
	write(t, outside, `{"version":"9"}`)
	for name, content := range map[string]string{
		"lib/python3.13/site-packages/a-1.dist-info/METADATA":   "Metadata-Version: 2.1\nName: A\nVersion: 1.0\n\nName: body\n",
		"lib/python3.13/site-packages/b-1.dist-info/METADATA":   "Name: b\nVersion: 1.0\x1b[31m\n",
		"lib/python3.13/site-packages/c-1.dist-info/METADATA":   "Name: " + strings.Repeat("c", 201) + "\nVersion: 1\n",
		"lib/python3.13/site-packages/d-1.dist-info/METADATA":   strings.Repeat("x", maxPackageFile+1),
		"lib/python3.13/site-packages/e-1.dist-info/RECORD":     "",
		"lib/python3.13/site-packages/f-1.dist-info/METADATA/x": "",
		"node_modules/one/package.json":                         `{"name":"liar","version":"1.2.3"}`,
		"node_modules/@scope/two/package.json":                  `{"version":"2.0.0"}`,
		"node_modules/one/node_modules/three/package.json":      `{"version":"3.0.0"}`,
		"node_modules/four/package.json":                        `{"version":4}`,
		"node_modules/five/package.json":                        `{`,
		"node_modules/six/package.json":                         `{"version":"6.0.0 <b>"}`,
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), content)
	}
	for link, target := range map[string]string{"node_modules/seven": filepath.Dir(outside), "lib/python3": "python3.13"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	var rules []runtimes.PackageFiles
	for _, name := range []string{"python", "node"} {
		rules = append(rules, shipped(t, name, nil).Runtime.Dependencies.Packages...)
	}
	got, err := packages(dir, rules)
	want := []Package{{"@scope/two", "2.0.0"}, {"A", "1.0"}, {"one", "1.2.3"}, {"three", "3.0.0"}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("packages() (-want +got), %v:\n%s", err, diff)
	}
}

func TestPackagesAreBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range maxPackages + 10 {
		path := filepath.Join(dir, "node_modules", fmt.Sprint("p", i))
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(path, "package.json"), `{"version":"1"}`)
	}
	got, err := packages(dir, shipped(t, "node", nil).Runtime.Dependencies.Packages)
	if err != nil || len(got) != maxPackages {
		t.Errorf("packages() = %d of them, %v, want %d", len(got), err, maxPackages)
	}
}

// TestMarkerListsPackages, and so does the status.
func TestMarkerListsPackages(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, `mkdir -p m/tiny; echo '{"version":"1.0.0"}' >m/tiny/package.json`)
	recipe.Runtime.Dependencies.Packages = []runtimes.PackageFiles{{Files: "m/*/package.json", Format: runtimes.PackageJSON}}
	env := mustEnsure(t, c, recipe)
	marker, err := c.volume.published(env.Digest)
	if err != nil {
		t.Fatal(err)
	}
	status, err := c.Status(recipe)
	want := []Package{{"tiny", "1.0.0"}}
	if diff := cmp.Diff([][]Package{want, want}, [][]Package{marker.Packages, status.Packages}); err != nil || diff != "" {
		t.Errorf("packages of marker and status (-want +got), %v:\n%s", err, diff)
	}
}

package pack

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes"
)

func catalogOf(t testing.TB, packs map[string]map[string]string) *Catalog {
	t.Helper()
	base := t.TempDir()
	for name, files := range packs {
		write(t, filepath.Join(base, name), files)
	}
	catalog, err := LoadCatalog(base, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

func needs(ref, deps string) map[string]string {
	return map[string]string{"pack.yaml": "ref: " + ref + "\nversion: 1\ndependencies: [" + deps + "]\n"}
}

func TestCatalog(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]map[string]string{
		"core":   nil,
		"off":    {"pack.yaml": "ref: off\nversion: 1\nenabled: false\n"},
		"broken": {"pack.yaml": "ref: x\n"},
		".git":   {"pack.yaml": "nonsense"},
		"chain":  needs("chain", "link, core"),
		"link":   needs("link", "broken"),
		"loopa":  needs("loopa", "loopb"),
		"loopb":  needs("loopb", "loopa, core"),
		"Bad":    nil,
	})
	var packs, actions []string
	for _, pack := range catalog.Packs() {
		packs = append(packs, string(pack.Ref))
	}
	for _, action := range catalog.Actions() {
		actions = append(actions, action.Ref.String())
	}
	broken := map[string]string{}
	for _, b := range catalog.Broken() {
		broken[b.Name] = b.Err.Error()
	}
	if diff := cmp.Diff([]string{"core", "loopa", "loopb", "off"}, packs); diff != "" {
		t.Errorf("packs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"core.a", "loopa.a", "loopb.a", "off.a"}, actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	const grammar = "a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -"
	wantBroken := map[string]string{
		"broken": "pack.yaml:1: ref is x, but the directory is broken: they must be equal\n" +
			"pack.yaml: version is missing, for example version: 1.0.0",
		"chain": "pack.yaml: needs pack link, which isn't there or is broken",
		"link":  "pack.yaml: needs pack broken, which isn't there or is broken",
		"Bad": "the directory's name is the pack's ref: invalid ref \"Bad\": " + grammar + "\n" +
			"pack.yaml:1: ref: invalid ref \"Bad\": " + grammar + "\n" +
			"actions/a.yaml:1: ref: invalid ref \"Bad.a\": an action's ref is pack.action, each a lower-case letter and up to 62 of a-z, 0-9, _ and -",
	}
	if diff := cmp.Diff(wantBroken, broken); diff != "" {
		t.Errorf("broken (-want +got):\n%s", diff)
	}
	if _, ok := catalog.BrokenPack("link"); !ok {
		t.Error("BrokenPack doesn't know link")
	}
	if _, ok := catalog.BrokenPack("core"); ok {
		t.Error("BrokenPack knows core")
	}
	off, ok := catalog.Action(ActionRef{"off", "a"})
	if !ok || off.Enabled {
		t.Errorf("action of a disabled pack: %+v, %t", off, ok)
	}
	if pack, ok := catalog.Pack("off"); !ok || pack.Enabled {
		t.Errorf("disabled pack: %+v, %t", pack, ok)
	}
	for _, ref := range []ActionRef{{"core", "b"}, {"none", "a"}, {"chain", "a"}} {
		if _, ok := catalog.Action(ref); ok {
			t.Errorf("Action knows %s", ref)
		}
	}
}

func TestCatalogIgnoresFiles(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	must(t, os.WriteFile(filepath.Join(base, "README.md"), nil, 0o644))
	must(t, os.Symlink("/etc", filepath.Join(base, "evil")))
	catalog, err := LoadCatalog(base, runtimes.Builtin(), LoadOptions{})
	if err != nil || len(catalog.Broken()) != 1 || catalog.Broken()[0].Name != "evil" {
		t.Errorf("LoadCatalog: %v, broken %v", err, catalog.Broken())
	}
	if _, err := LoadCatalog(filepath.Join(base, "lost"), runtimes.Builtin(), LoadOptions{}); err == nil {
		t.Error("LoadCatalog of a directory that isn't there has no error")
	}
}

// A large installation starts quickly.
func TestThousandPacks(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 4,000 files")
	}
	base := t.TempDir()
	for i := range 1000 {
		name := fmt.Sprintf("pack%d", i)
		write(t, filepath.Join(base, name), map[string]string{
			"actions/a.yaml": "ref: " + name + ".a\nentry_point: a.sh\nparameters: {name: {type: string, default: x}, n: {type: integer}}\n",
		})
	}
	start := time.Now()
	catalog, err := LoadCatalog(base, runtimes.Builtin(), LoadOptions{})
	took := time.Since(start)
	if err != nil || len(catalog.Packs()) != 1000 {
		t.Fatalf("LoadCatalog: %v, %d packs", err, len(catalog.Packs()))
	}
	t.Logf("1,000 packs in %v", took)
	if took > 30*time.Second {
		t.Errorf("1,000 packs took %v", took)
	}
}

// With reads one pack again, and what may have waited for it; the others stay
// as they were, whatever is on the disk.
func TestCatalogWith(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	write(t, filepath.Join(base, "other"), nil)
	write(t, filepath.Join(base, "waits"), needs("waits", "late"))
	reg := runtimes.Builtin()
	before, err := LoadCatalog(base, reg, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, _ := before.Pack("other")
	write(t, filepath.Join(base, "other"), map[string]string{"pack.yaml": "half written"})
	write(t, filepath.Join(base, "late"), nil)
	write(t, filepath.Join(base, "unasked"), nil)
	after := before.With(base, "late", reg, LoadOptions{})
	var packs []string
	for _, pack := range after.Packs() {
		packs = append(packs, string(pack.Ref))
	}
	if diff := cmp.Diff([]string{"late", "other", "waits"}, packs); diff != "" {
		t.Errorf("packs (-want +got):\n%s", diff)
	}
	if same, _ := after.Pack("other"); same != other {
		t.Error("a pack that nobody asked for was read again")
	}
	if _, found := after.Action(ActionRef{Pack: "late", Name: "a"}); !found {
		t.Error("the new pack's action is missing")
	}
	if len(before.Packs()) != 1 {
		t.Error("the catalog from before has changed")
	}
	broken := after.With(base, "other", reg, LoadOptions{})
	if _, is := broken.BrokenPack("other"); !is {
		t.Error("the half written pack is served after it was read")
	}
}

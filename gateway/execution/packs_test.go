package execution

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/envcache"
	"attune/gateway/pack"
	"attune/runtimes"
)

// shelf is a directory of packs, and the Packs over it.
func shelf(t *testing.T, refs ...string) *Packs {
	t.Helper()
	dir := t.TempDir()
	for _, ref := range refs {
		putPack(t, dir, ref, "true")
	}
	packs, err := LoadPacks(dir, runtimes.Builtin())
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

func putPack(t *testing.T, dir, ref, script string) {
	t.Helper()
	for name, content := range map[string]string{
		"pack.yaml": "ref: " + ref + "\nversion: 1\n", "actions/a.yaml": "ref: " + ref + ".a\nentry_point: a.sh\n", "actions/a.sh": script,
	} {
		path := filepath.Join(dir, ref, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadOnePack(t *testing.T) {
	t.Parallel()
	p := shelf(t, "known")
	told := 0
	p.OnChange(func(before, after *pack.Catalog) {
		told++
		if before == after {
			t.Error("told of no change")
		}
	})
	if _, err := p.read("known", false); !errors.Is(err, ErrRegistered) {
		t.Errorf("read() of a known pack = %v, want ErrRegistered", err)
	}
	if created, err := p.read("known", true); err != nil || created {
		t.Errorf("read() by force = %v, %v", created, err)
	}
	putPack(t, p.Dir, "fresh", "true")
	if created, err := p.read("fresh", false); err != nil || !created {
		t.Errorf("read() of a new pack = %v, %v", created, err)
	}
	if told != 2 {
		t.Errorf("told of %d changes, want 2", told)
	}

	// One with faults doesn't put the served one out, and every fault is told.
	if err := os.WriteFile(filepath.Join(p.Dir, "known", "pack.yaml"), []byte("ref: other\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.read("known", true); err == nil || !strings.Contains(err.Error(), "must be equal") || !strings.Contains(err.Error(), "version is missing") {
		t.Errorf("read() of a faulty pack = %v", err)
	}
	if _, served := p.Catalog().Pack("known"); !served || told != 2 {
		t.Errorf("the pack from before isn't served (%v), told %d times", served, told)
	}
}

// A path from a request names a directory below packs_base_dir and nothing else.
func TestPathOfAPack(t *testing.T) {
	t.Parallel()
	p := shelf(t, "known")
	if err := os.WriteFile(filepath.Join(p.Dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"known", "./known", "known/", filepath.Join(p.Dir, "known"), p.Dir + "/x/../known"} {
		if name, err := p.component(path); err != nil || name != "known" {
			t.Errorf("component(%q) = %q, %v", path, name, err)
		}
	}
	for _, path := range []string{
		"", ".", "..", "/", "../known", "known/actions", "missing", "file", "/etc", p.Dir, p.Dir + "/..", filepath.Dir(p.Dir), ".hidden", "a\x00b",
	} {
		if name, err := p.component(path); !errors.Is(err, ErrOutsidePacks) {
			t.Errorf("component(%q) = %q, %v, want ErrOutsidePacks", path, name, err)
		}
	}
}

// Only a pack whose directory went is gone: one that is broken, or disabled,
// keeps what it has.
func TestGonePacks(t *testing.T) {
	t.Parallel()
	p := shelf(t, "stays", "breaks", "goes")
	if err := errors.Join(
		os.RemoveAll(filepath.Join(p.Dir, "goes")),
		os.WriteFile(filepath.Join(p.Dir, "breaks", "pack.yaml"), nil, 0o644),
	); err != nil {
		t.Fatal(err)
	}
	var gone []string
	p.OnChange(func(before, after *pack.Catalog) {
		for _, one := range p.gone(before, after) {
			gone = append(gone, string(one.Ref))
		}
	})
	if err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	if len(gone) != 1 || gone[0] != "goes" {
		t.Errorf("gone = %v", gone)
	}
	if err := os.RemoveAll(p.Dir); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(); err == nil || len(p.Catalog().Packs()) != 1 {
		t.Errorf("Reload() without a directory = %v, %d packs are served", err, len(p.Catalog().Packs()))
	}
}

// Operators ask for an environment by name, and hear of one that isn't there.
func TestInventoryObeys(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"a.failing": {"runner_type: failing\n", "true"}}, nil)
	i := r.inventory()
	for name, ask := range map[string]func(ref, runtime string) error{
		"Build":    func(ref, runtime string) error { _, err := i.Build(ref, runtime); return err },
		"Rebuild":  func(ref, runtime string) error { _, err := i.Rebuild(ref, runtime); return err },
		"Rollback": func(ref, runtime string) error { _, err := i.Rollback(ref, runtime, ""); return err },
		"Verify":   func(ref, runtime string) error { _, err := i.Verify(t.Context(), ref, runtime); return err },
		"Remove":   func(ref, runtime string) error { return i.Remove(t.Context(), ref, runtime) },
	} {
		for _, where := range [][2]string{{"other", "failing"}, {"demo", "shell"}, {"..", ".store"}} {
			if err := ask(where[0], where[1]); !errors.Is(err, ErrNoEnvironment) {
				t.Errorf("%s(%q) = %v, want ErrNoEnvironment", name, where, err)
			}
		}
	}
	if _, ok := i.Subscribe("other", "failing"); ok {
		t.Error("Subscribe() to an unknown pack")
	}
	if _, err := i.Rollback("demo", "failing", ""); !errors.Is(err, envcache.ErrNoGeneration) {
		t.Errorf("Rollback() = %v", err)
	}
	if _, err := i.Verify(t.Context(), "demo", "failing"); !errors.Is(err, envcache.ErrNotBuilt) {
		t.Errorf("Verify() = %v", err)
	}
	events, ok := i.Subscribe("demo", "failing")
	if !ok {
		t.Fatal("Subscribe() = false")
	}
	defer events.Close()
	if s, err := i.Build("demo", "failing"); err != nil || s.State == envcache.StateReady {
		t.Errorf("Build() = %+v, %v", s, err)
	}
	for e := range events.Events {
		if e.Phase == envcache.PhaseFailed {
			break
		}
	}
	if err := i.Remove(t.Context(), "demo", "failing"); err != nil {
		t.Errorf("Remove() = %v", err)
	}
	if s, ok := i.Show("demo", "failing"); !ok || s.State != envcache.StateAbsent {
		t.Errorf("Show() after Remove() = %+v, %v", s, ok)
	}
}

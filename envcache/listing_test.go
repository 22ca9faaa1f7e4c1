package envcache

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerifyFindsWhatWasTampered(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.gateway(t, nil)
	recipe := r.recipe(t, "mkdir sub; echo one >sub/one; echo two >'two \"quoted\" name'; ln -s sub/one link; echo x >tool; chmod +x tool")
	recipe.Runtime.Environment.VerifyCommand = []string{"/bin/sh", "-c", "test ! -e broken"}
	if _, err := c.Verify(t.Context(), recipe); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("Verify() of nothing = %v", err)
	}
	env := mustEnsure(t, c, recipe)
	defer env.Release()
	whole, err := c.Verify(t.Context(), recipe)
	if err != nil || !whole.OK || whole.Files < 6 || whole.Bytes == 0 || whole.Digest != env.Digest {
		t.Fatalf("Verify() = %+v, %v", whole, err)
	}
	at := func(name string) string { return filepath.Join(env.Dir, name) }
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"content", func() error { return os.WriteFile(at("sub/one"), []byte("ONE\n"), 0o444) }, `"sub/one" was changed`},
		{"mode", func() error { return os.Chmod(at("tool"), 0o444) }, `"tool" was changed`},
		{"missing", func() error { return os.Remove(at(`two "quoted" name`)) }, `"two \"quoted\" name" is missing`},
		{"added", func() error { return os.WriteFile(at("broken"), nil, 0o644) }, `"broken" was added`},
		{"link", func() error { return errors.Join(os.Remove(at("link")), os.Symlink("/etc/passwd", at("link"))) }, `"link" was changed`},
		{"pointer", func() error { return c.volume.point("demo", "sh", someDigest) }, "the pointer of the environment leads to"},
		{"works", func() error { return nil }, "does not work"},
		{"list", func() error { return os.WriteFile(at(listingFile), nil, 0o644) }, "not the one that was published"},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		got, err := c.Verify(t.Context(), recipe)
		if err != nil || got.OK || !strings.Contains(strings.Join(got.Faults, "\n"), step.want) {
			t.Errorf("%s: Verify() = %+v, %v, want %s", step.name, got, err, step.want)
		}
	}
	r.nothingLeft(t)
}

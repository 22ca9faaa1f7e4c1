package pack

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// refGrammar says again, in other words, what a name may be.
var refGrammar = regexp.MustCompile(`\A[a-z][a-z0-9_-]{0,62}\z`)

// FuzzRefIsAPathComponent asks the file system: what is a ref names one entry
// of a directory, with any suffix that the product gives it, and what the
// grammar has is a ref.
func FuzzRefIsAPathComponent(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseRef(s)
		if (err == nil) != refGrammar.MatchString(s) {
			t.Fatalf("ParseRef(%q) = %q, %v", s, ref, err)
		}
		if err != nil {
			return
		}
		root := t.TempDir()
		longest := string(ref) + "." + string(ref) + ".lock" // of a pointer
		for _, name := range []string{string(ref), longest} {
			path := filepath.Join(root, name)
			if filepath.Dir(path) != root || !filepath.IsLocal(name) {
				t.Fatalf("%q leads to %s", name, path)
			}
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := os.ReadDir(root)
		if err != nil || len(entries) != 2 || entries[0].Name() != string(ref) || entries[1].Name() != longest {
			t.Errorf("ReadDir() = %v, %v", entries, err)
		}
	})
}

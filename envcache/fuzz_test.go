package envcache

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzLinkStays asks the kernel: a link that stays may not lead out of a real
// tree, through whatever other links that stay.
func FuzzLinkStays(f *testing.F) {
	for _, seed := range [][3]string{
		{"a/b/l", "../x", "l/.."}, {"p/q/top", "../..", "p/q/top/../x"}, {"l", inside + "/a", "l/../../x"},
		{"l", "/usr/bin/python3", "l/x"}, {"l", "..", "a"}, {"a/l", "..//..", "."},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, name, first, second string) {
		outside := t.TempDir()
		root := filepath.Join(outside, "root")
		dir := filepath.Join(root, inside)
		if !filepath.IsLocal(name) || name != filepath.Clean(name) || name == "evil" || name == "." || len(name) > 100 {
			return
		}
		if !linkStays(name, first, inside) || !linkStays("evil", second, inside) {
			return
		}
		at := func(target string) string {
			if filepath.IsAbs(target) {
				return root + target
			}
			return target
		}
		err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if err == nil {
			err = os.Symlink(at(first), filepath.Join(dir, name))
		}
		if err == nil {
			err = os.Symlink(at(second), filepath.Join(dir, "evil"))
		}
		if err != nil {
			return // no such name on this file system
		}
		end, err := filepath.EvalSymlinks(filepath.Join(dir, "evil"))
		if err != nil {
			return // it leads nowhere
		}
		real, err := filepath.EvalSymlinks(dir)
		if err != nil {
			t.Fatal(err)
		}
		if end != real && !strings.HasPrefix(end, real+"/") {
			t.Errorf("%q -> %q and evil -> %q lead to %s", name, first, second, end)
		}
	})
}

// FuzzBuildLog writes the same output in two ways.
func FuzzBuildLog(f *testing.F) {
	f.Add([]byte("a\nb\n==> install failed: exit status 1\n"), 3)
	f.Add([]byte("get https://me:secret@host/simple\n\x1b[31mred\x00\xff"), 7)
	f.Add(bytes.Repeat([]byte("x"), 3*maxLine), maxLine)
	f.Add(bytes.Repeat([]byte("é "), maxLine), 1000)
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		whole, pieces := newBuildLog(nil), newBuildLog(func(line string) {
			if strings.ContainsAny(line, "\n\x1b\x00") || !utf8.ValidString(line) || len(line) > 3*maxLine+8 {
				t.Errorf("line %.100q of %d bytes", line, len(line))
			}
		})
		for _, l := range []struct {
			log  *buildLog
			size int
		}{{whole, len(output)}, {pieces, size}} {
			for rest := output; len(rest) > 0; {
				n := min(max(l.size, 1), len(rest))
				if wrote, err := l.log.Write(rest[:n]); wrote != n || err != nil {
					t.Fatalf("Write() = %d, %v", wrote, err)
				}
				rest = rest[n:]
			}
		}
		got, want := pieces.bytes(), whole.bytes()
		if !bytes.Equal(got, want) || len(got) > maxLog {
			t.Errorf("in pieces of %d: %d bytes, at once %d", size, len(got), len(want))
		}
		if tail := whole.tail(); len(tail) > maxTail || !utf8.ValidString(tail) {
			t.Errorf("tail of %d bytes", len(tail))
		}
	})
}

// FuzzMarker reads whatever is there for a marker: it is whole, or an error.
func FuzzMarker(f *testing.F) {
	const digest = "0123456789abcdef0123456789abcdef"
	whole, err := json.Marshal(Marker{Digest: digest})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(`{"digest":"other"}`))
	f.Add([]byte("null"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		v := volume{root: t.TempDir()}
		if err := os.MkdirAll(v.generation(digest), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(v.marker(digest), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := v.published(digest); err == nil && (m == nil || m.Digest != digest) {
			t.Errorf("published() = %+v without an error", m)
		}
	})
}

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/envcache"
)

func TestIndexFaults(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ yaml, want string }{
		"name":           {"build: {indexes: {A.b.c: 'https://x/'}}", `build.indexes (attune.yaml:1): "A.b.c" is no name of an index: write one like internal, or internal.python for one runtime`},
		"no URL":         {"build: {indexes: {a: x/simple}}", "build.indexes (attune.yaml:1): a is no URL of an index: write https://host/path"},
		"scheme":         {"build: {indexes: {a: 'file:///etc'}}", "build.indexes (attune.yaml:1): a is no URL of an index: write https://host/path"},
		"credentials":    {"build: {indexes: {a: 'https://u:s3cret@x/'}}", "build.indexes (attune.yaml:1): a is a URL with credentials: keep them in build.index_credentials"},
		"without index":  {"build: {index_credentials: {a: /x}}", "build.index_credentials (attune.yaml:1): there is no index a in build.indexes: add it, or remove its credentials"},
		"no variable":    {"build: {indexes: {a: 'https://x/'}, index_credentials: {a: 'env:A B'}}", "build.index_credentials (attune.yaml:1): a names neither a file nor a variable: write a path or env:NAME"},
		"cache too much": {"build: {cache_bytes: 2000TiB}", "build.cache_bytes (attune.yaml:1): 2000TiB is out of range: give 0B to 1024TiB"},
	} {
		if diff := cmp.Diff([]string{test.want}, faultTexts(t, test.yaml)); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", name, diff)
		}
	}
}

func TestIndexCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := writeFile(t, "good", "reader:p4ss:w0rd\n")
	config := BuildConfig{
		Indexes:          map[string]string{"a": "https://a/", "b": "https://b/", "open": "https://o/"},
		IndexCredentials: map[string]string{"a": good, "b": "env:TOKEN"},
	}
	got, err := config.readIndexes([]string{"TOKEN=robot:t0ken"})
	want := map[string]envcache.Index{
		"a": {URL: "https://a/", User: "reader", Password: "p4ss:w0rd"}, "b": {URL: "https://b/", User: "robot", Password: "t0ken"}, "open": {URL: "https://o/"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("readIndexes (-want +got), %v:\n%s", err, diff)
	}
	for name, place := range map[string]string{
		"no such file": filepath.Join(dir, "lost"), "no such variable": "env:LOST", "no password": "env:USER_ALONE", "two lines": "env:LINES", "a space": "env:SPACE", "too long": "env:LONG",
	} {
		config.IndexCredentials["a"] = place
		_, err := config.readIndexes([]string{
			"USER_ALONE=s3cret", "LINES=a:s3cret\nmachine x", "SPACE=a:s3cret b", "TOKEN=robot:t0ken", "LONG=a:s3cret" + strings.Repeat("x", maxCredentials),
		})
		if err == nil || !strings.HasPrefix(err.Error(), "a: ") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: error = %v, want one that names the index and no secret", name, err)
		}
	}
}

// A file is found beside the configuration that names it; a variable is no path.
func TestIndexCredentialsAreBesideTheFile(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "attune.yaml", "build:\n  indexes: {a: 'https://a/', b: 'https://b/'}\n  index_credentials: {a: secrets/a, b: 'env:B'}\n")
	config, err := LoadConfig(file, nil)
	want := map[string]string{"a": filepath.Join(filepath.Dir(file), "secrets", "a"), "b": "env:B"}
	if diff := cmp.Diff(want, config.Build.IndexCredentials); err != nil || diff != "" {
		t.Errorf("index_credentials (-want +got), %v:\n%s", err, diff)
	}
}

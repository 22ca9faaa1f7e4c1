package tests

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// index is a package index of two ecosystems with one package in each version
// "1.0.0" and "1.1.0": tiny. It counts what is fetched.
type index struct {
	url  string
	user string // with password, of everybody who may read; empty = open
	pass string

	mu      sync.Mutex
	fetched map[string]int // path → answers with a file
	refused int            // answers 401
}

// newIndex starts an index that containers can reach.
func newIndex(t *testing.T, user, pass string) *index {
	t.Helper()
	x := &index{user: user, pass: pass, fetched: map[string]int{}}
	x.url = serveContainers(t, x)
	return x
}

func (x *index) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, pass, _ := r.BasicAuth(); x.user != "" && (user != x.user || pass != x.pass) {
		x.count(&x.refused)
		w.Header().Set("WWW-Authenticate", `Basic realm="index"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
		return
	}
	path := r.URL.Path
	switch {
	case path == "/simple/tiny/":
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "max-age=600")
		for _, version := range []string{"1.0.0", "1.1.0"} {
			fmt.Fprintf(w, "<a href=\"%s/files/%s#sha256=%s\">tiny</a>\n", x.url, wheelName(version), wheelHash(version))
		}
	case strings.HasPrefix(path, "/files/tiny-") && strings.HasSuffix(path, ".whl"):
		x.file(w, r, wheel(strings.Split(path, "-")[1]))
	case path == "/npm/tiny":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name":"tiny","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"tiny","version":"1.0.0","bin":{"tinyjs":"cli.js"},"scripts":%s,"hasInstallScript":true,`+
			`"dist":{"tarball":"%s/npm/tiny/-/tiny-1.0.0.tgz","integrity":"%s"}}}}`, installScript, x.url, tarballIntegrity())
	case path == "/npm/tiny/-/tiny-1.0.0.tgz":
		x.file(w, r, tarball())
	default:
		http.NotFound(w, r)
	}
}

// file answers with a package, which never changes. A part of one, in which an
// installer looks for what the package needs, doesn't count as fetched.
func (x *index) file(w http.ResponseWriter, r *http.Request, content []byte) {
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
		x.mu.Lock()
		x.fetched[r.URL.Path]++
		x.mu.Unlock()
	}
	w.Header().Set("Cache-Control", "max-age=31536000, immutable")
	http.ServeContent(w, r, r.URL.Path, time.Time{}, bytes.NewReader(content))
}

func (x *index) count(n *int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	*n++
}

// files tells how many package files were fetched so far.
func (x *index) files() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, times := range x.fetched {
		n += times
	}
	return n
}

func wheelName(version string) string { return "tiny-" + version + "-py3-none-any.whl" }

func wheelHash(version string) string {
	sum := sha256.Sum256(wheel(version))
	return hex.EncodeToString(sum[:])
}

// wheel is a package with a module and a command that says its version.
func wheel(version string) []byte {
	files := [][2]string{
		{"tiny/__init__.py", "__version__ = '" + version + "'\ndef main():\n    print('tiny says', __version__)\n"},
		{"tiny-" + version + ".dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: " + version + "\n"},
		{"tiny-" + version + ".dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"tiny-" + version + ".dist-info/entry_points.txt", "[console_scripts]\ntinypy = tiny:main\n"},
	}
	var record strings.Builder
	for _, f := range files {
		sum := sha256.Sum256([]byte(f[1]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", f[0], base64.RawURLEncoding.EncodeToString(sum[:]), len(f[1]))
	}
	name := "tiny-" + version + ".dist-info/RECORD"
	files = append(files, [2]string{name, record.String() + name + ",,\n"})
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		entry, err := z.Create(f[0])
		if err == nil {
			_, err = entry.Write([]byte(f[1]))
		}
		if err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

const installScript = `{"install":"node -e \"require('fs').writeFileSync('ran', '')\""}`

// tarball is an npm package with a module, a command, and an install script that
// leaves a file.
func tarball() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range [][2]string{
		{"package/package.json", `{"name":"tiny","version":"1.0.0","bin":{"tinyjs":"cli.js"},"scripts":` + installScript + `}`},
		{"package/index.js", "exports.version = '1.0.0'\nexports.installed = require('fs').existsSync(__dirname + '/ran')\n"},
		{"package/cli.js", "#!/usr/bin/env node\nconsole.log('tiny says', require('./index.js').version)\n"},
	} {
		err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o755, Size: int64(len(f[1]))})
		if err == nil {
			_, err = w.Write([]byte(f[1]))
		}
		if err != nil {
			panic(err) // a buffer takes everything
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func tarballIntegrity() string {
	sum := sha512.Sum512(tarball())
	return "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
}

package envcache

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"

	"attune/runtimes"
)

// Bounds of what is read of an environment's packages: their number, and the
// bytes of a file that describes one.
const (
	maxPackages     = 2000
	maxPackageFile  = 1 << 20
	maxPackageWords = 200 // of a name, of a version
)

// packages lists what was installed into an attempt, by name and version. The
// files are hostile: what can't be read is left out, and no link is followed
// out of the environment.
func packages(attempt string, rules []runtimes.PackageFiles) ([]Package, error) {
	root, err := os.OpenRoot(attempt)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	found := map[Package]bool{}
	for _, rule := range rules {
		names, err := fs.Glob(root.FS(), rule.Files)
		if err != nil {
			return nil, fmt.Errorf("files of packages %q: %w", rule.Files, err)
		}
		for _, name := range names {
			p, ok := readPackage(root, name, rule.Format)
			if ok && len(found) < maxPackages {
				found[p] = true
			}
		}
	}
	list := make([]Package, 0, len(found))
	for p := range found {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
	return list, nil
}

// readPackage reads the description of one package.
func readPackage(root *os.Root, name string, format runtimes.PackageFormat) (Package, bool) {
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return Package{}, false
	}
	content, err := readSome(root, name)
	if err != nil {
		return Package{}, false
	}
	var p Package
	switch format {
	case runtimes.PackageMetadata:
		p = metadata(content)
	case runtimes.PackageJSON:
		if json.Unmarshal(content, &p) != nil {
			return Package{}, false
		}
	}
	// Where it lies says which package of a scope it is, whatever it says itself.
	if format == runtimes.PackageJSON {
		dir := path.Dir(name)
		p.Name = path.Base(dir)
		if scope := path.Base(path.Dir(dir)); strings.HasPrefix(scope, "@") {
			p.Name = scope + "/" + p.Name
		}
	}
	return p, word(p.Name) && word(p.Version)
}

func readSome(root *os.Root, name string) (content []byte, err error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return io.ReadAll(io.LimitReader(file, maxPackageFile))
}

// metadata reads the headers of a METADATA file, whose body is prose.
func metadata(content []byte) Package {
	var p Package
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxPackageFile)
	for lines.Scan() && lines.Text() != "" {
		key, value, _ := strings.Cut(lines.Text(), ":")
		switch strings.ToLower(key) {
		case "name":
			p.Name = strings.TrimSpace(value)
		case "version":
			p.Version = strings.TrimSpace(value)
		}
	}
	return p
}

// word tells whether a name or version is fit to be shown.
func word(s string) bool {
	return s != "" && len(s) <= maxPackageWords &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

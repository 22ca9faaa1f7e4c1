package runtimes

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"attune/runtimes/strictyaml"
	"github.com/hashicorp/go-multierror"
)

// Runtimes are whole folders: their warm programs lie beside runtime.yaml.
//
//go:embed */runtime.yaml */*.py */*.js
var shipped embed.FS

const runtimeFile = "runtime.yaml"

// Registry is an immutable set of runtimes, in which every name, alias and file
// extension means one of them.
type Registry struct {
	runtimes    []*Runtime // sorted by name
	byName      map[string]*Runtime
	byExtension map[string]*Runtime
}

// Builtin is the registry of the shipped runtimes.
var Builtin = sync.OnceValue(func() *Registry {
	files, err := shipped.ReadDir(".")
	if err != nil {
		panic(err) // the program was built without its runtimes
	}
	var all []*Runtime
	for _, dir := range files {
		folder, err := fs.Sub(shipped, dir.Name())
		if err != nil {
			panic(err)
		}
		runtime, err := readFolder(folder, dir.Name())
		if err != nil {
			panic(err) // a test loads them all
		}
		all = append(all, runtime)
	}
	registry, err := newRegistry(all)
	if err != nil {
		panic(err)
	}
	return registry
})

// With adds the operator's runtimes, <dir>/<name>/runtime.yaml. One that has the
// name of a runtime already there takes its place. The error holds every fault
// of every file, by go-multierror.
func (r *Registry) With(dir string) (*Registry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read runtimes: %w", err)
	}
	all := slices.Clone(r.runtimes)
	var faults *multierror.Error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || entry.Type().IsRegular() {
			continue // a README beside the runtimes
		}
		runtime, err := loadFolder(dir, entry.Name())
		if err != nil {
			faults = multierror.Append(faults, err)
			continue
		}
		all = slices.DeleteFunc(all, func(old *Runtime) bool { return old.Name == runtime.Name })
		all = append(all, runtime)
	}
	if err := faults.ErrorOrNil(); err != nil {
		return nil, err
	}
	return newRegistry(all)
}

// loadFolder reads a runtime of the operator's, and nothing outside its folder. A
// copy of a shipped runtime.yaml has the shipped warm programs, too, unless it
// brings its own.
func loadFolder(dir, name string) (*Runtime, error) {
	root, err := os.OpenRoot(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("runtime %q: %w", name, err)
	}
	defer root.Close() // only read
	folder, err := fs.Sub(shipped, name)
	if err != nil {
		return readFolder(root.FS(), name) // no name of a shipped one
	}
	return readFolder(over{root.FS(), folder}, name)
}

// over is a folder that has the files of another one below its own.
type over [2]fs.FS

// Open implements fs.FS.
func (o over) Open(name string) (fs.File, error) {
	file, err := o[0].Open(name)
	if errors.Is(err, fs.ErrNotExist) && name != runtimeFile {
		if below, found := o[1].Open(name); found == nil {
			return below, nil
		}
	}
	return file, err
}

// readFolder reads a runtime whose name is its folder's.
func readFolder(folder fs.FS, name string) (*Runtime, error) {
	source := path.Join(name, runtimeFile)
	data, err := fs.ReadFile(folder, runtimeFile)
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err // its path is only the end of source
		}
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	runtime, err := load(data, source, folder)
	if err != nil {
		return nil, err
	}
	if runtime.Name != name {
		return nil, &strictyaml.Fault{
			File: source,
			Text: fmt.Sprintf("name is %s, but the folder is %s: they must be equal", runtime.Name, name),
		}
	}
	return runtime, nil
}

func newRegistry(all []*Runtime) (*Registry, error) {
	registry := &Registry{
		runtimes:    slices.SortedFunc(slices.Values(all), func(a, b *Runtime) int { return cmp.Compare(a.Name, b.Name) }),
		byName:      map[string]*Runtime{},
		byExtension: map[string]*Runtime{},
	}
	var faults *multierror.Error
	claim := func(index map[string]*Runtime, what, key string, runtime *Runtime) {
		key = strings.ToLower(key)
		if owner, taken := index[key]; taken && owner != runtime {
			faults = multierror.Append(faults, fmt.Errorf("%s %s belongs to both runtime %s and runtime %s", what, key, owner.Name, runtime.Name))
			return
		}
		index[key] = runtime
	}
	for _, runtime := range registry.runtimes {
		for _, name := range append([]string{runtime.Name}, runtime.Aliases...) {
			claim(registry.byName, "name", name, runtime)
		}
		for _, ext := range runtime.extensions() {
			claim(registry.byExtension, "file extension", "."+strings.TrimPrefix(ext, "."), runtime)
		}
	}
	if err := faults.ErrorOrNil(); err != nil {
		return nil, err
	}
	return registry, nil
}

// ByName finds a runtime by its name or an alias, whatever the case.
func (r *Registry) ByName(name string) (*Runtime, bool) {
	runtime, ok := r.byName[strings.ToLower(name)]
	return runtime, ok
}

// ForFile finds the runtime of a file's extension, whatever the case.
func (r *Registry) ForFile(name string) (*Runtime, bool) {
	runtime, ok := r.byExtension[strings.ToLower(path.Ext(name))]
	return runtime, ok
}

// All lists the runtimes by name. The list is shared: don't change it.
func (r *Registry) All() []*Runtime { return r.runtimes }

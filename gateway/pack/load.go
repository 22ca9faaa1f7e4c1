package pack

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"attune/runtimes"
	"attune/runtimes/strictyaml"
)

// Fault is one thing that is wrong with a pack. Its file is below the pack's
// directory; empty means the directory itself.
type Fault = strictyaml.Fault

// LoadOptions bound a pack. The zero value means the defaults.
type LoadOptions struct {
	MaxFiles int
	MaxBytes int64
}

const packFile = "pack.yaml"

// Load reads and checks the pack in dir. The error, a *multierror.Error, holds
// every fault as a *Fault; a pack with one isn't served, not even in part.
func Load(dir string, reg *runtimes.Registry, opt LoadOptions) (*Pack, error) {
	opt.MaxFiles = cmp.Or(opt.MaxFiles, DefaultMaxFiles)
	opt.MaxBytes = cmp.Or(opt.MaxBytes, DefaultMaxBytes)
	var faults strictyaml.Faults
	pack, err := load(dir, reg, opt, &faults)
	if err != nil {
		faults.Addf("", 0, "can't be read: %v", cause(err))
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return pack, nil
}

func load(dir string, reg *runtimes.Registry, opt LoadOptions, faults *strictyaml.Faults) (pack *Pack, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	ref, err := ParseRef(filepath.Base(dir))
	if err != nil {
		faults.Addf("", 0, "the directory's name is the pack's ref: %v", err)
	}
	files, err := openTree(dir, faults)
	if err != nil {
		if faults.Any() {
			return nil, nil // said already
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, files.root.Close()) }()
	if !files.walk(dir, opt) {
		return nil, nil
	}
	l := loader{tree: files, reg: reg, faults: faults, ref: ref, shapes: map[string]string{}}
	pack = &Pack{Dir: dir, Revision: files.revision()}
	l.reserved()
	l.later()
	l.manifest(pack)
	l.dependencyFiles()
	l.actions(pack)
	l.hooks(pack)
	l.schedules(pack)
	l.refusedLocks(pack)
	return pack, nil
}

// loader is what the rules of a pack need.
type loader struct {
	tree   *tree
	reg    *runtimes.Registry
	faults *strictyaml.Faults
	ref    Ref               // the directory's; empty if that is none
	shapes map[string]string // of routes → the file that has it
}

var at = strictyaml.At

// reserved refuses the names beside the packs that runtimes use, node_modules.
func (l *loader) reserved() {
	for _, runtime := range l.reg.All() {
		for _, mount := range runtime.Environment.Mounts {
			if mount.At == "{"+runtimes.VarPacksDir+"}/"+string(l.ref) {
				l.faults.Addf("", 0, "the name %s is runtime %s's: choose another", l.ref, runtime.Name)
			}
		}
	}
}

// later refuses what later versions will serve, rather than leave it out.
func (l *loader) later() {
	for _, name := range l.tree.yamlFiles("runtimes") {
		l.faults.Addf(name, 0, "runtimes/ is not supported yet: leave it out")
	}
}

// dependencyFiles checks the manifests and lock files: the builder reads them.
func (l *loader) dependencyFiles() {
	for _, runtime := range l.reg.All() {
		for _, name := range runtime.ManifestNames() {
			if l.tree.has(name) {
				l.regular(name)
			}
		}
	}
}

// refusedLocks reports lock files of tools that aren't used here, where an
// action would get an environment that was made without them.
func (l *loader) refusedLocks(pack *Pack) {
	told := map[string]bool{}
	for _, action := range pack.Actions {
		if action.Runtime == nil || told[action.Runtime.Name] { // without a runtime it has a fault already
			continue
		}
		told[action.Runtime.Name] = true
		if manifest := action.Runtime.ChooseManifest(l.tree.has); manifest != nil {
			if why := manifest.Refusal(l.tree.has); why != "" {
				l.faults.Addf(manifest.File, 0, "%s", why)
			}
		}
	}
}

// regular reports a file that isn't regular, or lies outside of the pack.
func (l *loader) regular(name string) (fs.FileInfo, bool) {
	info, err := l.tree.root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.faults.Addf(name, 0, "isn't there")
	case err != nil:
		l.faults.Addf(name, 0, "lies outside of the pack, or can't be read")
	case info.IsDir():
		l.faults.Addf(name, 0, "is a directory, but must be a file")
	case !info.Mode().IsRegular():
		l.faults.Addf(name, 0, "%v", errNotRegular)
	default:
		return info, true
	}
	return nil, false
}

// document reads a YAML file of the pack; nil means that there is a fault.
func (l *loader) document(name string, into any, later []string) *strictyaml.Document {
	if _, ok := l.regular(name); !ok {
		return nil
	}
	data, err := l.tree.read(name)
	if err != nil {
		l.faults.Addf(name, 0, "can't be read: %v", cause(err))
		return nil
	}
	doc := strictyaml.Read(name, data, into, l.faults, strictyaml.Options{Later: later})
	if !doc.Parsed() {
		return nil
	}
	return doc
}

// schema compiles the schema at a key of a file.
func (l *loader) schema(doc *strictyaml.Document, key string, raw map[string]any, use purpose) *Schema {
	schema, faults := compileSchema(raw, use)
	for _, fault := range faults {
		text := fault.text
		if !strings.HasPrefix(text, "unknown key") {
			text = key + ": " + text
		}
		doc.Faultf(append(at(key), fault.path...), "%s", text)
	}
	return schema
}

// choose checks a word that is one of a few; empty means the first.
func choose[T ~string](doc *strictyaml.Document, key, word string, known, later []T) T {
	switch {
	case word == "":
		return known[0]
	case slices.Contains(known, T(word)):
		return T(word)
	case slices.Contains(later, T(word)):
		doc.Faultf(at(key), "%s %s is not supported yet: use %s", key, word, known[0])
	default:
		words := make([]string, len(known))
		for i, k := range known {
			words[i] = string(k)
		}
		doc.Faultf(at(key), "%s %s doesn't exist: %s", key, quote(word), strictyaml.Suggest(word, words))
	}
	return known[0]
}

// synonym refuses a key that says something else than its other spelling.
func synonym(doc *strictyaml.Document, key, other string, equal bool) (useOther bool) {
	if doc.Has(key) && doc.Has(other) && !equal {
		doc.Faultf(at(other), "%s and %s are the same thing, but say different ones: keep %s", key, other, key)
	}
	return !doc.Has(key) && doc.Has(other)
}

// spelled is the value of a key that has two spellings.
func spelled(doc *strictyaml.Document, key, value, other, alternative string) string {
	if synonym(doc, key, other, value == alternative) {
		return alternative
	}
	return value
}

// title makes "Send message" of send_message.
func title(name string) string {
	words := strings.NewReplacer("_", " ", "-", " ").Replace(name)
	return fmt.Sprintf("%s%s", strings.ToUpper(words[:min(1, len(words))]), words[min(1, len(words)):])
}

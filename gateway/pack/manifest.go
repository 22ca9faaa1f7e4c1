package pack

import (
	"fmt"
	"reflect"
	"slices"

	"attune/runtimes"
	"attune/runtimes/strictyaml"
)

// manifestFile is pack.yaml. Where a key has two spellings, both are read.
type manifestFile struct {
	Ref          string            `yaml:"ref"`
	Version      string            `yaml:"version"`
	Label        string            `yaml:"label"`
	Name         string            `yaml:"name"`
	Description  string            `yaml:"description"`
	Author       string            `yaml:"author"`
	Email        string            `yaml:"email"`
	Tags         []string          `yaml:"tags"`
	Keywords     []string          `yaml:"keywords"`
	Meta         map[string]any    `yaml:"meta"`
	Metadata     map[string]any    `yaml:"metadata"`
	ConfSchema   map[string]any    `yaml:"conf_schema"`
	ConfigSchema map[string]any    `yaml:"config_schema"`
	Config       map[string]any    `yaml:"config"`
	Dependencies []string          `yaml:"dependencies"`
	RuntimeDeps  []string          `yaml:"runtime_deps"`
	Enabled      *bool             `yaml:"enabled"`
	Network      string            `yaml:"network"`
	Build        buildFile         `yaml:"build"`
	System       any               `yaml:"system"`
	Preload      []string          `yaml:"preload"`
	Limits       limitsFile        `yaml:"limits"`
	Vars         map[string]string `yaml:"vars"`
}

// manifestLater are keys of pack.yaml that later versions will understand.
var manifestLater = []string{
	"testing", "python", "nodejs", "worker_selector", "tolerations", "affinity",
}

// manifest reads pack.yaml into a pack.
func (l *loader) manifest(pack *Pack) {
	var m manifestFile
	doc := l.document(packFile, &m, manifestLater)
	if doc == nil {
		return
	}
	l.identity(doc, &m)
	pack.Ref, pack.Version = l.ref, m.Version
	pack.Label = spelled(doc, "label", m.Label, "name", m.Name)
	if pack.Label == "" {
		pack.Label = title(m.Ref)
	}
	pack.Description, pack.Author, pack.Email = m.Description, m.Author, m.Email
	pack.Tags = m.Tags
	if synonym(doc, "tags", "keywords", slices.Equal(m.Tags, m.Keywords)) {
		pack.Tags = m.Keywords
	}
	pack.Meta = m.Meta
	if synonym(doc, "meta", "metadata", reflect.DeepEqual(m.Meta, m.Metadata)) {
		pack.Meta = m.Metadata
	}
	l.config(doc, &m, pack)
	pack.Dependencies = l.dependencies(doc, m.Dependencies)
	l.runtimeDeps(doc, m.RuntimeDeps)
	pack.Enabled = m.Enabled == nil || *m.Enabled
	pack.Network = network(doc, m.Network, runtimes.NetworkNone)
	pack.Preload = preload(doc, m.Preload)
	pack.Limits = m.Limits.read(doc)
	pack.Build = m.Build.read(doc)
	if doc.Has("system") {
		doc.Faultf(at("system"), "a pack can't install packages of the operating system: ask the operator for a runtime whose image: has them (README, Dependencies)")
	}
	pack.Vars = vars(doc, m.Vars)
}

func (l *loader) identity(doc *strictyaml.Document, m *manifestFile) {
	const maxVersion = 64
	switch _, err := ParseRef(m.Ref); {
	case !doc.Has("ref"):
		doc.Faultf(nil, "ref is missing: it is the directory's name")
	case err != nil:
		doc.Faultf(at("ref"), "ref: %v", err)
	case l.ref != "" && m.Ref != string(l.ref):
		doc.Faultf(at("ref"), "ref is %s, but the directory is %s: they must be equal", m.Ref, l.ref)
	}
	switch {
	case m.Version == "":
		doc.Faultf(nil, "version is missing, for example version: 1.0.0")
	case len(m.Version) > maxVersion:
		doc.Faultf(at("version"), "version has more than %d characters", maxVersion)
	}
}

func (l *loader) config(doc *strictyaml.Document, m *manifestFile, pack *Pack) {
	key := "conf_schema"
	pack.ConfigSchema, pack.Config = m.ConfSchema, m.Config
	if synonym(doc, "conf_schema", "config_schema", reflect.DeepEqual(m.ConfSchema, m.ConfigSchema)) {
		key, pack.ConfigSchema = "config_schema", m.ConfigSchema
	}
	if pack.ConfigSchema != nil {
		l.schema(doc, key, pack.ConfigSchema, forConfig)
	}
}

func (l *loader) dependencies(doc *strictyaml.Document, names []string) []Ref {
	var refs []Ref
	for i, name := range names {
		ref, err := ParseRef(name)
		if err != nil {
			doc.Faultf(at("dependencies", fmt.Sprint(i)), "dependencies: %v", err)
			continue
		}
		refs = append(refs, ref)
	}
	return refs
}

func (l *loader) runtimeDeps(doc *strictyaml.Document, names []string) {
	for i, name := range names {
		if _, known := l.reg.ByName(name); !known {
			doc.Faultf(at("runtime_deps", fmt.Sprint(i)), "runtime %s doesn't exist: %s", quote(name), strictyaml.Suggest(name, l.runtimeNames()))
		}
	}
}

func (l *loader) runtimeNames() []string {
	var names []string
	for _, runtime := range l.reg.All() {
		names = append(names, runtime.Name)
	}
	return names
}

package pack

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"attune/runtimes"
	"attune/runtimes/strictyaml"
)

const actionsDir = "actions"

// actionFile is actions/<name>.yaml. Where a key has two spellings, both are read.
type actionFile struct {
	Ref               string            `yaml:"ref"`
	Label             string            `yaml:"label"`
	Name              string            `yaml:"name"`
	Description       string            `yaml:"description"`
	RunnerType        string            `yaml:"runner_type"`
	Runtime           string            `yaml:"runtime"`
	EntryPoint        string            `yaml:"entry_point"`
	Parameters        map[string]any    `yaml:"parameters"`
	OutputSchema      map[string]any    `yaml:"output_schema"`
	Output            map[string]any    `yaml:"output"`
	ParameterDelivery string            `yaml:"parameter_delivery"`
	ParameterFormat   string            `yaml:"parameter_format"`
	OutputFormat      string            `yaml:"output_format"`
	Timeout           string            `yaml:"timeout"`
	Isolation         string            `yaml:"isolation"`
	Preload           []string          `yaml:"preload"`
	Concurrency       *int              `yaml:"concurrency"`
	MinWarm           *int              `yaml:"min_warm"`
	MaxInstances      *int              `yaml:"max_instances"`
	IdleTimeout       string            `yaml:"idle_timeout"`
	Rate              rateFile          `yaml:"rate"`
	MaxConcurrency    *int              `yaml:"max_concurrency"`
	Limits            limitsFile        `yaml:"limits"`
	Network           string            `yaml:"network"`
	Vars              map[string]string `yaml:"vars"`
	Enabled           *bool             `yaml:"enabled"`
	Tags              []string          `yaml:"tags"`
	Examples          []any             `yaml:"examples"`
	Retry             retryFile         `yaml:"retry"`
	HTTP              []routeFile       `yaml:"http"`
}

// actionLater are keys of an action that later versions will understand.
var actionLater = []string{
	"runtime_version", "required_worker_runtimes",
	"worker_selector", "tolerations", "affinity", "default_execution_permission_set_refs", "workflow_file",
	"accesses_mcp", "log_retention_policy", "log_retention_limit", "artifact_retention_policy", "artifact_retention_limit",
}

// actions reads all actions of a pack.
func (l *loader) actions(pack *Pack) {
	first := map[ActionRef]string{} // the file that had the ref first
	for _, name := range l.tree.yamlFiles(actionsDir) {
		action := l.action(name, pack)
		if action == nil {
			continue
		}
		if before, twice := first[action.Ref]; twice {
			l.faults.Addf(name, 0, "ref %s is also that of %s", action.Ref, before)
			continue
		}
		first[action.Ref] = name
		pack.Actions = append(pack.Actions, action)
	}
	slices.SortFunc(pack.Actions, func(a, b *Action) int { return cmp.Compare(a.Ref.Name, b.Ref.Name) })
}

// action reads one action; nil means that not even its ref is known.
func (l *loader) action(name string, pack *Pack) *Action {
	var a actionFile
	doc := l.document(name, &a, actionLater)
	if doc == nil {
		return nil
	}
	ref, ok := l.actionRef(doc, a.Ref)
	runtime := l.runtime(doc, &a)
	action := &Action{
		Ref:             ref,
		Label:           cmp.Or(spelled(doc, "label", a.Label, "name", a.Name), title(ref.Name)),
		Description:     a.Description,
		Tags:            a.Tags,
		Examples:        a.Examples,
		Enabled:         pack.Enabled && (a.Enabled == nil || *a.Enabled),
		Runtime:         runtime,
		EntryPoint:      l.entryPoint(doc, a.EntryPoint, runtime),
		ParameterFormat: choose(doc, "parameter_format", a.ParameterFormat, []Format{FormatJSON, FormatDotenv, FormatYAML}, nil),
		OutputFormat:    choose(doc, "output_format", a.OutputFormat, []Format{FormatText, FormatJSON, FormatYAML, FormatJSONL}, nil),
		Delivery:        choose(doc, "parameter_delivery", a.ParameterDelivery, []Delivery{DeliverStdin, DeliverFile}, nil),
		Timeout:         timeout(doc, a.Timeout),
		Network:         network(doc, a.Network, pack.Network),
		Warm:            a.warm(doc, pack, runtime),
		Limits:          a.Limits.read(doc).Or(pack.Limits),
		Rate:            a.Rate.read(doc),
		MaxConcurrency:  count(doc, "max_concurrency", a.MaxConcurrency, 1, mostAtOnce),
		Vars:            overlay(pack.Vars, vars(doc, a.Vars)),
		Retry:           a.Retry.read(doc),
	}
	if action.Delivery == DeliverFile && action.Warm.Isolation == runtimes.IsolationWorker {
		doc.Faultf(at("parameter_delivery"), "parameter_delivery is for programs: with isolation worker, parameters are the handler's argument")
	}
	l.schemas(doc, &a, action)
	action.HTTP = a.routes(doc, action)
	l.clashes(doc, action)
	if !ok {
		return nil
	}
	return action
}

func (a *actionFile) warm(doc *strictyaml.Document, pack *Pack, runtime *runtimes.Runtime) Warm {
	file := warmFile{a.Isolation, a.Preload, a.Concurrency, a.MinWarm, a.MaxInstances, a.IdleTimeout}
	warm := file.read(doc)
	if !doc.Has("preload") {
		warm.Preload = pack.Preload
	}
	if runtime != nil && warm.Isolation == runtimes.IsolationWorker && runtime.Warm.Worker == "" {
		doc.Faultf(at("isolation"), "isolation worker needs a runtime that calls handlers, and %s has none: use process or container", runtime.Name)
	}
	return warm
}

func (l *loader) actionRef(doc *strictyaml.Document, text string) (ActionRef, bool) {
	if !doc.Has("ref") {
		doc.Faultf(nil, "ref is missing, for example ref: %s.%s", cmp.Or(string(l.ref), "pack"), strings.TrimSuffix(path.Base(doc.Source), path.Ext(doc.Source)))
		return ActionRef{}, false
	}
	ref, err := ParseActionRef(text)
	if err != nil {
		doc.Faultf(at("ref"), "ref: %v", err)
		return ActionRef{}, false
	}
	if l.ref != "" && ref.Pack != l.ref {
		doc.Faultf(at("ref"), "ref %s isn't in this pack: it must begin with %s.", ref, l.ref)
	}
	return ref, true
}

// runtime chooses the language. A name is authoritative: the extension of the
// entry point only counts where there is none.
func (l *loader) runtime(doc *strictyaml.Document, a *actionFile) *runtimes.Runtime {
	key := "runner_type"
	if synonym(doc, "runner_type", "runtime", a.RunnerType == a.Runtime) {
		key = "runtime"
	}
	if name := cmp.Or(a.RunnerType, a.Runtime); name != "" {
		runtime, known := l.reg.ByName(name)
		if !known {
			doc.Faultf(at(key), "%s %s doesn't exist: %s", key, quote(name), strictyaml.Suggest(name, l.runtimeNames()))
		}
		return runtime
	}
	runtime, known := l.reg.ForFile(a.EntryPoint)
	if !known && a.EntryPoint != "" {
		doc.Faultf(at("entry_point"), "runner_type is missing, and the extension of %s is no runtime's: there is %s",
			quote(a.EntryPoint), strings.Join(l.runtimeNames(), ", "))
	}
	return runtime
}

// entryPoint checks the file that is run.
func (l *loader) entryPoint(doc *strictyaml.Document, name string, runtime *runtimes.Runtime) string {
	where := at("entry_point")
	switch {
	case name == "":
		doc.Faultf(where, "entry_point is missing: it is a file in %s/", actionsDir)
		return ""
	case !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\\x00"):
		doc.Faultf(where, "entry_point %s must be a path below %s/, without ..", quote(name), actionsDir)
		return ""
	}
	info, err := l.tree.root.Stat(path.Join(actionsDir, name))
	switch {
	case err != nil && !l.tree.has(path.Join(actionsDir, name)):
		doc.Faultf(where, "entry_point %s isn't in %s/", quote(name), actionsDir)
	case err != nil:
		doc.Faultf(where, "entry_point %s leads out of the pack, or to nothing", quote(name))
	case !info.Mode().IsRegular():
		doc.Faultf(where, "entry_point %s isn't a regular file", quote(name))
	case runtime != nil && runtime.Interpreter.Binary == "" && info.Mode().Perm()&otherExec == 0:
		doc.Faultf(where, "entry_point %s isn't executable for everybody: chmod a+rx %s/%s", quote(name), actionsDir, name)
	}
	return name
}

func (l *loader) schemas(doc *strictyaml.Document, a *actionFile, action *Action) {
	action.Parameters = &Schema{document: anyObject}
	if a.Parameters != nil {
		action.Parameters = l.schema(doc, "parameters", a.Parameters, forParameters)
	}
	key, output := "output_schema", a.OutputSchema
	if synonym(doc, "output_schema", "output", reflect.DeepEqual(a.OutputSchema, a.Output)) {
		key, output = "output", a.Output
	}
	if output != nil {
		use := forOutput
		if action.OutputFormat == FormatJSONL {
			use = forLines
		}
		action.Output = l.schema(doc, key, output, use)
	}
	l.examples(doc, a.Examples, action.Parameters)
}

// examples checks that every example is one. It is the parameters of a call, or
// has them under the key parameters.
func (l *loader) examples(doc *strictyaml.Document, examples []any, parameters *Schema) {
	for i, example := range examples {
		if object, ok := example.(map[string]any); ok {
			if inner, ok := object["parameters"].(map[string]any); ok {
				example = inner
			}
		}
		encoded, err := compact(example)
		if err != nil || parameters == nil {
			continue // a fault already
		}
		where := at("examples", fmt.Sprint(i))
		for _, name := range parameters.Secrets() {
			if object, ok := example.(map[string]any); ok && object[name] != nil {
				doc.Faultf(where, "examples[%d] gives the secret %s, and is shown to everybody: leave that out", i, name)
			}
		}
		_, found, err := parameters.Apply(encoded)
		if err != nil {
			doc.Faultf(where, "examples[%d]: %v", i, err)
		}
		for _, problem := range parameters.withoutMissingSecrets(found) {
			doc.Faultf(where, "examples[%d] doesn't fit the parameters: %s %s", i, cmp.Or(problem.Pointer, "it"), problem.Detail)
		}
	}
}

// overlay is base, overlaid by own.
func overlay(base, own map[string]string) map[string]string {
	merged := make(map[string]string, len(base)+len(own))
	maps.Copy(merged, base)
	maps.Copy(merged, own)
	return merged
}

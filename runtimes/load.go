package runtimes

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"attune/runtimes/strictyaml"
)

var (
	nameGrammar      = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	aliasGrammar     = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_.+-]{0,62}$`)
	extensionGrammar = regexp.MustCompile(`^\.?[a-zA-Z0-9_+-]{1,16}$`)
	varGrammar       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// SetScalar is the short form of an EnvVar: its value, to be set.
func (v *EnvVar) SetScalar(text string) { v.Value, v.Operation = text, OpSet }

// Load reads one runtime.yaml and checks it; source is what faults call it. The
// error holds every fault, by go-multierror. There is no folder, so it can't have
// warm programs.
func Load(data []byte, source string) (*Runtime, error) { return load(data, source, nil) }

// load is Load with the runtime's folder, which holds its warm programs.
func load(data []byte, source string, files fs.FS) (*Runtime, error) {
	var faults strictyaml.Faults
	runtime := &Runtime{}
	doc := strictyaml.Read(source, data, runtime, &faults, strictyaml.Options{})
	if doc.Parsed() {
		c := check{doc: doc, runtime: runtime}
		c.names()
		c.interpreter()
		c.environment()
		c.dependencies()
		c.variants()
		c.envVars()
		c.warm(files)
	}
	if err := faults.Err(); err != nil {
		return nil, err
	}
	return runtime, nil
}

// check holds what the rules of a runtime need.
type check struct {
	doc     *strictyaml.Document
	runtime *Runtime
}

var at = strictyaml.At

func (c *check) names() {
	r := c.runtime
	if !nameGrammar.MatchString(r.Name) {
		c.doc.Faultf(at("name"), "name must be a lower-case letter and up to 62 of a-z, 0-9, _ and -")
	}
	for i, alias := range r.Aliases {
		if !aliasGrammar.MatchString(alias) {
			c.doc.Faultf(at("aliases", fmt.Sprint(i)), "alias %.40q must begin with a letter and hold letters, digits and _ . + - only", alias)
		}
	}
	if r.Image == "" || strings.ContainsAny(r.Image, " \t\n") {
		c.doc.Faultf(at("image"), "image must be an image reference, for example attune/shell")
	}
}

func (c *check) interpreter() {
	in := c.runtime.Interpreter
	if len(in.Args) > 0 && in.Binary == "" {
		c.doc.Faultf(at("interpreter", "args"), "interpreter.args need an interpreter.binary")
	}
	for _, ext := range c.runtime.extensions() {
		if !extensionGrammar.MatchString(ext) {
			c.doc.Faultf(at("interpreter"), "file extension %.40q must look like .py", ext)
		}
	}
	c.template(at("interpreter", "binary"), []string{in.Binary})
	c.template(at("interpreter", "args"), in.Args, VarPackDir, VarPacksDir, VarActionFile, c.env())
}

// env is the variable {env_dir} where there are environments.
func (c *check) env() string {
	if c.runtime.HasEnvironment() {
		return VarEnvDir
	}
	return ""
}

func (c *check) environment() {
	env := c.runtime.Environment
	if !c.runtime.HasEnvironment() {
		c.none()
		return
	}
	if len(env.CreateCommand) == 0 {
		c.doc.Faultf(at("environment"), "environment.create_command is missing: say how one is made, or set env_type to none")
	}
	if len(env.VerifyCommand) == 0 {
		c.doc.Faultf(at("environment"), "environment.verify_command is missing: it must exit 0 before an environment is published")
	}
	c.template(at("environment", "create_command"), env.CreateCommand, VarPackDir, VarPacksDir, VarEnvDir, VarInterpreter)
	c.template(at("environment", "finish_command"), env.FinishCommand, VarPackDir, VarPacksDir, VarEnvDir, VarInterpreter)
	c.template(at("environment", "verify_command"), env.VerifyCommand, VarPackDir, VarPacksDir, VarEnvDir, VarInterpreter)
	c.template(at("environment", "interpreter_path"), []string{env.InterpreterPath}, VarEnvDir)
	for i, mount := range env.Mounts {
		c.mount(at("environment", "mounts", fmt.Sprint(i)), mount)
	}
}

// none checks that nothing is said about environments that there won't be.
func (c *check) none() {
	env := c.runtime.Environment
	if len(env.CreateCommand)+len(env.FinishCommand)+len(env.VerifyCommand)+len(env.Mounts) > 0 || env.InterpreterPath != "" || env.Share {
		c.doc.Faultf(at("environment"), "environment has settings, but no env_type: name it, for example virtualenv")
	}
	if c.doc.Has("dependencies") {
		c.doc.Faultf(at("dependencies"), "dependencies need an environment to go into: add one with an env_type")
	}
}

func (c *check) mount(where []string, m EnvironmentMount) {
	if m.From == "" || path.IsAbs(m.From) || path.Clean(m.From) != m.From || m.From == ".." || strings.HasPrefix(m.From, "../") {
		c.doc.Faultf(where, "from must be a path below the environment, for example node_modules")
	}
	rest, ok := strings.CutPrefix(m.At, "{"+VarPacksDir+"}/")
	if !ok || rest == "" || path.Clean(rest) != rest || strings.HasPrefix(rest, "../") || rest == ".." {
		c.doc.Faultf(where, "at must be a path that begins with {packs_dir}/")
	}
	c.template(where, []string{m.At}, VarPacksDir)
}

func (c *check) install(where, argv []string) {
	c.template(where, argv, VarPackDir, VarPacksDir, VarEnvDir, VarInterpreter, VarManifestPath)
}

func (c *check) variants() {
	for i, variant := range c.runtime.Variants {
		where := at("variants", fmt.Sprint(i))
		if !aliasGrammar.MatchString(variant.Needs) {
			c.doc.Faultf(where, "needs must be the name of a program, for example uv")
		}
		c.template(append(where, "create_command"), variant.CreateCommand, VarPackDir, VarPacksDir, VarEnvDir, VarInterpreter)
		c.install(append(where, "install_command"), variant.InstallCommand)
		c.install(append(where, "locked_install_command"), variant.LockedInstallCommand)
	}
}

func (c *check) envVars() {
	for _, name := range slices.Sorted(maps.Keys(c.runtime.EnvVars)) {
		v, where := c.runtime.EnvVars[name], at("env_vars", name)
		switch {
		case !varGrammar.MatchString(name):
			c.doc.Faultf(where, "variable name %.40q must be letters, digits and _", name)
		case strings.HasPrefix(name, "ATTUNE_"):
			c.doc.Faultf(where, "variables that begin with ATTUNE_ are reserved")
		case slices.Contains(TraceVars, name):
			c.doc.Faultf(where, "%s is reserved: it says where in a trace an execution is", name)
		}
		if !slices.Contains([]EnvVarOperation{"", OpSet, OpPrepend, OpAppend}, v.Operation) {
			c.doc.Faultf(where, "operation must be set, prepend or append")
		}
		c.template(where, []string{v.Value}, VarPackDir, VarPacksDir, c.env())
	}
}

// template checks that every variable of a command has a value when the command
// is used.
func (c *check) template(where, argv []string, known ...string) {
	for _, arg := range argv {
		if strings.IndexByte(arg, 0) >= 0 {
			c.doc.Faultf(where, "%s holds a NUL byte", strings.Join(where, "."))
		}
		for _, name := range variables(arg) {
			if !slices.Contains(known, name) {
				c.doc.Faultf(where, "{%.40s} has no value in %s: %s", name, strings.Join(where, "."), choices(known))
			}
		}
	}
}

func choices(known []string) string {
	var braced []string
	for _, name := range slices.Sorted(slices.Values(known)) {
		if name != "" {
			braced = append(braced, "{"+name+"}")
		}
	}
	if len(braced) == 0 {
		return "no variables can be used there"
	}
	return "there is " + strings.Join(braced, ", ")
}

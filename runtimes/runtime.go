// Package runtimes knows the languages that actions are written in, and keeps
// warm instances of them.
//
// A Runtime is data: one runtime.yaml describes an image, an interpreter, and
// how an environment of dependencies is made. Adding a language is one folder
// and no Go.
package runtimes

import (
	"path"
	"strings"
)

// Runtime is a language, as its runtime.yaml describes it.
type Runtime struct {
	Name         string       `yaml:"name"`    // [a-z][a-z0-9_-]*: a path component of environments
	Aliases      []string     `yaml:"aliases"` // other names that actions may use
	Description  string       `yaml:"description"`
	Image        string       `yaml:"image"` // reference; the operator's word, never a pack's
	Interpreter  Interpreter  `yaml:"interpreter"`
	Environment  Environment  `yaml:"environment"`
	Dependencies Dependencies `yaml:"dependencies"`
	// Variants replace commands where the image has a better tool; the first
	// whose program is found on the image's PATH is taken.
	Variants []Variant         `yaml:"variants"`
	EnvVars  map[string]EnvVar `yaml:"env_vars"` // process variables of every execution
	// GetSecret gives actions the command get_secret. Their processes have the
	// secrets on a descriptor, and are started anew for each execution.
	GetSecret bool `yaml:"get_secret"`
	Warm      Warm `yaml:"warm"` // programs kept started
}

// Interpreter runs an action's file: binary, args, then the file.
type Interpreter struct {
	Binary        string   `yaml:"binary"` // empty = the file is executed itself
	Args          []string `yaml:"args"`
	FileExtension string   `yaml:"file_extension"` // ".py"; how an action without a runner_type is matched
	// FileExtensions are further ones: ".mjs" and ".cjs" beside ".js".
	FileExtensions []string `yaml:"file_extensions"`
}

// EnvType says whether a runtime has environments, and of which kind.
type EnvType string

const (
	EnvNone        EnvType = "none"
	EnvVirtualenv  EnvType = "virtualenv"
	EnvNodeModules EnvType = "node_modules"
)

// Environment says how an environment is made, checked and used.
type Environment struct {
	EnvType         EnvType  `yaml:"env_type"` // empty = none; other kinds are free text
	CreateCommand   []string `yaml:"create_command"`
	FinishCommand   []string `yaml:"finish_command"`   // runs in the builder after dependencies were installed
	VerifyCommand   []string `yaml:"verify_command"`   // must exit 0 in a throwaway container before the environment is published
	InterpreterPath string   `yaml:"interpreter_path"` // replaces Interpreter.Binary; may use {env_dir}
	// Share lets a pack have a copy of what was built for another from the same
	// inputs. Then builders of packs without code of their own see only the files
	// that decide what is installed, and what an environment holds must not tell
	// where it lies: one that does is built anew.
	Share bool `yaml:"share"`
	// Mounts show parts of the environment at further paths of an instance.
	// Node needs it: import and require walk up from the pack's directory.
	Mounts []EnvironmentMount `yaml:"mounts"`
}

// EnvironmentMount shows a directory of the environment at a second path.
type EnvironmentMount struct {
	From string `yaml:"from"` // below the environment, "node_modules"
	At   string `yaml:"at"`   // absolute; may use {packs_dir}
}

// Dependencies says how what a manifest names is installed. A runtime with one
// manifest can do without Manifests: ManifestFile, LockFiles and the commands
// beside them are its short form.
type Dependencies struct {
	// Manifests in their order of precedence: the first that a pack has is
	// used, and the others are not looked at.
	Manifests    []Manifest `yaml:"manifests"`
	ManifestFile string     `yaml:"manifest_file"` // at the pack's root
	LockFiles    []string   `yaml:"lock_files"`    // beside it; the first that is there is used
	// CopyManifests puts manifest and lock file into the environment before
	// the first command; {manifest_path} is then the copy.
	CopyManifests        bool     `yaml:"copy_manifests"`
	InstallCommand       []string `yaml:"install_command"`
	LockedInstallCommand []string `yaml:"locked_install_command"` // used where a lock file is there
	PingCommand          []string `yaml:"ping_command"`           // exits 0 if the package index answers; for attune doctor

	Index IndexUse `yaml:"index"`
	// CacheVars tell installers where to keep downloads: process variables that
	// may use {cache_dir}, a directory of the pack's own that outlives a build.
	CacheVars map[string]string `yaml:"cache_vars"`
	// Packages say where installers note what they have installed.
	Packages []PackageFiles `yaml:"packages"`
}

// IndexUse says how installers are told of an index other than their own.
type IndexUse struct {
	Vars map[string]string `yaml:"vars"` // process variables; may use {index_url}
	// CredentialsVar is the process variable that names the credentials' file.
	CredentialsVar string `yaml:"credentials_var"`
	// Credentials is that file's content; may use {index_user},
	// {index_password}, {index_basic} (user:password in base64), {index_url},
	// {index_host} and {index_address}, which is //host:port/path/.
	Credentials string `yaml:"credentials"`
}

// PackageFiles are the descriptions of installed packages, one file each.
type PackageFiles struct {
	Files  string        `yaml:"files"` // glob below the environment
	Format PackageFormat `yaml:"format"`
}

// PackageFormat is how a package's description is written.
type PackageFormat string

const (
	PackageMetadata PackageFormat = "metadata"     // Python's core metadata: headers Name and Version
	PackageJSON     PackageFormat = "package.json" // the version in it; the directory is the name
)

// Variant replaces commands where Needs is on the image's PATH. An empty
// command keeps the runtime's own.
type Variant struct {
	Needs                string   `yaml:"needs"` // a program's name: "uv"
	CreateCommand        []string `yaml:"create_command"`
	InstallCommand       []string `yaml:"install_command"`
	LockedInstallCommand []string `yaml:"locked_install_command"`
	PingCommand          []string `yaml:"ping_command"`
}

// EnvVar sets or extends a process variable.
type EnvVar struct {
	Value     string          `yaml:"value"`
	Operation EnvVarOperation `yaml:"operation"` // empty = set
	Separator string          `yaml:"separator"` // empty = ":"
}

// EnvVarOperation is what an EnvVar does to a value that is there already.
type EnvVarOperation string

const (
	OpSet     EnvVarOperation = "set"
	OpPrepend EnvVarOperation = "prepend"
	OpAppend  EnvVarOperation = "append"
)

// HasEnvironment tells whether actions of this runtime need an environment.
func (r *Runtime) HasEnvironment() bool {
	return r.Environment.EnvType != "" && r.Environment.EnvType != EnvNone
}

// Matches tells whether name is this runtime's name or one of its aliases,
// whatever the case.
func (r *Runtime) Matches(name string) bool {
	if strings.EqualFold(r.Name, name) {
		return true
	}
	for _, alias := range r.Aliases {
		if strings.EqualFold(alias, name) {
			return true
		}
	}
	return false
}

// MatchesFile tells whether a file's extension is one of this runtime's.
func (r *Runtime) MatchesFile(name string) bool {
	found := path.Ext(name)
	if found == "" {
		return false
	}
	for _, ext := range r.extensions() {
		if strings.EqualFold(found, "."+strings.TrimPrefix(ext, ".")) {
			return true
		}
	}
	return false
}

// extensions are all of the runtime's, as they are written.
func (r *Runtime) extensions() []string {
	if r.Interpreter.FileExtension == "" {
		return r.Interpreter.FileExtensions
	}
	return append([]string{r.Interpreter.FileExtension}, r.Interpreter.FileExtensions...)
}

// NetworkPolicy is what an action may reach.
type NetworkPolicy string

const (
	NetworkNone     NetworkPolicy = "none"
	NetworkOutbound NetworkPolicy = "outbound"
)

// Limits bound an instance. A zero field means: the operator's default.
type Limits struct {
	Memory int64   `json:"memory,omitempty"` // bytes
	CPU    float64 `json:"cpu,omitempty"`    // cores
	Pids   int64   `json:"pids,omitempty"`   // processes and threads
	Tmp    int64   `json:"tmp,omitempty"`    // bytes in /tmp, part of Memory
}

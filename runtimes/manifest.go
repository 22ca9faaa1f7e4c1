package runtimes

import (
	"fmt"
	"maps"
	"slices"
)

// Manifest is a file at a pack's root that names dependencies, and how they
// are installed.
type Manifest struct {
	File      string   `yaml:"file"`
	LockFiles []string `yaml:"lock_files"` // beside it; the first that is there is used
	// Settings are files beside it that change what the installer does.
	Settings             []string          `yaml:"settings"`
	InstallCommand       []string          `yaml:"install_command"`
	LockedInstallCommand []string          `yaml:"locked_install_command"` // used where a lock file is there
	Variants             []ManifestVariant `yaml:"variants"`
	// NoScripts are arguments that keep packages' install scripts from running:
	// added to each command unless the pack asks for scripts.
	NoScripts []string `yaml:"no_scripts"`
	// Includes are regular expressions whose first group is the path of a file
	// or directory of the pack, relative to the file that names it. What it
	// holds decides what is installed, too. One too many does no harm.
	Includes []string `yaml:"includes"`
	// Sources are names of files. An included directory with one of them is built
	// where it lies, and builds write there: builders see a copy of their own.
	Sources []string `yaml:"sources"`
	// Refused are files of other tools that stand for a lock file nobody here
	// reads: name → what the pack's author should do. They are refused where no
	// lock file of LockFiles is there: installing past a lock would be silent.
	Refused map[string]string `yaml:"refused"`
}

// ManifestVariant replaces a manifest's commands where Needs is on the image's
// PATH. An empty command keeps the manifest's own.
type ManifestVariant struct {
	Needs                string   `yaml:"needs"`
	InstallCommand       []string `yaml:"install_command"`
	LockedInstallCommand []string `yaml:"locked_install_command"`
}

// AllManifests are the runtime's manifests in their order of precedence: the
// short form, manifest_file, first.
func (r *Runtime) AllManifests() []Manifest {
	deps := r.Dependencies
	if deps.ManifestFile == "" {
		return deps.Manifests
	}
	short := Manifest{
		File: deps.ManifestFile, LockFiles: deps.LockFiles,
		InstallCommand: deps.InstallCommand, LockedInstallCommand: deps.LockedInstallCommand,
	}
	for _, v := range r.Variants {
		short.Variants = append(short.Variants, ManifestVariant{
			Needs: v.Needs, InstallCommand: v.InstallCommand, LockedInstallCommand: v.LockedInstallCommand,
		})
	}
	return append([]Manifest{short}, deps.Manifests...)
}

// ManifestNames are all files at a pack's root that are read for dependencies.
func (r *Runtime) ManifestNames() []string {
	var names []string
	for _, m := range r.AllManifests() {
		names = append(names, m.File)
		names = append(names, m.LockFiles...)
		names = append(names, m.Settings...)
	}
	return names
}

// ChooseManifest returns the first manifest that a pack has, nil if there is
// none; has tells whether a file is at the pack's root.
func (r *Runtime) ChooseManifest(has func(name string) bool) *Manifest {
	for _, m := range r.AllManifests() {
		if has(m.File) {
			return &m
		}
	}
	return nil
}

// LockFile is the first lock file that is there, empty if none is.
func (m *Manifest) LockFile(has func(name string) bool) string {
	if i := slices.IndexFunc(m.LockFiles, has); i >= 0 {
		return m.LockFiles[i]
	}
	return ""
}

// Refusal says why a pack's manifest can't be installed as it is, and what to
// do; empty if it can.
func (m *Manifest) Refusal(has func(name string) bool) string {
	if m.LockFile(has) != "" {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(m.Refused)) {
		if has(name) {
			return fmt.Sprintf("%s is not read here: %s", name, m.Refused[name])
		}
	}
	return ""
}

package runtimes

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

func (c *check) dependencies() {
	if !c.doc.Has("dependencies") {
		return
	}
	deps := c.runtime.Dependencies
	if deps.ManifestFile == "" && len(deps.Manifests) == 0 {
		c.doc.Faultf(at("dependencies"), "dependencies name no file: give a manifest_file, or a list of manifests")
	}
	if deps.ManifestFile == "" && len(deps.LockFiles)+len(deps.InstallCommand)+len(deps.LockedInstallCommand) > 0 {
		c.doc.Faultf(at("dependencies"), "lock_files and install commands need a manifest_file beside them")
	}
	if deps.ManifestFile != "" {
		c.manifest(at("dependencies"), c.runtime.AllManifests()[0], "manifest_file")
	}
	for i, m := range deps.Manifests {
		c.manifest(at("dependencies", "manifests", fmt.Sprint(i)), m, "file")
	}
	c.index(deps.Index)
	c.builderVars(at("dependencies", "cache_vars"), deps.CacheVars, VarCacheDir)
	for i, p := range deps.Packages {
		where := at("dependencies", "packages", fmt.Sprint(i))
		if _, err := path.Match(p.Files, ""); err != nil || !fs.ValidPath(p.Files) {
			c.doc.Faultf(where, "files must be a pattern below the environment, for example lib/*/METADATA")
		}
		if p.Format != PackageMetadata && p.Format != PackageJSON {
			c.doc.Faultf(where, "format must be %s or %s", PackageMetadata, PackageJSON)
		}
	}
}

func (c *check) index(use IndexUse) {
	where := at("dependencies", "index")
	c.builderVars(append(where, "vars"), use.Vars, VarIndexURL)
	if (use.CredentialsVar == "") != (use.Credentials == "") || use.CredentialsVar != "" && !varGrammar.MatchString(use.CredentialsVar) {
		c.doc.Faultf(where, "credentials_var must name a variable, and credentials say what is in its file")
	}
	c.template(append(where, "credentials"), []string{use.Credentials},
		VarIndexURL, "index_host", "index_address", "index_user", "index_password", "index_basic")
}

// builderVars checks process variables of builders.
func (c *check) builderVars(where []string, vars map[string]string, known string) {
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if !varGrammar.MatchString(name) || strings.HasPrefix(name, "ATTUNE_") {
			c.doc.Faultf(where, "variable name %.40q must be letters, digits and _, and not begin with ATTUNE_", name)
		}
		c.template(append(where, name), []string{vars[name]}, known)
	}
}

// manifest checks one manifest; key is what its file is called there.
func (c *check) manifest(where []string, m Manifest, key string) {
	names := slices.Concat([]string{m.File}, m.LockFiles, m.Settings, m.Sources, slices.Sorted(maps.Keys(m.Refused)))
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, `/\`) || name[0] == '.' {
			c.doc.Faultf(where, "%s and lock_files must be names of files at a pack's root", key)
		}
	}
	if len(m.InstallCommand) == 0 {
		c.doc.Faultf(where, "%s.install_command is missing", strings.Join(where, "."))
	}
	if len(m.LockedInstallCommand) > 0 && len(m.LockFiles) == 0 {
		c.doc.Faultf(append(where, "locked_install_command"), "locked_install_command needs lock_files")
	}
	c.install(append(where, "install_command"), m.InstallCommand)
	c.install(append(where, "locked_install_command"), m.LockedInstallCommand)
	for i, include := range m.Includes {
		if compiled, err := regexp.Compile(include); err != nil || compiled.NumSubexp() < 1 {
			c.doc.Faultf(append(where, "includes", fmt.Sprint(i)), "includes must be regular expressions with a group for the path")
		}
	}
	if key != "file" {
		return // its variants are the runtime's
	}
	for i, v := range m.Variants {
		at := append(slices.Clone(where), "variants", fmt.Sprint(i))
		if !aliasGrammar.MatchString(v.Needs) {
			c.doc.Faultf(at, "needs must be the name of a program, for example uv")
		}
		c.install(append(at, "install_command"), v.InstallCommand)
		c.install(append(at, "locked_install_command"), v.LockedInstallCommand)
	}
}

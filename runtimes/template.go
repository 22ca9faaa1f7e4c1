package runtimes

import (
	"fmt"
	"regexp"
	"strings"
)

// The variables of command templates.
const (
	VarPackDir      = "pack_dir"
	VarPacksDir     = "packs_dir"
	VarEnvDir       = "env_dir"
	VarInterpreter  = "interpreter"
	VarManifestPath = "manifest_path"
	VarActionFile   = "action_file"
	VarCacheDir     = "cache_dir"
	VarIndexURL     = "index_url"
	VarProgram      = "program"
)

// placeholder is one variable. A brace that isn't part of one stays literal.
var placeholder = regexp.MustCompile(`\{([a-z][a-z0-9_]*)\}`)

// Expand replaces {name} in every argument. It is one pass: what a value holds
// is never looked at again. An unknown variable is an error.
func Expand(argv []string, vars map[string]string) ([]string, error) {
	expanded := make([]string, len(argv))
	for i, arg := range argv {
		value, err := ExpandString(arg, vars)
		if err != nil {
			return nil, err
		}
		expanded[i] = value
	}
	return expanded, nil
}

// ExpandString is Expand for one string.
func ExpandString(s string, vars map[string]string) (string, error) {
	var out strings.Builder
	last := 0
	for _, at := range placeholder.FindAllStringSubmatchIndex(s, -1) {
		value, known := vars[s[at[2]:at[3]]]
		if !known {
			return "", fmt.Errorf("template variable %q has no value here", s[at[0]:at[1]])
		}
		out.WriteString(s[last:at[0]])
		out.WriteString(value)
		last = at[1]
	}
	out.WriteString(s[last:])
	return out.String(), nil
}

// variables lists what a template refers to, in order.
func variables(s string) []string {
	var names []string
	for _, match := range placeholder.FindAllStringSubmatch(s, -1) {
		names = append(names, match[1])
	}
	return names
}

package runtimes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// TraceVars are the variables that tell a program where in a trace it is. Only the
// gateway sets them.
var TraceVars = []string{"TRACEPARENT", "TRACESTATE"}

// Vars is the environment of a program as sorted NAME=value pairs: base, what
// the runtime sets, what the pack sets over that (own), and what the runtime
// prepends or appends to all of it. An extended value that is unset or empty
// becomes the extension alone.
func (r *Runtime) Vars(base, own, templateVars map[string]string) ([]string, error) {
	merged := make(map[string]string, len(base)+len(own)+len(r.EnvVars))
	maps.Copy(merged, base)
	extensions := make(map[string]string)
	for name, v := range r.EnvVars {
		value, err := ExpandString(v.Value, templateVars)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if v.Operation == OpPrepend || v.Operation == OpAppend {
			extensions[name] = value
		} else {
			merged[name] = value
		}
	}
	maps.Copy(merged, own)
	for name, value := range extensions {
		merged[name] = r.EnvVars[name].extend(merged[name], value)
	}
	return pairs(merged), nil
}

// pairs writes variables as sorted NAME=value pairs.
func pairs(vars map[string]string) []string {
	list := make([]string, 0, len(vars))
	for name, value := range vars {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// extend puts value before or after what is there.
func (v EnvVar) extend(old, value string) string {
	separator := cmp.Or(v.Separator, ":")
	switch {
	case old == "":
		return value
	case v.Operation == OpAppend:
		return old + separator + value
	}
	return value + separator + old
}

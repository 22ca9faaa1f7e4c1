package runtimes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// Vars applies the runtime's env_vars to base, which it leaves alone, and gives
// all of it as sorted NAME=value pairs. A value that is prepended or appended
// meets an unset or empty one as if it were set.
func (r *Runtime) Vars(base, templateVars map[string]string) ([]string, error) {
	merged := maps.Clone(base)
	if merged == nil {
		merged = map[string]string{}
	}
	for name, v := range r.EnvVars {
		value, err := ExpandString(v.Value, templateVars)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		merged[name] = v.apply(merged[name], value)
	}
	pairs := make([]string, 0, len(merged))
	for name, value := range merged {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return pairs, nil
}

func (v EnvVar) apply(old, value string) string {
	separator := cmp.Or(v.Separator, ":")
	switch {
	case old != "" && v.Operation == OpPrepend:
		return value + separator + old
	case old != "" && v.Operation == OpAppend:
		return old + separator + value
	}
	return value
}

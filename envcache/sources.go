package envcache

import (
	"path"
	"strings"

	"attune/runtimes"
	"attune/runtimes/agent"
	"attune/runtimes/container"
)

// copySources lets a builder write where it builds: most build backends leave
// files beside their source, and the pack is read-only. So each source directory
// is covered by a copy in memory, at its own path, which an editable installation
// keeps. What isn't a source stays the pack's.
//
// An engine that isolates nothing has no file systems to cover a directory with.
func (c *Cache) copySources(spec *container.Spec, plan *agent.Plan, r *Recipe, in inputs) {
	if !c.Layout.Isolated || in.Copy {
		return // what is copied into the environment can be written there
	}
	pack := &spec.Mounts[1]
	original := *pack
	original.Target = runtimes.SourceDir
	for _, tree := range in.trees {
		if strings.ContainsAny(tree, ":,") {
			continue // it can't be covered: an installer that writes there says so
		}
		target := path.Join(pack.Target, tree)
		spec.Tmpfs = append(spec.Tmpfs, container.Tmpfs{Path: target, Size: builderTmp, Exec: true})
		plan.Copy = append(plan.Copy, agent.Copy{From: path.Join(original.Target, tree), To: target})
	}
	switch {
	case len(plan.Copy) == 0:
	case in.trees[0] == ".": // the whole pack is covered, and only shown where it is copied from
		*pack = original
	default:
		spec.Mounts = append(spec.Mounts, original)
	}
}

package envcache

import (
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/runtimes"
	"attune/runtimes/agent"
)

// TestSourcesAreCopies: a builder sees a copy of each directory that is built, at
// its own path, and the pack itself is never writable.
func TestSourcesAreCopies(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		trees   []string
		targets string // of the pack's mounts
		copied  string
	}{
		{nil, "/opt/attune/packs/p", ""},
		{[]string{"a", "b/c"}, "/opt/attune/packs/p /opt/attune/source", "a b/c"},
		{[]string{"."}, "/opt/attune/source", "."},
		{[]string{"a:b"}, "/opt/attune/packs/p", ""},
	} {
		recipe := shipped(t, "python", map[string]string{"requirements.txt": "six\n"})
		recipe.Image.ID = "sha256:11"
		c := &Cache{volume: volume{root: "/data"}}
		c.Layout, c.AgentDir, c.Network = runtimes.Layout{Isolated: true}, "/data/.bin/aa", "none"
		c.Limits = Limits{Timeout: time.Minute, MaxBytes: 1, Memory: 1, CPU: 1}
		in, err := recipe.inputs(identity, nil)
		if err != nil {
			t.Fatal(err)
		}
		in.trees = test.trees
		spec, err := c.builderSpec(recipe, digested{digest: someDigest, inputs: in}, someDigest+".a", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := spec.Validate(); err != nil {
			t.Errorf("%q: Validate() = %v", test.trees, err)
		}
		var targets, copied []string
		for _, m := range spec.Mounts {
			if m.Source == recipe.PackDir {
				targets = append(targets, m.Target)
				if !m.ReadOnly {
					t.Errorf("%q: the pack can be written at %s", test.trees, m.Target)
				}
			}
		}
		at := slices.IndexFunc(spec.Env, func(v string) bool { return strings.HasPrefix(v, agent.PlanVariable+"=") })
		plan, err := agent.ParsePlan([]byte(strings.TrimPrefix(spec.Env[at], agent.PlanVariable+"=")))
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range plan.Copy {
			tree, _ := strings.CutPrefix(f.From+"/", "/opt/attune/source/")
			copied = append(copied, path.Clean(tree))
			if spec.Tmpfs[i+1].Path != f.To {
				t.Errorf("%q: %s is copied to %s, beside the tmpfs %s", test.trees, f.From, f.To, spec.Tmpfs[i+1].Path)
			}
		}
		if got := strings.Join(targets, " "); got != test.targets || strings.Join(copied, " ") != test.copied || len(spec.Tmpfs) != len(plan.Copy)+1 {
			t.Errorf("%q: mounts %s, copies %q, tmpfs %v; want %s, %q", test.trees, got, copied, spec.Tmpfs, test.targets, test.copied)
		}
	}
}

package execution

import (
	"log/slog"
	"strings"
	"testing"

	"attune/envcache"
	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
)

func (r *rig) inventory() *Inventory {
	return &Inventory{
		Catalog: r.Catalog, Cache: r.Environments.(*envcache.Cache), Images: r.Images, Logger: slog.New(slog.DiscardHandler),
	}
}

func TestInventoryTellsWhereEnvironmentsStand(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{
		"shell":     {"", "true"}, // needs none
		"a.failing": {"runner_type: failing\n", "true"},
		"b.failing": {"runner_type: failing\n", "true"}, // shares it
		"c.waiting": {"runner_type: waiting\nenabled: false\n", "true"},
	}, nil)
	i := r.inventory()
	list := i.List()
	if len(list) != 1 || list[0].State != envcache.StateAbsent || list[0].Runtime != "failing" || list[0].Pack != "demo" {
		t.Fatalf("List() = %+v, want one environment that isn't there", list)
	}
	if log, ok := i.Log("demo", "failing"); ok {
		t.Errorf("Log() of nothing = %q", log)
	}
	r.mustFail(t, t.Context(), "a", 0)
	s, ok := i.Show("demo", "failing")
	if !ok || s.State != envcache.StateFailed || !strings.Contains(s.Reason, "no such package") {
		t.Errorf("Show() = %+v, %v", s, ok)
	}
	if log, ok := i.Log("demo", "failing"); !ok || !strings.Contains(string(log), "no such package\n") {
		t.Errorf("Log() = %q, %v", log, ok)
	}
	for _, name := range [][2]string{{"other", "failing"}, {"demo", "shell"}, {"demo", "waiting"}} {
		if s, ok := i.Show(name[0], name[1]); ok {
			t.Errorf("Show(%q) = %+v", name, s)
		}
	}
}

func TestInventoryWithoutAnImage(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"a.failing": {"runner_type: failing\n", "true"}}, nil)
	i := r.inventory()
	i.Images = NewImages(&imageEngine{err: container.ErrNoImage}, anyImage)
	if list := i.List(); len(list) != 0 {
		t.Errorf("List() = %+v", list)
	}
	if log, ok := i.Log("demo", "failing"); ok {
		t.Errorf("Log() = %q", log)
	}
}

// TestDockerCall is a call as a user makes it: the shipped shell runtime in a
// hardened container.
func TestDockerCall(t *testing.T) {
	t.Parallel()
	engine := containertest.RequireDocker(t)
	containertest.RequireImages(t, engine, "attune/shell")
	r := newRigOn(t, engine, runtimes.Layout{Isolated: true}, map[string]action{
		"hello": {"output_format: json\n", "read -r p; touch /tmp/left; echo \"{\\\"got\\\":$p,\\\"uid\\\":$(id -u),\\\"tmp\\\":\\\"$(ls /tmp)\\\",\\\"dir\\\":\\\"$PWD\\\"}\""},
		"hog":   {"output_format: text\n", "head -c 400000000 /dev/zero | tail"},
	}, nil)
	world(t, agentDir)
	world(t, r.packDir+"/actions")
	for call := range 2 {
		outcome := r.mustCall(t, "hello", `{"a":1}`)
		if want := `{"got":{"a":1},"uid":65533,"tmp":"left","dir":"/opt/attune/packs/demo"}` + "\n"; string(outcome.Output) != want {
			t.Errorf("output = %s, want %s", outcome.Output, want)
		}
		if start := outcome.Execution.Timing.Start; (start > 0) != (call == 0) {
			t.Errorf("call %d waited %v ms for a start", call, start)
		}
	}
	x, failure := r.mustFail(t, t.Context(), "hog", 0)
	if failure.Code != CodeOutOfMemory || !failure.Started || x.Status != StatusFailed {
		t.Errorf("execution = %+v, %+v", x, failure)
	}
	if total, idle := r.pools.Counts(); idle != 0 || total > 1 {
		t.Errorf("Counts() = %d, %d: after that the instance is not reused", total, idle)
	}
}

package envcache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStatusFollowsAnEnvironment(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	g := newGate(t)
	told := newEvents()
	c := r.gateway(t, func(o *Options) { o.Events = told.take })
	recipe := r.recipe(t, "test -e {pack_dir}/bad && exit 4; "+g.wait())
	want := func(state State) Status {
		t.Helper()
		s, err := c.Status(recipe)
		if err != nil || s.State != state {
			t.Fatalf("Status() = %+v, %v, want %s", s, err, state)
		}
		if s.Pack != "demo" || s.Runtime != "sh" || (len(s.Digest) == 32) == (state == StateAbsent) || !strings.HasSuffix(s.Path, "/demo/sh") {
			t.Errorf("Status() = %+v", s)
		}
		return s
	}
	want(StateAbsent)
	if entries, err := os.ReadDir(filepath.Join(r.root, ".packs")); err != nil || len(entries) > 0 {
		t.Errorf("a question has left %v, %v", entries, err)
	}
	if log, err := c.BuildLog(recipe); err == nil {
		t.Errorf("BuildLog() of nothing = %q", log)
	}
	c.Plan([]*Recipe{recipe})
	told.await(t, waiting)
	if s := want(StateBuilding); s.Phase != string(PhaseInstall) {
		t.Errorf("phase = %s", s.Phase)
	}
	g.open(t)
	env := mustEnsure(t, c, recipe)
	s := want(StateReady)
	if s.Digest != env.Digest || s.BuiltBy != "gw" || s.Files == 0 || s.BuiltAt == nil || time.Since(*s.BuiltAt) > time.Minute {
		t.Errorf("Status() = %+v", s)
	}
	if log, err := c.BuildLog(recipe); err != nil || !strings.Contains(string(log), "==> create: ") || !strings.Contains(string(log), "waiting\n") {
		t.Errorf("BuildLog() = %q, %v", log, err)
	}

	write(t, recipe.PackDir+"/bad", "")
	write(t, recipe.PackDir+"/deps.txt", "b\n")
	broken := *recipe
	broken.Revision = "r2"
	if err := mustLand(t, c, &broken); err == nil {
		t.Fatal("the broken pack's build succeeded")
	}
	recipe = &broken
	if s := want(StateDegraded); s.Serving != env.Digest || s.Attempt != 1 || s.NextRetry == nil || !strings.Contains(s.Reason, "exit code 4") {
		t.Errorf("Status() = %+v", s)
	}
}

package tests

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"attune/envcache"
)

// TestDeletedPackIsInheritedByNobody: it was deleted while no gateway ran.
func TestDeletedPackIsInheritedByNobody(t *testing.T) {
	h := newHome(t)
	dir := tinyPack(t, h, "inherited", "one\n")
	tinyPack(t, h, "stays", "one\n")
	vars := tinyRuntime(t, h, "attune/shell")
	g := h.start(t, vars...)
	g.mustInvoke(t, "inherited.a", "")
	g.stop(t)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g = h.start(t, vars...)
	eventually(t, 10*time.Second, "nothing of it is left", func() bool {
		left, _ := filepath.Glob(filepath.Join(h.envs, ".packs", "inherited*"))
		_, err := os.Lstat(filepath.Join(h.envs, "inherited", "tiny"))
		return len(left) == 0 && os.IsNotExist(err)
	})
	if s := g.untilState(t, "stays", "tiny", envcache.StateReady); s.Serving == "" {
		t.Errorf("GET …/environments/stays/tiny = %+v", s)
	}
	tinyPack(t, h, "inherited", "broken\n")
	g.hangup(t)
	if s := g.untilState(t, "inherited", "tiny", envcache.StateFailed); s.Serving != "" {
		t.Errorf("the namesake is served generation %s", s.Serving)
	}
}

// TestUnmountedPacksLoseNothing: the directory of packs is empty for once.
func TestUnmountedPacksLoseNothing(t *testing.T) {
	h := newHome(t)
	tinyPack(t, h, "mounted", "one\n")
	vars := tinyRuntime(t, h, "attune/shell")
	g := h.start(t, vars...)
	g.mustInvoke(t, "mounted.a", "")
	before := g.environment(t, "mounted", "tiny").Serving
	away := h.packs + "-away"
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(from, "mounted"), filepath.Join(to, "mounted")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(away, 0o755); err != nil {
		t.Fatal(err)
	}
	move(h.packs, away)
	g.hangup(t)
	g.stop(t)
	g = h.start(t, vars...)
	move(away, h.packs)
	g.hangup(t)
	if now := g.untilState(t, "mounted", "tiny", envcache.StateReady).Serving; now != before {
		t.Errorf("generation %s serves, want %s as before", now, before)
	}
}

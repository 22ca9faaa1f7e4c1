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
	tinyPack(t, h, "inherited", "broken\n")
	g.hangup(t)
	if s := g.untilState(t, "inherited", "tiny", envcache.StateFailed); s.Serving != "" {
		t.Errorf("the namesake is served generation %s", s.Serving)
	}
}

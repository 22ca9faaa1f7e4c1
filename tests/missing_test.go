package tests

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMissingImageSaysWhatToDo: the packs of other runtimes are served, and the
// image is looked for again by the next call.
func TestMissingImageSaysWhatToDo(t *testing.T) {
	h := newHome(t, "shell_example")
	image := fmt.Sprintf("attune/missing-%d", os.Getpid())
	runtimes := h.packs + "-runtimes"
	write(t, runtimes+"/lost/runtime.yaml", "name: lost\nimage: "+image+"\ninterpreter: {binary: /bin/sh, file_extension: .lost}\n", 0o644)
	h.pack(t, "lost", map[string]string{"actions/a.yaml": "ref: lost.a\nentry_point: a.lost\n", "actions/a.lost": "echo ran\n"})
	g := h.start(t, "ATTUNE__RUNTIMES_DIR="+runtimes)
	a := g.invoke(t, "lost.a", "{}")
	p := a.problem(t)
	if a.status != 503 || p.Type != "/problems/engine-unavailable" || p.Started || !p.Retryable || !strings.Contains(p.Detail, "image") {
		t.Errorf("POST /invoke/lost.a = %d %s", a.status, a.body)
	}
	g.mustInvoke(t, "shell_example.hello", "{}")

	dockerLines(t, "tag", "attune/shell", image)
	t.Cleanup(func() { dockerLines(t, "rmi", image) })
	if got := g.mustInvoke(t, "lost.a", "{}").body; got != "ran\n" {
		t.Errorf("after the image came: %q", got)
	}
}

// TestServeWithoutAnEngine ends at once and says what is missing, and where.
func TestServeWithoutAnEngine(t *testing.T) {
	h := newHome(t)
	vars := []string{
		"DOCKER_HOST=unix://" + h.state + "/no.sock",
		"ATTUNE__PACKS_BASE_DIR=" + h.packs, "ATTUNE__RUNTIME_ENVS_DIR=" + h.envs, "ATTUNE__STATE_DIR=" + h.state,
	}
	if _, stderr, code := attune(t, vars, "serve", "--port", "0"); code != 3 || !strings.Contains(stderr, "no.sock") {
		t.Errorf("attune serve = %d %s, want 3 and the engine's address", code, stderr)
	}
}

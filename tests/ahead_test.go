package tests

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/envcache"
)

// tinyRuntime is a runtime whose environments a shell script makes in no time:
// actions of it print what the manifest said when the environment was built.
func tinyRuntime(t testing.TB, h home, image string) (vars []string) {
	t.Helper()
	runtimes := h.packs + "-runtimes"
	write(t, filepath.Join(runtimes, "tiny", "runtime.yaml"), `name: tiny
image: `+image+`
interpreter: {binary: /bin/bash, file_extension: .tiny}
environment:
  env_type: scripted
  create_command: [/bin/sh, -c, 'cp {pack_dir}/tiny.txt made; cat /etc/attune-test-image >image 2>/dev/null || echo original >image']
  verify_command: [/bin/sh, -c, 'test -e {env_dir}/made']
dependencies: {manifest_file: tiny.txt, install_command: [/bin/sh, -c, '! grep -q broken {manifest_path}']}
env_vars: {ENV_DIR: "{env_dir}"}
`, 0o644)
	return []string{"ATTUNE__RUNTIMES_DIR=" + runtimes, "ATTUNE__BUILD__AHEAD=true"}
}

func tinyPack(t testing.TB, h home, ref, manifest string) (dir string) {
	t.Helper()
	return h.pack(t, ref, map[string]string{
		"tiny.txt": manifest, "actions/a.yaml": "ref: " + ref + ".a\nentry_point: a.tiny\n",
		"actions/a.tiny": "echo $(cat $ENV_DIR/made $ENV_DIR/image) $(cat /etc/attune-test-image 2>/dev/null || echo original)\n",
	})
}

func (g *gateway) environment(t testing.TB, pack, runtime string) envcache.Status {
	t.Helper()
	a := g.get(t, "/api/v1/environments/"+pack+"/"+runtime)
	var status envcache.Status
	if err := json.Unmarshal([]byte(a.body), &status); err != nil || a.status != http.StatusOK {
		t.Fatalf("GET …/environments/%s/%s = %d %s", pack, runtime, a.status, a.body)
	}
	return status
}

func (g *gateway) untilState(t testing.TB, pack, runtime string, state envcache.State) envcache.Status {
	t.Helper()
	var status envcache.Status
	eventually(t, time.Minute, pack+"/"+runtime+" is "+string(state), func() bool {
		status = g.environment(t, pack, runtime)
		return status.State == state
	})
	return status
}

// TestEnvironmentsAreBuiltAhead: nobody has called, and the first call waits for
// no build.
func TestEnvironmentsAreBuiltAhead(t *testing.T) {
	h, since := newHome(t), time.Now()
	tinyPack(t, h, "early", "one\n")
	g := h.start(t, tinyRuntime(t, h, "attune/shell")...)
	g.untilState(t, "early", "tiny", envcache.StateReady)
	if got := g.mustInvoke(t, "early.a", "").body; got != "one original original\n" {
		t.Errorf("POST /invoke/early.a = %q", got)
	}
	if n := builds(t, since, "early"); n != 1 {
		t.Errorf("%d builders were made, want 1", n)
	}
}

// TestNothingIsBuiltAheadWhereItIsOff: only calls build there.
func TestNothingIsBuiltAheadWhereItIsOff(t *testing.T) {
	h, since := newHome(t), time.Now()
	tinyPack(t, h, "late", "one\n")
	g := h.start(t, append(tinyRuntime(t, h, "attune/shell"), "ATTUNE__BUILD__AHEAD=false")...)
	g.hangup(t)
	if state := g.environment(t, "late", "tiny").State; state != envcache.StateAbsent {
		t.Errorf("the environment is %s before anybody called", state)
	}
	g.mustInvoke(t, "late.a", "")
	if n := builds(t, since, "late"); n != 1 {
		t.Errorf("%d builders were made, want 1", n)
	}
}

// TestWatchedPacksAreReadAgain: files change, packs come and go, and nobody
// sends a signal. Every call on the way succeeds.
func TestWatchedPacksAreReadAgain(t *testing.T) {
	h := newHome(t)
	dir := tinyPack(t, h, "watched", "one\n")
	g := h.start(t, append(tinyRuntime(t, h, "attune/shell"), "ATTUNE__WATCH=true")...)
	first := g.untilState(t, "watched", "tiny", envcache.StateReady)
	write(t, filepath.Join(dir, "tiny.txt"), "two\n", 0o644)
	g.untilResult(t, "watched.a", "one original original\n", "two original original\n")

	later := tinyPack(t, h, "later", "three\n")
	eventually(t, time.Minute, "a new pack is served", func() bool { return g.invoke(t, "later.a", "").status == http.StatusOK })
	write(t, filepath.Join(later, "actions", "deep", "b.tiny"), "echo deep\n", 0o755)
	write(t, filepath.Join(later, "actions", "b.yaml"), "ref: later.b\nentry_point: deep/b.tiny\n", 0o644)
	eventually(t, time.Minute, "a new action is served", func() bool { return g.invoke(t, "later.b", "").status == http.StatusOK })
	write(t, filepath.Join(later, "actions", "deep", "b.tiny"), "echo changed\n", 0o755)
	eventually(t, time.Minute, "a new script runs", func() bool { return g.mustInvoke(t, "later.b", "").body == "changed\n" })

	// A deleted pack leaves nothing that a namesake could inherit.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "a deleted pack is gone", func() bool { return g.invoke(t, "watched.a", "").status == http.StatusNotFound })
	eventually(t, time.Minute, "its pointer is gone", func() bool {
		_, err := os.Lstat(filepath.Join(h.envs, "watched", "tiny"))
		return os.IsNotExist(err)
	})
	tinyPack(t, h, "watched", "one\n")
	eventually(t, time.Minute, "the namesake is served", func() bool { return g.invoke(t, "watched.a", "").status == http.StatusOK })
	if again := g.environment(t, "watched", "tiny"); again.Serving == first.Serving {
		t.Errorf("the namesake inherited generation %s", again.Serving)
	}
}

// TestChangedImageBuildsBeside: each generation runs in the image that it was
// built in, and no call fails on the way from one to the other.
func TestChangedImageBuildsBeside(t *testing.T) {
	h, since := newHome(t), time.Now()
	image := "attune-test/" + strings.ToLower(filepath.Base(filepath.Dir(h.packs))) + ":1"
	dockerLines(t, "tag", "attune/shell", image)
	t.Cleanup(func() { exec.Command("docker", "rmi", "-f", image).Run() })
	tinyPack(t, h, "imaged", "one\n")
	g := h.start(t, tinyRuntime(t, h, image)...)
	g.untilState(t, "imaged", "tiny", envcache.StateReady)
	if got := g.mustInvoke(t, "imaged.a", "").body; got != "one original original\n" {
		t.Fatalf("POST /invoke/imaged.a = %q", got)
	}
	build := exec.Command("docker", "build", "-q", "-t", image, "-")
	build.Stdin = strings.NewReader("FROM attune/shell\nUSER 0\nRUN echo changed >/etc/attune-test-image\n")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	g.hangup(t)
	g.untilResult(t, "imaged.a", "one original original\n", "one changed changed\n")
	if n := builds(t, since, "imaged"); n != 2 {
		t.Errorf("%d builders were made, want 2", n)
	}
}

// TestFailedUpgradeServesDegraded, and is mended by the next change.
func TestFailedUpgradeServesDegraded(t *testing.T) {
	h := newHome(t)
	dir := tinyPack(t, h, "fragile", "one\n")
	g := h.start(t, tinyRuntime(t, h, "attune/shell")...)
	g.mustInvoke(t, "fragile.a", "")
	write(t, filepath.Join(dir, "tiny.txt"), "broken\n", 0o644)
	g.hangup(t)
	status := g.untilState(t, "fragile", "tiny", envcache.StateDegraded)
	if status.Attempt != 1 || status.Reason == "" || status.NextRetry == nil || status.Serving == status.Digest {
		t.Errorf("GET …/environments/fragile/tiny = %+v", status)
	}
	if got := g.mustInvoke(t, "fragile.a", "").body; got != "one original original\n" {
		t.Errorf("POST /invoke/fragile.a = %q while degraded", got)
	}
	write(t, filepath.Join(dir, "tiny.txt"), "two\n", 0o644)
	g.hangup(t)
	g.untilResult(t, "fragile.a", "one original original\n", "two original original\n")
}

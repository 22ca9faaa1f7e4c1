package tests

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"attune/runtimes/container/containertest"
)

// TestUnprivilegedGateway serves as an ordinary user of the engine's group.
func TestUnprivilegedGateway(t *testing.T) {
	containertest.RequireDocker(t)
	if os.Geteuid() != 0 {
		t.Skip("the tests themselves run as an ordinary user, so every other test shows this")
	}
	info, err := os.Stat("/var/run/docker.sock")
	if err != nil {
		t.Skip("the engine has no socket here that a group could be let to:", err)
	}
	const uid = 45678
	h := newHome(t, "shell_example", "python_example")
	manifest, err := os.ReadFile(filepath.Join(h.packs, "python_example", "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	h.pack(t, "twin", map[string]string{
		"requirements.txt": string(manifest), "actions/v.yaml": "ref: twin.v\nentry_point: v.py\n", "actions/v.py": "import sys\nprint(sys.prefix)\n",
	})
	for _, dir := range []string{h.envs, h.state} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	h.user = &syscall.Credential{Uid: uid, Gid: uid, Groups: []uint32{info.Sys().(*syscall.Stat_t).Gid}}
	g := h.start(t, "HOME=/nonexistent")
	for _, pack := range []string{"shell_example", "python_example"} {
		if got := g.mustInvoke(t, pack+".hello", `{"name":"Ada"}`).value(t)["greeting"]; got != "Hello, Ada!" {
			t.Errorf("%s: greeting = %v", pack, got)
		}
	}
	if got := g.mustInvoke(t, "twin.v", "{}").body; got != "/opt/attune/runtime_envs/twin/python\n" {
		t.Errorf("POST /invoke/twin.v = %q", got)
	}
	if s := g.get(t, "/api/v1/environments/twin/python").value(t); s["shared_from"] == nil {
		t.Errorf("environment %v, want a copy", s)
	}
	err = filepath.WalkDir(filepath.Join(h.envs, ".store"), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Sys().(*syscall.Stat_t).Uid != uid {
			t.Errorf("%s belongs to user %d, want the gateway's %d", path, info.Sys().(*syscall.Stat_t).Uid, uid)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReloadShowsAPackMovedIntoPlace: a pack is deployed anew by two renames,
// with the same content; running instances have the old directory mounted.
func TestReloadShowsAPackMovedIntoPlace(t *testing.T) {
	h := newHome(t, "shell_example")
	g := h.start(t)
	g.mustInvoke(t, "shell_example.hello", "{}")
	aside := newHome(t, "shell_example")
	now := filepath.Join(h.packs, "shell_example")
	if err := os.Rename(now, filepath.Join(aside.packs, "old")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(aside.packs, "shell_example"), now); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(aside.packs, "old")); err != nil {
		t.Fatal(err)
	}
	g.hangup(t)
	g.mustInvoke(t, "shell_example.hello", "{}")
}

// TestHangupRightAfterReady: who is told "ready" may send SIGHUP.
func TestHangupRightAfterReady(t *testing.T) {
	h := newHome(t)
	for range 5 {
		g := h.launch(t, "ATTUNE__ENGINE=process")
		g.hangup(t)
		g.stop(t)
	}
}

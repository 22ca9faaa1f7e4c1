package tests

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// top lists the command lines in a gateway's running instances.
func top(t testing.TB, g *gateway) string {
	t.Helper()
	var all strings.Builder
	for _, id := range g.containers(t, "label=attune.role=instance", "status=running") {
		out, err := exec.Command("docker", "top", id, "-eo", "pid,args").Output()
		if err != nil {
			continue // it ended in between
		}
		all.Write(out)
	}
	return all.String()
}

// TestTimeoutKillsAllThatWasStarted: SIGTERM ignored, a session of its own, a
// fork that outlives its parent: none of them is there when the answer is.
func TestTimeoutKillsAllThatWasStarted(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	answered := make(chan answer, 1)
	go func() { answered <- g.invoke(t, "trouble.stubborn", "{}") }()
	eventually(t, 10*time.Second, "the action and its fork run", func() bool { return strings.Count(top(t, g), "sleep 1000") >= 2 })
	if a := <-answered; a.status != 504 {
		t.Errorf("POST /invoke/trouble.stubborn = %d %s", a.status, a.body)
	}
	if processes := top(t, g); strings.Contains(processes, "sleep") || strings.Contains(processes, "stubborn.sh") {
		t.Errorf("after the answer these are left:\n%s", processes)
	}
	if got := g.mustInvoke(t, "trouble.fine", "{}").body; got != "fine\n" {
		t.Errorf("trouble.fine = %q", got)
	}
}

// TestBuilderIsConfined: a running builder is an ordinary user without
// capabilities who may write into its attempt, its pack's downloads, and nowhere
// else.
func TestBuilderIsConfined(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "confined")
	g := h.start(t)
	answered := make(chan answer, 1)
	go func() { answered <- g.invoke(t, "confined.run", "{}") }()
	var builders []inspected
	eventually(t, 20*time.Second, "the builder runs", func() bool {
		ids := g.containers(t, "label=attune.role=builder", "status=running")
		if len(ids) == 0 {
			return false
		}
		out, err := exec.Command("docker", append([]string{"inspect"}, ids...)...).Output()
		return err == nil && json.Unmarshal(out, &builders) == nil // else it ended in between
	})
	if err := g.checkShapes(); err != nil {
		t.Error(err)
	}
	if a := <-answered; a.status != 200 {
		t.Fatalf("POST /invoke/confined.run = %d %s\n%s", a.status, a.body, g.text())
	}
	for _, b := range builders {
		host := b.HostConfig
		if !host.ReadonlyRootfs || host.Privileged || host.IpcMode != "none" || len(host.Binds) > 0 || len(host.CapAdd) > 0 ||
			strings.Join(host.CapDrop, " ") != "ALL" || strings.Join(host.SecurityOpt, " ") != "no-new-privileges" ||
			host.Memory == 0 || host.Memory != host.MemorySwap || host.PidsLimit == 0 || host.NanoCpus == 0 {
			t.Errorf("host configuration = %+v", host)
		}
		if b.Config.User == "" || strings.HasPrefix(b.Config.User, "0") || strings.HasPrefix(b.Config.User, "root") {
			t.Errorf("user = %q", b.Config.User)
		}
		var writable []string
		for _, m := range b.Mounts {
			if m.RW {
				writable = append(writable, m.Destination)
			}
		}
		slices.Sort(writable)
		if !slices.Equal(writable, []string{"/opt/attune/cache", "/opt/attune/runtime_envs/confined/python"}) {
			t.Errorf("writable mounts = %v, want the attempt, at the environment's path, and its pack's downloads", writable)
		}
		if strings.Contains(strings.Join(b.Config.Env, " "), canary) {
			t.Error("the gateway's environment shows in docker inspect")
		}
	}
	if left := g.containers(t, "label=attune.role=builder"); len(left) > 0 {
		t.Errorf("builders are left after the answer: %v", left)
	}
}

// TestPacksNeverPointOutside: a link is no way to another pack, to the host, or
// to an installer's input.
func TestPacksNeverPointOutside(t *testing.T) {
	h := newHome(t, "shell_example")
	secret := filepath.Join(filepath.Dir(h.packs), "secret.sh")
	write(t, secret, "echo "+canary+"\n", 0o755)
	link := func(target, path string) {
		t.Helper()
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	link("/etc", filepath.Join(h.packs, "evil"))
	script := h.pack(t, "linked_script", map[string]string{"actions/a.yaml": "ref: linked_script.a\nentry_point: a.sh\n"})
	link(secret, filepath.Join(script, "actions", "a.sh"))
	folder := h.pack(t, "linked_folder", map[string]string{})
	link(filepath.Join(h.packs, "shell_example", "actions"), filepath.Join(folder, "actions"))
	manifest := h.pack(t, "linked_manifest", map[string]string{
		"actions/a.yaml": "ref: linked_manifest.a\nentry_point: a.py\n", "actions/a.py": "print('ran')\n",
	})
	link(secret, filepath.Join(manifest, "requirements.txt"))
	g := h.start(t)
	for _, action := range []string{"evil.passwd", "linked_script.a", "linked_folder.hello", "linked_manifest.a"} {
		if a := g.invoke(t, action, "{}"); a.status != 404 || strings.Contains(a.body, canary) {
			t.Errorf("POST /invoke/%s = %d %s", action, a.status, a.body)
		}
	}
	g.mustInvoke(t, "shell_example.hello", "{}")
	for _, m := range strings.Fields(mountSources(t, g)) {
		if m == "/etc" || strings.HasPrefix(m, secret) {
			t.Errorf("%s is mounted", m)
		}
	}
}

func mountSources(t *testing.T, g *gateway) string {
	t.Helper()
	var all string
	for _, id := range g.containers(t) {
		out, err := exec.Command("docker", "inspect", "--format", "{{range .Mounts}}{{println .Source}}{{end}}", id).Output()
		if err != nil {
			t.Fatal(err)
		}
		all += string(out)
	}
	return all
}

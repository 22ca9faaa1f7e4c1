package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// imports is a script that says which of some packages it can import.
func imports(names ...string) string {
	return "import importlib\nfor name in '" + strings.Join(names, " ") + "'.split():\n" +
		"    try: print(name, importlib.import_module(name).__version__)\n    except ImportError: print(name, 'absent')\n"
}

// TestRequirementsKeepTheirParts: extras, markers, ranges and comments
// mean what they mean to the installer.
func TestRequirementsKeepTheirParts(t *testing.T) {
	h := newHome(t)
	h.pack(t, "parts", map[string]string{
		"requirements.txt": "# a comment\nidna<3.8,>=3.6  # another\nhttpcore[socks]==1.0.7\n\n" +
			"six==1.16.0; sys_platform == 'win32'\nhumanize==4.12.3\n",
		"actions/i.yaml": "ref: parts.i\nentry_point: i.py\n",
		"actions/i.py":   imports("idna", "httpcore", "socksio", "six", "humanize"),
	})
	want := "idna 3.7\nhttpcore 1.0.7\nsocksio 1.0.0\nsix absent\nhumanize 4.12.3\n"
	if got := h.start(t).mustInvoke(t, "parts.i", "{}").body; got != want {
		t.Errorf("POST /invoke/parts.i = %q, want %q", got, want)
	}
}

// TestDroppedDependencyIsGone: what the manifest does not name any more is not
// in the next environment, and the installer's file alone decides.
func TestDroppedDependencyIsGone(t *testing.T) {
	h := newHome(t)
	dir := h.pack(t, "dropping", map[string]string{
		"requirements.txt": "idna==3.7\nsix==1.16.0\n",
		"actions/i.yaml":   "ref: dropping.i\nentry_point: i.py\n",
		"actions/i.py":     imports("idna", "six"),
	})
	g := h.start(t)
	if got := g.mustInvoke(t, "dropping.i", "{}").body; got != "idna 3.7\nsix 1.16.0\n" {
		t.Errorf("at first: %q", got)
	}
	write(t, filepath.Join(dir, "requirements.txt"), "idna==3.10\n", 0o644)
	g.hangup(t)
	g.untilResult(t, "dropping.i", "idna 3.7\nsix 1.16.0\n", "idna 3.10\nsix absent\n")
}

// TestLockFileAloneIsAChange: the lock file decides the version, and changing
// it alone builds anew.
func TestLockFileAloneIsAChange(t *testing.T) {
	h := newHome(t)
	lock := func(version string) string {
		return `{"name":"locked","lockfileVersion":3,"packages":{"":{"name":"locked","dependencies":{"ms":"^2.0.0"}},"node_modules/ms":{"version":"` + version + `"}}}`
	}
	dir := h.pack(t, "locked", map[string]string{
		"package.json": `{"name":"locked","dependencies":{"ms":"^2.0.0"}}`, "package-lock.json": lock("2.1.2"),
		"actions/v.yaml": "ref: locked.v\nentry_point: v.js\n",
		"actions/v.js":   "console.log(require('ms/package.json').version)\n",
	})
	g := h.start(t)
	if got := g.mustInvoke(t, "locked.v", "{}").body; got != "2.1.2\n" {
		t.Errorf("ms is %q, the lock file says 2.1.2", got)
	}
	write(t, filepath.Join(dir, "package-lock.json"), lock("2.1.3"), 0o644)
	g.hangup(t)
	g.untilResult(t, "locked.v", "2.1.2\n", "2.1.3\n")
}

// untilResult calls an action until its result has changed. Every call on the
// way succeeds, and gets the one result or the other.
func (g *gateway) untilResult(t *testing.T, action, before, after string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		switch got := g.mustInvoke(t, action, "{}").body; {
		case got == after:
			return
		case got != before:
			t.Fatalf("POST /invoke/%s = %q, want %q and then %q", action, got, before, after)
		case time.Now().After(end):
			t.Fatalf("POST /invoke/%s is still %q", action, got)
		}
	}
}

// TestPacksComeAndGo: SIGHUP adds and removes packs, and calls of others go on.
func TestPacksComeAndGo(t *testing.T) {
	h := newHome(t, "shell_example")
	g := h.start(t)
	if a := g.invoke(t, "later.i", "{}"); a.status != http.StatusNotFound {
		t.Errorf("before it exists: %d %s", a.status, a.body)
	}
	dir := h.pack(t, "later", map[string]string{"actions/i.yaml": "ref: later.i\nentry_point: i.sh\n", "actions/i.sh": "echo ran\n"})
	g.hangup(t)
	g.mustInvoke(t, "later.i", "{}")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	g.hangup(t)
	if a := g.invoke(t, "later.i", "{}"); a.status != http.StatusNotFound {
		t.Errorf("after it is gone: %d %s", a.status, a.body)
	}
	g.mustInvoke(t, "shell_example.hello", "{}")
}

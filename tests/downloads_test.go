package tests

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"attune/envcache"
)

// buildTime tells how long the ready environment of a pack took to build.
func buildTime(t *testing.T, g *gateway, environment string) (milliseconds float64) {
	t.Helper()
	status := g.get(t, "/api/v1/environments/"+environment).value(t)
	if status["state"] != "ready" {
		t.Fatalf("environment %s = %v", environment, status)
	}
	return status["build_ms"].(float64)
}

// TestDownloadsAreKept: the next build of a pack fetches no package again, that
// of another pack has nothing of it, and neither can see the other's.
func TestDownloadsAreKept(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	packs := map[string]string{}
	for _, ref := range []string{"keeps_py", "other_py"} {
		packs[ref] = h.pack(t, ref, tinyPy(ref, map[string]string{"requirements.txt": "tiny==1.0.0\n"}))
	}
	packs["keeps_js"] = h.pack(t, "keeps_js", map[string]string{
		"package.json":   `{"dependencies":{"tiny":"1.0.0"}}`,
		"actions/v.yaml": "ref: keeps_js.v\nentry_point: v.js\n", "actions/v.js": "console.log(require('tiny').version)\n",
	})
	vars := "ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX=" + x.url + "/simple,npm_config_registry=" + x.url + "/npm/"
	g := h.start(t, vars, "ATTUNE__BUILD__SHARE=0") // they ask for the same
	for n, step := range []struct {
		action, manifest, content string // changed before the call
		files                     int    // fetched by its build
	}{
		{"keeps_py.v", "", "", 1},
		{"keeps_py.v", "requirements.txt", "tiny==1.0.0\n# again\n", 0},
		{"other_py.v", "", "", 1},
		{"keeps_js.v", "", "", 1},
		{"keeps_js.v", "package.json", `{"dependencies":{"tiny":"1.0.0"},"private":true}`, 0},
	} {
		before := x.files()
		pack, _, _ := strings.Cut(step.action, ".")
		runtime := map[bool]string{true: "python", false: "node"}[strings.HasSuffix(pack, "_py")]
		if step.manifest != "" {
			write(t, filepath.Join(packs[pack], step.manifest), step.content, 0o644)
			g.hangup(t)
		}
		g.mustInvoke(t, step.action, "{}")
		g.untilState(t, pack, runtime, envcache.StateReady)
		if got := x.files() - before; got != step.files {
			t.Errorf("build %d, of %s, fetched %d files, want %d", n+1, step.action, got, step.files)
		}
	}
	kept, err := os.ReadDir(filepath.Join(h.envs, ".cache", "idle"))
	if err != nil || len(kept) != 3 {
		t.Errorf("downloads are kept for %d packs (%v), want 3", len(kept), err)
	}
	if busy, err := os.ReadDir(filepath.Join(h.envs, ".cache", "busy")); err != nil || len(busy) > 0 {
		t.Errorf("downloads that no builder uses are taken: %v, %v", busy, err)
	}
	if info, err := os.Stat(filepath.Join(h.envs, ".cache", "idle")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the downloads' directory is %v, %v", info.Mode(), err)
	}
}

// TestPoisonStaysInItsPack: a builder that writes all over what it is given
// changes nothing for another pack.
func TestPoisonStaysInItsPack(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	h.pack(t, "poisons", map[string]string{
		"requirements.txt":   "./sub\n",
		"sub/pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"setup\"\nbackend-path = [\".\"]\n",
		"sub/setup.py": "import os\ncache = os.environ['UV_CACHE_DIR'].rsplit('/', 1)[0]\nfound = []\n" +
			"for root, dirs, files in os.walk(cache):\n    found += [f for f in files if 'tiny' in f or 'tiny' in root]\n" +
			"for name in 'simple-v0', 'wheels-v9', '../x', 'x/..':\n    try: open(cache + '/' + name, 'w').write('poison')\n    except OSError as e: print(e)\n" +
			"raise SystemExit(f'FOUND {len(found)} IN {cache} BESIDE {os.listdir(cache + \"/..\")}')\n",
		"actions/v.yaml": "ref: poisons.v\nentry_point: v.py\n", "actions/v.py": "",
	})
	for _, ref := range []string{"first", "victim"} {
		h.pack(t, ref, tinyPy(ref, map[string]string{"requirements.txt": "tiny==1.0.0\n"}))
	}
	g := h.start(t, "ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX="+x.url+"/simple", "ATTUNE__BUILD__SHARE=0")
	g.mustInvoke(t, "first.v", "{}")
	a := g.invoke(t, "poisons.v", "{}")
	if log := a.problem(t).Log; !strings.Contains(log, "FOUND 0 IN /opt/attune/cache") || strings.Contains(log, "idle") {
		t.Errorf("a builder that looks around = %s, want that it finds nothing of tiny", log)
	}
	if got := g.mustInvoke(t, "victim.v", "{}").body; got != "1.0.0 tiny says 1.0.0 tiny\n" {
		t.Errorf("after the poison: %q", got)
	}
}

// TestDownloadsAreOff where the operator wants none.
func TestDownloadsAreOff(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	h.pack(t, "keeps_none", tinyPy("keeps_none", map[string]string{"requirements.txt": "tiny==1.0.0\n"}))
	g := h.start(t, "ATTUNE__BUILD__VARS=UV_DEFAULT_INDEX="+x.url+"/simple", "ATTUNE__BUILD__CACHE_BYTES=0")
	g.mustInvoke(t, "keeps_none.v", "{}")
	if _, err := os.Stat(filepath.Join(h.envs, ".cache")); err == nil {
		t.Error("downloads were kept")
	}
}

// tunnels is a proxy that counts what passes by CONNECT.
type tunnels struct {
	opened atomic.Int64
	bytes  atomic.Int64 // to the clients
}

// Write counts.
func (p *tunnels) Write(b []byte) (int, error) {
	p.bytes.Add(int64(len(b)))
	return len(b), nil
}

func (p *tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	p.opened.Add(1)
	fmt.Fprint(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(there, buffered) // ends with either side
		there.Close()
	}()
	io.Copy(here, io.TeeReader(there, p)) // likewise
}

// TestBuildersGoByTheProxy that build.vars names, real packages included, except
// where NO_PROXY says otherwise; and the second build of a large environment
// asks what there is, and fetches none of it again.
func TestBuildersGoByTheProxy(t *testing.T) {
	p := &tunnels{}
	proxy := serveContainers(t, p)
	x := newIndex(t, "", "")
	h := newHome(t)
	dir := h.pack(t, "proxied", map[string]string{
		"requirements.txt": "numpy==2.3.5\npandas==2.3.3\n",
		"actions/v.yaml":   "ref: proxied.v\nentry_point: v.py\n", "actions/v.py": "import pandas\nprint(pandas.__version__)\n",
	})
	h.pack(t, "direct", tinyPy("direct", map[string]string{"pack.yaml": "ref: direct\nversion: 1.0.0\nbuild: {index: near}\n", "requirements.txt": "tiny==1.0.0\n"}))
	host, _, _ := net.SplitHostPort(hostOf(x.url))
	g := h.start(t, "ATTUNE__BUILD__WAITER=5m", "ATTUNE__BUILD__INDEXES=near="+x.url+"/simple",
		"ATTUNE__BUILD__VARS=HTTPS_PROXY="+proxy+",HTTP_PROXY="+proxy+",NO_PROXY="+host)
	g.mustInvoke(t, "direct.v", "{}")
	if n := p.opened.Load(); n != 0 {
		t.Errorf("%d tunnels for what NO_PROXY names", n)
	}
	if got := g.mustInvoke(t, "proxied.v?timeout=5m", "{}").body; got != "2.3.3\n" {
		t.Errorf("POST /invoke/proxied.v = %q", got)
	}
	bytecode(t, filepath.Join(h.envs, "proxied", "python"))
	first, fetched := buildTime(t, g, "proxied/python"), p.bytes.Load()
	if p.opened.Load() == 0 {
		t.Error("no tunnel was opened: the proxy was passed by")
	}
	write(t, filepath.Join(dir, "requirements.txt"), "pandas==2.3.3\nnumpy==2.3.5\n", 0o644)
	g.hangup(t)
	g.mustInvoke(t, "proxied.v?timeout=5m", "{}")
	g.untilState(t, "proxied", "python", envcache.StateReady)
	second := buildTime(t, g, "proxied/python")
	bytecode(t, filepath.Join(h.envs, "proxied", "python"))
	again := p.bytes.Load() - fetched
	if again*5 > fetched {
		t.Errorf("the second build fetched %d bytes, the first %d: want its packages from the downloads", again, fetched)
	}
	t.Logf("first build: %v ms, %d bytes; second: %v ms, %d bytes", first, fetched, second, again)
}

// bytecode checks that nearly every module of an environment is compiled: some
// packages bring a few for other versions.
func bytecode(t *testing.T, environment string) {
	t.Helper()
	count := map[string]int{}
	err := filepath.WalkDir(environment+"/lib", func(path string, _ os.DirEntry, err error) error {
		count[filepath.Ext(path)]++
		return err
	})
	if err != nil || count[".py"] < 1000 || count[".pyc"]*100 < count[".py"]*98 {
		t.Errorf("%d of %d modules are compiled (%v)", count[".pyc"], count[".py"], err)
	}
}

// TestOffline builds where there is no network, from what packs bring.
func TestOffline(t *testing.T) {
	h := newHome(t)
	h.pack(t, "wheels", tinyPy("wheels", map[string]string{
		"requirements.txt": "--no-index\n--find-links ./wheels\ntiny\n", "wheels/" + wheelName("1.1.0"): string(wheel("1.1.0")),
	}))
	h.pack(t, "tarballs", map[string]string{
		"package.json": `{"dependencies":{"tiny":"file:./vendor/tiny-1.0.0.tgz"}}`, "vendor/tiny-1.0.0.tgz": string(tarball()),
		"actions/v.yaml": "ref: tarballs.v\nentry_point: v.mjs\n", "actions/v.mjs": "import tiny from 'tiny'\nconsole.log(tiny.version, tiny.installed)\n",
	})
	g := h.start(t, "ATTUNE__BUILD__NETWORK=none")
	if got := g.mustInvoke(t, "wheels.v", "{}").body; got != "1.1.0 tiny says 1.1.0 tiny\n" {
		t.Errorf("POST /invoke/wheels.v = %q", got)
	}
	if got := g.mustInvoke(t, "tarballs.v", "{}").body; got != "1.0.0 false\n" {
		t.Errorf("POST /invoke/tarballs.v = %q", got)
	}
}

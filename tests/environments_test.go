package tests

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sent is one event of a stream.
type sent struct {
	name string
	data map[string]any
}

// post sends JSON, as an operator's program does.
func (g *gateway) post(t testing.TB, path, body string) answer {
	t.Helper()
	response, err := http.Post(g.url+path, "application/json", strings.NewReader(body))
	return read(t, response, err)
}

// events reads server-sent events until the answer ends or done says so.
func events(t testing.TB, response *http.Response, done func(sent) bool) []sent {
	t.Helper()
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(response.Body)
		t.Fatalf("answer = %d %v %s", response.StatusCode, response.Header, body)
	}
	var all []sent
	var now sent
	for lines := bufio.NewReader(response.Body); ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("after %v: %v", all, err)
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "event":
			now.name = value
		case "data":
			if err := json.Unmarshal([]byte(value), &now.data); err != nil {
				t.Fatalf("%s: %v", value, err)
			}
		case "":
			if now.name != "" {
				all = append(all, now)
			}
			if now.name != "" && done(now) {
				return all
			}
			now = sent{}
		}
	}
}

// phases lists the phases that events tell of, each once.
func phases(all []sent) string {
	var names []string
	for _, e := range all {
		if phase, ok := e.data["phase"].(string); ok && e.name != "state" && (len(names) == 0 || names[len(names)-1] != phase) {
			names = append(names, phase)
		}
	}
	return strings.Join(names, " ")
}

// TestFirstCallTellsOfItsBuild: with events, a caller sees the installer at
// work, waits longer than build.waiter, and gets its result.
func TestFirstCallTellsOfItsBuild(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "told")
	g := h.start(t, "ATTUNE__BUILD__WAITER=100ms", "ATTUNE__BUILD__AHEAD=false")
	request, err := http.NewRequest("POST", g.url+"/invoke/told.run", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	all := events(t, response, func(sent) bool { return false })
	if got := phases(all); !strings.HasSuffix(got, "create install verify publish published") {
		t.Errorf("phases = %s", got)
	}
	installed := false
	// Then its program is started, prints, and has a result.
	build := slices.IndexFunc(all, func(e sent) bool { return e.name == "started" })
	for _, e := range all[:max(build, 0)] {
		line, _ := e.data["line"].(string)
		installed = installed || strings.Contains(line, "numpy==2.3.5")
		if e.name != "environment" || e.data["pack"] != "told" || e.data["runtime"] != "python" {
			t.Errorf("event = %+v", e)
		}
	}
	if !installed {
		t.Errorf("no word of the installer in %+v", all)
	}
	last := all[len(all)-1]
	result, _ := last.data["result"].(map[string]any)
	if last.name != "result" || result["numpy"] != "2.3.5" || last.data["id"] != response.Header.Get("Attune-Execution-Id") {
		t.Errorf("last event = %+v", last)
	}
	// The second call has no build to tell of.
	response, err = http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	all = events(t, response, func(sent) bool { return false })
	for i, e := range all {
		if i == 0 && e.name != "started" || i == len(all)-1 && e.name != "result" || i > 0 && i < len(all)-1 && e.name != "stdout" {
			t.Errorf("second call = %+v, want its start, output and result alone", all)
		}
	}
}

// TestFailedBuildTellsWhy, with events and without.
func TestFailedBuildTellsWhy(t *testing.T) {
	h := newHome(t)
	h.pack(t, "unbuildable", map[string]string{
		"requirements.txt": "no-such-package-of-anybody==9.9\n",
		"actions/run.yaml": "ref: unbuildable.run\nentry_point: run.py\n", "actions/run.py": "print('ran')\n",
	})
	g := h.start(t, "ATTUNE__BUILD__AHEAD=false")
	const status = "/api/v1/environments/unbuildable/python"
	request, err := http.NewRequest("POST", g.url+"/invoke/unbuildable.run", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	all := events(t, response, func(sent) bool { return false })
	last := all[len(all)-1]
	log, _ := last.data["log"].(string)
	if last.name != "problem" || last.data["type"] != "/problems/environment-failed" || last.data["environment"] != status || !strings.Contains(log, "no-such-package-of-anybody") {
		t.Errorf("last event = %+v", last)
	}
	plain := g.invoke(t, "unbuildable.run", "{}")
	if link := plain.header.Get("Link"); plain.status != 503 || link != "<"+status+`>; rel="status"` {
		t.Errorf("plain call = %d, Link %q", plain.status, link)
	}
	stdout, stderr, code := attune(t, nil, "env", "build", "unbuildable", "--url", g.url)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "no-such-package-of-anybody") || !strings.Contains(stderr, "attune: the build of unbuildable/python has failed: ") {
		t.Errorf("env build = %d\n%s\n%s", code, stdout, stderr)
	}
}

// TestOperatorsCommands goes through the life of an environment with the
// commands alone.
func TestOperatorsCommands(t *testing.T) {
	h := newHome(t)
	g := h.start(t, "ATTUNE__BUILD__AHEAD=false")
	run := func(code int, want string, args ...string) string {
		t.Helper()
		stdout, stderr, got := attune(t, nil, append(args, "--url", g.url)...)
		if got != code || !strings.Contains(stdout+stderr, want) {
			t.Fatalf("attune %s = %d, want %d and %q\n%s\n%s", strings.Join(args, " "), got, code, want, stdout, stderr)
		}
		return stdout
	}
	shown := func() map[string]any {
		t.Helper()
		var s map[string]any
		if err := json.Unmarshal([]byte(run(0, "{", "env", "show", "life", "-o", "json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	dir := h.pack(t, "life", map[string]string{
		"requirements.txt": "six==1.17.0\n",
		"actions/run.yaml": "ref: life.run\nentry_point: run.py\n", "actions/run.py": "import six; print(six.__version__)\n",
	})
	run(2, "no such resource", "env", "build", "life", "python")
	run(0, "life 1.0.0: registered, 1 action", "pack", "register", dir)
	run(2, "already-registered", "pack", "register", dir)
	run(0, "read again", "pack", "register", "--force", "life")
	run(2, "directly below packs_base_dir", "pack", "register", t.TempDir())

	run(0, "ready in ", "env", "build", "life")
	run(0, "six==1.17.0", "env", "log", "life")
	first := shown()
	if first["state"] != "ready" || first["digest"] != first["serving"] {
		t.Fatalf("after the build: %v", first)
	}
	run(0, "GENERATION", "env", "show", "life")
	run(0, "ok", "env", "verify")

	run(0, "ready in ", "env", "rebuild", "life")
	second := shown()
	if second["serving"] == first["serving"] || len(second["generations"].([]any)) != 2 {
		t.Fatalf("after the rebuild: %v", second)
	}
	if got := g.mustInvoke(t, "life.run", "{}").body; got != "1.17.0\n" {
		t.Errorf("after the rebuild: %q", got)
	}
	run(0, "generation "+first["serving"].(string)[:12]+" serves", "env", "rollback", "life")
	if back := shown(); back["serving"] != first["serving"] || back["rolled_back"] != true {
		t.Errorf("after the rollback: %v", back)
	}
	run(0, second["serving"].(string)[:12]+" serves", "env", "rollback", "life", "--to", second["serving"].(string)[:6])
	run(2, "0 generations", "env", "rollback", "life", "--to", "ffff")

	six, err := filepath.Glob(filepath.Join(h.envs, "life", "python", "lib", "python*", "site-packages", "six.py"))
	if err != nil || len(six) != 1 {
		t.Fatalf("six.py = %v, %v", six, err)
	}
	write(t, six[0], "__version__ = 'evil'\n", 0o644)
	run(1, "six.py", "env", "verify", "life")

	run(0, "life/python: forgotten", "env", "remove", "life")
	if gone := shown(); gone["serving"] != nil || gone["generations"] != nil {
		t.Errorf("after the removal: %v", gone)
	}
	run(0, "absent", "env", "verify", "life", "python")
	run(0, "", "env", "prune", "--all")
	if got := g.mustInvoke(t, "life.run", "{}").body; got != "1.17.0\n" {
		t.Errorf("after the removal: %q", got)
	}
}

// TestWatchersDontHoldUpTheEnd, and learn of it; those who come and go leave
// nothing.
func TestWatchersDontHoldUpTheEnd(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "watched")
	g := h.start(t, "ATTUNE__BUILD__AHEAD=false")
	const path = "/api/v1/environments/watched/python"
	open := func() *http.Response {
		response, err := http.Get(g.url + path + "/events")
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	watcher := open()
	if a := g.post(t, path+"/build", "{}"); a.status != http.StatusAccepted || a.header.Get("Location") != path {
		t.Errorf("POST %s/build = %d %v %s", path, a.status, a.header, a.body)
	}
	all := events(t, watcher, func(e sent) bool { return e.name == "state" && e.data["state"] == "ready" })
	if all[0].name != "state" || !strings.HasSuffix(phases(all), "create install verify publish published") {
		t.Errorf("events = %+v", all)
	}
	// A late watcher, and one that is there at the end.
	last := open()
	ended := make(chan []sent, 1)
	go func() { ended <- events(t, last, func(sent) bool { return false }) }()
	start := time.Now()
	g.stop(t)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("stopping took %s with a watcher", took)
	}
	if all := <-ended; len(all) != 1 || all[0].data["state"] != "ready" {
		t.Errorf("events of the last watcher = %+v", all)
	}
}

// TestPagesOfOtherSitesChangeNothing: a browser's request from elsewhere, under
// whatever name, is refused by the running program as well.
func TestPagesOfOtherSitesChangeNothing(t *testing.T) {
	g := examples(t)
	for name, header := range map[string]map[string]string{
		"another origin": {"Origin": "https://elsewhere.example"},
		"cross-site":     {"Sec-Fetch-Site": "cross-site"},
		"rebound name":   {"Origin": "http://rebound.example", "Host": "rebound.example"},
		"a form":         {"Content-Type": "application/x-www-form-urlencoded"},
	} {
		request, err := http.NewRequest("POST", g.url+"/api/v1/environments/prune", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		for key, value := range header {
			request.Header.Set(key, value)
		}
		request.Host = header["Host"]
		response, err := http.DefaultClient.Do(request)
		if a := read(t, response, err); a.status != http.StatusForbidden && a.status != http.StatusUnsupportedMediaType {
			t.Errorf("%s = %d %s, want it refused", name, a.status, a.body)
		}
	}
}

package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"attune/tests/kit"
)

// What an index with credentials asks for. The password needs escaping in a URL.
const (
	indexUser     = "reader"
	indexPassword = "p4ss/w0rd=canary"
)

// TestPrivateIndex: packs choose an index of the operator's, and its credentials
// are nowhere but in a file of the builders that need them.
func TestPrivateIndex(t *testing.T) {
	x := newIndex(t, indexUser, indexPassword)
	h := newHome(t)
	h.pack(t, "private_py", tinyPy("private_py", map[string]string{
		"pack.yaml":        "ref: private_py\nversion: 1.0.0\nbuild: {index: internal}\n",
		"requirements.txt": "tiny==1.0.0\n",
	}))
	h.pack(t, "private_js", map[string]string{
		"pack.yaml":      "ref: private_js\nversion: 1.0.0\nbuild: {index: internal}\n",
		"package.json":   `{"dependencies":{"tiny":"1.0.0"}}`,
		"actions/v.yaml": "ref: private_js.v\nentry_point: v.js\n",
		"actions/v.js":   "console.log(require('tiny').version)\n",
	})
	h.pack(t, "unoffered", tinyPy("unoffered", map[string]string{
		"pack.yaml": "ref: unoffered\nversion: 1.0.0\nbuild: {index: elsewhere}\n", "requirements.txt": "tiny\n",
	}))
	h.pack(t, "locked_out", tinyPy("locked_out", map[string]string{
		"pack.yaml": "ref: locked_out\nversion: 1.0.0\nbuild: {index: open}\n", "requirements.txt": "tiny\n",
	}))
	// A pack that does its worst: it prints what its builder can read.
	h.pack(t, "prints", tinyPy("prints", map[string]string{
		"pack.yaml":        "ref: prints\nversion: 1.0.0\nbuild: {index: internal}\n",
		"requirements.txt": "./sub\n",
		"sub/setup.py": "import os, sys, glob\nraise SystemExit('SAYS ' + open(os.environ['NETRC']).read().replace(chr(10), ' ') + " +
			"'http://reader:p4ss%2Fw0rd%3Dcanary@host ' + str(os.stat(os.environ['NETRC']).st_mode & 0o777))\n",
		"sub/pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"setup\"\nbackend-path = [\".\"]\n",
	}))
	secret := filepath.Join(t.TempDir(), "credentials")
	write(t, secret, indexUser+":"+indexPassword+"\n", 0o400)
	containers := watchInspect(t)
	g := h.start(t,
		"ATTUNE__BUILD__INDEXES=internal.python="+x.url+"/simple,internal.node="+x.url+"/npm/,open="+x.url+"/simple",
		"ATTUNE__BUILD__INDEX_CREDENTIALS=internal.python="+secret+",internal.node=env:NPM_CREDENTIALS",
		"NPM_CREDENTIALS="+indexUser+":"+indexPassword)
	if got := g.mustInvoke(t, "private_py.v", "{}").body; got != "1.0.0 tiny says 1.0.0 tiny\n" {
		t.Errorf("POST /invoke/private_py.v = %q", got)
	}
	if got := g.mustInvoke(t, "private_js.v", "{}").body; got != "1.0.0\n" {
		t.Errorf("POST /invoke/private_js.v = %q", got)
	}
	if a := g.invoke(t, "unoffered.v", "{}"); a.status != 503 || !strings.Contains(a.problem(t).Detail, "the index elsewhere, which the operator does not offer") {
		t.Errorf("an index that is not offered = %d %s", a.status, a.body)
	}
	if a := g.invoke(t, "locked_out.v", "{}"); a.status != 503 || !strings.Contains(a.problem(t).Log, "401") {
		t.Errorf("an index without its credentials = %d %s", a.status, a.body)
	}
	said := g.invoke(t, "prints.v", "{}")
	if p := said.problem(t); !strings.Contains(p.Log, "SAYS machine") || !strings.Contains(p.Log, "password *** ") || !strings.HasSuffix(strings.TrimSpace(strings.Split(p.Log, "@host ")[1][:4]), "256") {
		t.Errorf("a builder that prints its credentials: %s, want them masked and of mode 0400", p.Log)
	}
	for _, pack := range []string{"private_py/python", "private_js/node", "prints/python"} {
		said.body += g.get(t, "/api/v1/environments/"+pack+"/log").body + g.get(t, "/api/v1/environments/"+pack).body
	}
	seen := containers()
	if strings.Count(seen, "attune-build-") < 3 || !strings.Contains(seen, "UV_DEFAULT_INDEX="+x.url) {
		t.Errorf("the engine was not asked about the builders: %s", seen)
	}
	for place, text := range map[string]string{"docker inspect": seen, "answers": said.body, "the gateway's log": g.text(), "the environments": everything(t, h.envs)} {
		for _, spelling := range []string{indexPassword, "p4ss%2Fw0rd", "cmVhZGVyOnA0c3Mvd"} {
			if strings.Contains(text, spelling) {
				t.Errorf("%s hold the password as %s", place, spelling)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(h.envs, ".secrets")); err == nil {
		t.Error("credentials were on the volume's disk")
	}
	if left, _ := filepath.Glob("/dev/shm/attune-*/*/credentials"); len(left) > 0 {
		t.Errorf("credentials are left after the builds: %v", left)
	}
}

// watchInspect collects what the engine says of every container that is created
// from now on; the function returned stops that and gives it.
func watchInspect(t *testing.T) func() string {
	t.Helper()
	events := exec.Command("docker", "events", "--filter", "type=container", "--filter", "event=create", "--format", "{{.ID}}")
	ids, err := events.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Start(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(ids); lines.Scan(); {
			out, _ := exec.Command("docker", "inspect", lines.Text()).Output() // it may be gone already
			seen.Write(out)
		}
	}()
	stop := sync.OnceValue(func() string {
		events.Process.Kill()
		<-done
		events.Wait() // it was killed: its error says no more
		return seen.String()
	})
	t.Cleanup(func() { stop() })
	return stop
}

// everything is the content of all files below a directory.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		all.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestInstallScripts: packages' own programs run where the pack asks for it, and
// that is another environment.
func TestInstallScripts(t *testing.T) {
	x := newIndex(t, "", "")
	h := newHome(t)
	files := map[string]string{
		"package.json":   `{"dependencies":{"tiny":"1.0.0"}}`,
		"actions/v.yaml": "ref: scripted.v\nentry_point: v.mjs\n",
		"actions/v.mjs":  "import tiny from 'tiny'\nimport { execSync } from 'child_process'\nconsole.log(tiny.installed, execSync('tinyjs').toString().trim())\n",
	}
	dir := h.pack(t, "scripted", files)
	g := h.start(t, "ATTUNE__BUILD__VARS=npm_config_registry="+x.url+"/npm/")
	if got := g.mustInvoke(t, "scripted.v", "{}").body; got != "false tiny says 1.0.0\n" {
		t.Errorf("without build.scripts: %q", got)
	}
	before := g.get(t, "/api/v1/environments/scripted/node").value(t)
	write(t, filepath.Join(dir, "pack.yaml"), "ref: scripted\nversion: 1.0.0\nbuild: {scripts: true}\n", 0o644)
	g.hangup(t)
	g.untilResult(t, "scripted.v", "false tiny says 1.0.0\n", "true tiny says 1.0.0\n")
	after := g.get(t, "/api/v1/environments/scripted/node").value(t)
	if before["digest"] == after["digest"] || after["state"] != "ready" {
		t.Errorf("environments without and with scripts: %v and %v", before, after)
	}
	want := `[{"name":"tiny","version":"1.0.0"}]`
	if list, err := json.Marshal(after["packages"]); err != nil || string(list) != want {
		t.Errorf("packages = %s, want %s", list, want)
	}
}

// TestOtherLockFileIsRefused at the pack, with the cure.
func TestOtherLockFileIsRefused(t *testing.T) {
	h := newHome(t)
	h.pack(t, "yarned", map[string]string{
		"package.json": "{}", "yarn.lock": "", "actions/v.yaml": "ref: yarned.v\nentry_point: v.js\n", "actions/v.js": "",
	})
	g := h.start(t)
	if a := g.get(t, "/api/v1/packs/yarned"); a.status != http.StatusOK || !strings.Contains(a.body, "npm install --package-lock-only") {
		t.Errorf("GET /api/v1/packs/yarned = %d %s", a.status, a.body)
	}
}

// TestCredentialsOfAGatewayInAContainer are in memory as well: in a volume of type
// tmpfs, as docker-compose.yaml has one. Without it the gateway doesn't start.
func TestCredentialsOfAGatewayInAContainer(t *testing.T) {
	gatewayImage(t)
	followEngine()
	x := newIndex(t, indexUser, indexPassword)
	h := newHome(t)
	h.pack(t, "private_py", tinyPy("private_py", map[string]string{
		"pack.yaml": "ref: private_py\nversion: 1.0.0\nbuild: {index: internal}\n", "requirements.txt": "tiny==1.0.0\n",
	}))
	h.pack(t, "prints", tinyPy("prints", map[string]string{
		"pack.yaml":        "ref: prints\nversion: 1.0.0\nbuild: {index: internal}\n",
		"requirements.txt": "./sub\n",
		"sub/setup.py": "import os\nplace = os.path.dirname(os.environ['NETRC'])\nraise SystemExit('MOUNTED ' + " +
			"next(line for line in open('/proc/self/mountinfo') if line.split()[4] == place) + open(os.environ['NETRC']).read().split()[0])\n",
		"sub/pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = \"setup\"\nbackend-path = [\".\"]\n",
	}))
	name := fmt.Sprintf("attune-private-%d", os.Getpid())
	dockerLines(t, "volume", "create", name+"-envs")
	dockerLines(t, "volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,mode=0700", name+"-secrets")
	t.Cleanup(func() { dockerLines(t, "volume", "rm", name+"-envs", name+"-secrets") })
	run := func(more ...string) *exec.Cmd {
		args := append([]string{
			"run", "--rm", "--name", name, "--publish", "127.0.0.1::8080", "--volume", "/var/run/docker.sock:/var/run/docker.sock",
			"--volume", h.packs + ":/opt/attune/packs:ro", "--volume", name + "-envs:/opt/attune/runtime_envs", "--read-only", "--tmpfs", "/var/lib/attune",
			"--env", "ATTUNE__BUILD__AHEAD=false", "--env", "ATTUNE__BUILD__WAITER=2m", "--env", "ATTUNE__BUILD__INDEXES=internal=" + x.url + "/simple",
			"--env", "ATTUNE__BUILD__INDEX_CREDENTIALS=internal=env:SECRET", "--env", "SECRET=" + indexUser + ":" + indexPassword,
		}, more...)
		return exec.Command("docker", append(args, "attune/gateway", "serve", "--insecure", "--host", "0.0.0.0")...)
	}
	for _, without := range [][]string{nil, {"--tmpfs", "/run/attune/secrets"}, {"--volume", "/run/attune/secrets"}} {
		out, err := run(without...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "build.index_credentials") || !strings.Contains(string(out), "a volume of type tmpfs at /run/attune/secrets") {
			t.Errorf("serve with %v = %v\n%s\nwant that it asks for memory", without, err, out)
		}
	}
	serve := run("--volume", name+"-secrets:/run/attune/secrets")
	serve.Stdout, serve.Stderr = t.Output(), t.Output()
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("docker", "stop", "--time", "30", name).CombinedOutput(); err != nil {
			t.Errorf("docker stop: %v\n%s", err, out)
		}
		serve.Wait() // it was stopped: its error says no more
		if left := onVolume(t, name+"-envs"); len(left) > 0 {
			dockerLines(t, append([]string{"rm", "-f"}, left...)...)
			t.Errorf("%d containers outlive the gateway: %v", len(left), left)
		}
	})
	var address string
	kit.Until(t, func() bool {
		out, _ := exec.Command("docker", "port", name, "8080").Output() // it is not there at once
		address = strings.TrimSpace(string(out))
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	g := &gateway{url: "http://" + address}
	if got := g.mustInvoke(t, "private_py.v", "{}").body; got != "1.0.0 tiny says 1.0.0 tiny\n" {
		t.Errorf("POST /invoke/private_py.v = %q", got)
	}
	if log := g.invoke(t, "prints.v", "{}").problem(t).Log; !strings.Contains(log, "MOUNTED ") || !strings.Contains(log, " - tmpfs ") || !strings.Contains(log, "machine") {
		t.Errorf("the credentials of a builder that says where they are: %s, want a tmpfs", log)
	}
	for _, line := range dockerLines(t, "run", "--rm", "--user", "0", "--volume", name+"-envs:/envs:ro", "--volume", name+"-secrets:/secrets:ro",
		"--entrypoint", "/bin/sh", "attune/shell", "-c", "find /secrets -type f; ls -d /envs/.secrets; grep -rl '"+indexPassword+"' /envs; true") {
		t.Errorf("credentials are left: %s", line)
	}
}

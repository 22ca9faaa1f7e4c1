package tests

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// attune runs the program to its end.
func attune(t *testing.T, vars []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(program("attune"), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, vars...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestCommandLine(t *testing.T) {
	h := newHome(t, "shell_example")
	h.pack(t, "exits", map[string]string{"actions/one.yaml": "ref: exits.one\nentry_point: one.sh\n", "actions/one.sh": "echo because >&2; exit 1\n"})
	h.pack(t, "faulty", map[string]string{"pack.yaml": "ref: other\ncolour: red\n"})
	h.pack(t, "kept", map[string]string{
		"requirements.txt": "", "actions/back.yaml": "ref: kept.back\nentry_point: back.py\n", "actions/back.py": "import sys; print(sys.stdin.read())\n",
	})
	g := h.start(t)
	g.mustInvoke(t, "kept.back", "{}")
	for name, want := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"version":      {[]string{"version"}, 0, "attune", ""},
		"invoke":       {[]string{"invoke", "shell_example.hello", "name=Ada", "--url", g.url}, 0, "Hello, Ada!", ""},
		"invoke json":  {[]string{"invoke", "kept.back", "text=5", "list:=[1,{\"a\":null}]", "--url", g.url}, 0, `{"list":[1,{"a":null}],"text":"5"}`, ""},
		"invoke bad":   {[]string{"invoke", "shell_example.hello", "name:=5", "--url", g.url}, 2, "", "/name"},
		"invoke fails": {[]string{"invoke", "exits.one", "--url", g.url}, 1, "", "because"},
		"no gateway":   {[]string{"invoke", "exits.one", "--url", "http://127.0.0.1:1"}, 3, "", "attune serve"},
		"pack list":    {[]string{"pack", "list", "--url", g.url}, 0, "shell_example", ""},
		"pack json":    {[]string{"pack", "list", "--output", "json", "--url", g.url}, 0, `"broken"`, ""},
		"pack check":   {[]string{"pack", "check", h.packs + "/exits"}, 0, "", ""},
		"env list":     {[]string{"env", "list", "--url", g.url}, 0, "ready", ""},
		"env json":     {[]string{"env", "list", "--output", "json", "--url", g.url}, 0, `"kept"`, ""},
		"health":       {[]string{"health", "--url", g.url}, 0, "", ""},
		"completion":   {[]string{"completion", "bash"}, 0, "complete", ""},
		"no health":    {[]string{"health", "--url", "http://127.0.0.1:1"}, 1, "", "attune serve"},
		"unknown":      {[]string{"nonsense"}, 2, "", "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := attune(t, nil, want.args...)
			if strings.HasSuffix(name, "json") && !json.Valid([]byte(stdout)) {
				t.Errorf("attune %s printed no JSON:\n%s", strings.Join(want.args, " "), stdout)
			}
			if code != want.code || !strings.Contains(stdout, want.stdout) || !strings.Contains(stderr, want.stderr) {
				t.Errorf("attune %s = %d\n%s\n%s", strings.Join(want.args, " "), code, stdout, stderr)
			}
		})
	}
}

// TestPackFaultsComeAllAtOnce, each with its file and line.
func TestPackFaultsComeAllAtOnce(t *testing.T) {
	h := newHome(t)
	dir := h.pack(t, "faulty", map[string]string{
		"pack.yaml":         "ref: other\ncolour: red\nversion: [1]\n",
		"actions/run.yaml":  "ref: faulty.run\nentry_point: ../run.sh\ntimeout: -5\nshape: round\n",
		"actions/gone.yaml": "ref: faulty.gone\nentry_point: gone.sh\n",
		"actions/tab.yaml":  "ref: faulty.tab\n\tentry_point: tab.sh\n",
	})
	stdout, stderr, code := attune(t, nil, "pack", "check", dir)
	for _, want := range []string{
		"pack.yaml:1: ref is other", `pack.yaml:2: unknown key "colour"`, "pack.yaml:3: version",
		"actions/run.yaml:2: entry_point", "actions/run.yaml:3: timeout", `actions/run.yaml:4: unknown key "shape"`,
		"actions/gone.yaml:2: entry_point", "actions/tab.yaml:2:",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no word of %q", want)
		}
	}
	if code != 1 || t.Failed() {
		t.Errorf("attune pack check %s = %d\n%s%s", dir, code, stdout, stderr)
	}
}

func TestConfigurationFaultsComeAllAtOnce(t *testing.T) {
	path := t.TempDir() + "/attune.yaml"
	write(t, path, "server: {prot: 1}\nengine: podman\n", 0o644)
	_, stderr, code := attune(t, []string{"ATTUNE__SERVER__PORT=seventy", "ATTUNE__NOTHING=1"}, "config", "check", "--config", path)
	for _, want := range []string{`did you mean "port"`, "podman", "seventy", "ATTUNE__NOTHING"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("no word of %s in\n%s", want, stderr)
		}
	}
	if code != 2 {
		t.Errorf("exit code %d", code)
	}
	if stdout, stderr, code := attune(t, nil, "config", "check", "--config", "../attune.yaml"); code != 0 {
		t.Errorf("the shipped attune.yaml: %d %s %s", code, stdout, stderr)
	}
}

func TestDoctor(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t, "shell_example")
	stdout, stderr, code := attune(t, []string{
		"DOCKER_HOST=" + os.Getenv("DOCKER_HOST"), "SSL_CERT_FILE=" + os.Getenv("SSL_CERT_FILE"), "ATTUNE__SERVER__PORT=0",
		"ATTUNE__PACKS_BASE_DIR=" + h.packs, "ATTUNE__RUNTIME_ENVS_DIR=" + h.envs, "ATTUNE__STATE_DIR=" + h.state,
	}, "doctor")
	for _, check := range []string{"engine", "API version", "volume isolation", "certificates", "registry of python", "registry of node", "free space", "image of python"} {
		if !strings.Contains(stdout, check) {
			t.Errorf("doctor does not check %s:\n%s%s", check, stdout, stderr)
		}
	}
	table, _, _ := strings.Cut(stdout, "\n\n") // below it is what to do about each warning
	for i, line := range strings.Split(strings.TrimSpace(table), "\n") {
		if status, _, _ := strings.Cut(line, " "); i > 0 && status != "ok" && status != "warn" {
			t.Errorf("doctor says %q", line)
		}
	}
	if code != 0 || !strings.Contains(stdout, "a container sees its own environment and no other") {
		t.Errorf("attune doctor = %d\n%s%s", code, stdout, stderr)
	}
}

func TestServeRefuses(t *testing.T) {
	if _, stderr, code := attune(t, nil, "serve", "--host", "0.0.0.0"); code != 2 || !strings.Contains(stderr, "--insecure") {
		t.Errorf("serve --host 0.0.0.0 = %d %s", code, stderr)
	}
	h := newHome(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	vars := []string{"ATTUNE__ENGINE=process", "ATTUNE__PACKS_BASE_DIR=" + h.packs, "ATTUNE__RUNTIME_ENVS_DIR=" + h.envs, "ATTUNE__STATE_DIR=" + h.state}
	if _, stderr, code := attune(t, vars, "serve", "--port", port); code != 3 || !strings.Contains(stderr, "another port") {
		t.Errorf("serve on a busy port = %d %s", code, stderr)
	}
	first := h.launch(t, "ATTUNE__ENGINE=process")
	defer first.stop(t)
	if _, stderr, code := attune(t, vars, "serve", "--port", "0"); code != 3 || !strings.Contains(stderr, "another gateway") {
		t.Errorf("a second gateway with one state_dir = %d %s", code, stderr)
	}
}

func TestStopDrains(t *testing.T) {
	h := newHome(t)
	started := h.packs + "/../started"
	h.pack(t, "drain", map[string]string{
		"actions/wait.yaml": "ref: drain.wait\nentry_point: wait.sh\ntimeout: 20\n",
		"actions/wait.sh":   "touch " + started + "; sleep 1; echo ended\n",
	})
	g := h.launch(t, "ATTUNE__ENGINE=process")
	ended := make(chan answer, 1)
	go func() {
		response, err := http.Post(g.url+"/invoke/drain.wait", "application/json", nil)
		ended <- read(t, response, err)
	}()
	eventually(t, 10*time.Second, "the action runs", func() bool { _, err := os.Stat(started); return err == nil })
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var refused answer
	eventually(t, 5*time.Second, "new calls are told that the gateway drains", func() bool {
		response, err := http.Post(g.url+"/invoke/drain.wait", "application/json", nil)
		if err != nil {
			return false
		}
		refused = read(t, response, nil)
		return refused.status == http.StatusServiceUnavailable
	})
	if p := refused.problem(t); p.Type != "/problems/draining" || p.Started || refused.header.Get("Retry-After") == "" {
		t.Errorf("a call while it drains = %d %v %s", refused.status, refused.header, refused.body)
	}
	if a := <-ended; a.status != 200 || a.body != "ended\n" {
		t.Errorf("the running call = %d %s", a.status, a.body)
	}
	<-g.ended
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d\n%s", code, g.text())
	}
}

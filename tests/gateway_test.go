package tests

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// home is what outlives a gateway: its state, the environments, the packs.
type home struct {
	packs, envs, state string
	bin                string              // directory of the programs; empty = those that were built for the tests
	user               *syscall.Credential // of the gateway; nil = who runs the tests
}

// newHome makes an empty home with copies of the named example packs.
func newHome(t testing.TB, examples ...string) home {
	t.Helper()
	dir, err := os.MkdirTemp("", "attune-test-") // short: sockets live below it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h := home{packs: filepath.Join(dir, "packs"), envs: filepath.Join(dir, "envs"), state: filepath.Join(dir, "state")}
	if err := os.Mkdir(h.packs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range examples {
		if err := os.CopyFS(filepath.Join(h.packs, name), os.DirFS(filepath.Join("..", "packs", name))); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// pack writes a pack: path below it → content. A pack.yaml is made if none is
// given; files in actions/ are executable.
func (h home) pack(t testing.TB, ref string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(h.packs, ref)
	if _, given := files["pack.yaml"]; !given {
		write(t, filepath.Join(dir, "pack.yaml"), "ref: "+ref+"\nversion: 1.0.0\n", 0o644)
	}
	for name, content := range files {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(name, "actions/") && !strings.HasSuffix(name, ".yaml") {
			mode = 0o755
		}
		write(t, filepath.Join(dir, name), content, mode)
	}
	return dir
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask may have cut it
		t.Fatal(err)
	}
}

// gateway is a running child process.
type gateway struct {
	home
	url string
	id  string
	cmd *exec.Cmd

	unisolated bool          // its engine is process
	ended      chan struct{} // closed when the process has ended
	killed     bool          // by kill
	mu         sync.Mutex
	log        bytes.Buffer
}

// start runs a gateway on a home until the test ends. More variables may be
// given as NAME=value. It needs an engine.
func (h home) start(t testing.TB, vars ...string) *gateway {
	t.Helper()
	containertest.RequireDocker(t)
	g := h.launch(t, vars...)
	t.Cleanup(func() {
		if err := g.checkShapes(); err != nil {
			t.Error(err)
		}
		g.stop(t)
		if t.Failed() {
			t.Logf("log of gateway %s:\n%s", g.id, g.text())
		}
	})
	return g
}

// launch starts a gateway and waits until it is ready.
func (h home) launch(t testing.TB, vars ...string) *gateway {
	t.Helper()
	followEngine()
	g := &gateway{home: h, ended: make(chan struct{}), unisolated: slices.Contains(vars, "ATTUNE__ENGINE=process")}
	g.cmd = exec.Command(filepath.Join(cmp.Or(h.bin, bin), "attune"), "serve", "--port", "0")
	g.cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "SSL_CERT_FILE=" + os.Getenv("SSL_CERT_FILE"),
		"DOCKER_HOST=" + os.Getenv("DOCKER_HOST"),
		"ATTUNE__PACKS_BASE_DIR=" + h.packs, "ATTUNE__RUNTIME_ENVS_DIR=" + h.envs, "ATTUNE__STATE_DIR=" + h.state,
		"ATTUNE__LOG__FORMAT=json", "ATTUNE__NETWORK__OUTBOUND=*", "GATEWAY_CANARY=" + canary,
		// Most tests are about what a call starts, on a machine that does much else.
		"ATTUNE__BUILD__AHEAD=false", "ATTUNE__BUILD__WAITER=2m",
	}, vars...)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.user}
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	g.cmd.Stderr, g.cmd.Stdout = in, in
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	ready := make(chan string, 1)
	go g.read(out, ready)
	t.Cleanup(func() { // a test that failed before it could stop its gateway
		g.cmd.Process.Kill() // nothing to do, mostly: it has ended
		<-g.ended
	})
	select {
	case g.url = <-ready:
	case <-g.ended:
		t.Fatalf("attune serve ended before it was ready:\n%s", g.text())
	case <-time.After(30 * time.Second):
		g.cmd.Process.Kill()
		t.Fatalf("attune serve is not ready after 30 s:\n%s", g.text())
	}
	id, err := os.ReadFile(filepath.Join(h.state, "gateway-id"))
	if err != nil {
		t.Fatal(err)
	}
	g.id = strings.TrimSpace(string(id))
	known(g.id)
	return g
}

// canary is in every gateway's own environment, and must be nowhere else.
const canary = "canary-3f9a1c"

// read collects the log, and finds the line that says where the gateway listens.
func (g *gateway) read(out io.ReadCloser, ready chan<- string) {
	defer close(g.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		g.mu.Lock()
		g.log.Write(append(lines.Bytes(), '\n'))
		g.mu.Unlock()
		var line struct{ Msg, URL string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			ready <- line.URL
		}
	}
	out.Close()
	g.cmd.Wait() // its exit code is in ProcessState
}

func (g *gateway) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()
}

// stop ends a gateway as an operator would, and checks that it leaves nothing.
func (g *gateway) stop(t testing.TB) {
	t.Helper()
	select {
	case <-g.ended:
		if state := g.cmd.ProcessState; !g.killed && (state.ExitCode() == -1 || state.ExitCode() == 2) { // a signal, a panic
			t.Errorf("attune serve had ended by itself: %s\n%s", state, g.text())
		}
		return
	default:
	}
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	select {
	case <-g.ended:
	case <-time.After(60 * time.Second):
		g.cmd.Process.Kill()
		<-g.ended
		t.Errorf("attune serve did not stop within 60 s of SIGTERM:\n%s", g.text())
		return
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("attune serve ended with exit code %d after SIGTERM:\n%s", code, g.text())
	}
	if left := g.containers(t, "label=attune.role=instance"); len(left) > 0 {
		t.Errorf("%d instances are left after SIGTERM: %v", len(left), left)
	}
	if entries, _ := os.ReadDir(filepath.Join(g.envs, ".run", g.id)); len(entries) > 0 {
		t.Errorf("%d instance directories are left after SIGTERM", len(entries))
	}
}

// kill ends a gateway as the kernel would.
func (g *gateway) kill(t testing.TB) {
	t.Helper()
	g.killed = true
	if err := g.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-g.ended
}

// hangup makes it read its packs again, and waits until it has.
func (g *gateway) hangup(t testing.TB) {
	t.Helper()
	before := strings.Count(g.text(), "packs were read again")
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "packs are read again", func() bool {
		return strings.Count(g.text(), "packs were read again") > before
	})
}

// containers lists the IDs of a gateway's containers.
func (g *gateway) containers(t testing.TB, filters ...string) []string {
	t.Helper()
	args := []string{"ps", "-aq", "--no-trunc", "--filter", "label=attune.gateway=" + g.id}
	for _, f := range filters {
		args = append(args, "--filter", f)
	}
	if g.unisolated {
		return nil // its instances are no containers
	}
	return dockerLines(t, args...)
}

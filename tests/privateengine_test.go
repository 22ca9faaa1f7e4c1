package tests

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"attune/runtimes/container/containertest"
)

// privateEngine is a Docker engine of one test, which may kill it. It lives in
// namespaces of its own (mounts, network, processes): whatever it does there is
// nobody else's, and it ends with them.
type privateEngine struct {
	dir     string
	holder  *exec.Cmd      // process 1 of the namespaces
	release io.WriteCloser // closed, or left by a killed test, it ends the holder
	daemon  *exec.Cmd
	ended   chan struct{} // closed when the daemon has
}

// newPrivateEngine starts one with some of the images that are here. Only root
// may, where the engine's own program is installed.
func newPrivateEngine(t testing.TB, images ...string) *privateEngine {
	t.Helper()
	containertest.RequireDocker(t)
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		lacking(t, "an engine of its own takes root on Linux")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		lacking(t, "an engine of its own: %v", err)
	}
	dir, err := os.MkdirTemp("", "attune-engine-")
	if err != nil {
		t.Fatal(err)
	}
	e := &privateEngine{dir: dir}
	write(t, dir+"/settings", "{}", 0o600) // not the machine's own engine's
	t.Cleanup(func() { e.end(t) })
	e.hold(t)
	e.start(t)
	for _, image := range images {
		e.load(t, image)
	}
	return e
}

// hold makes the namespaces.
func (e *privateEngine) hold(t testing.TB) {
	t.Helper()
	// Process 1 has to take note of children that end, or the next daemon would
	// wait for the containerd of a killed one: bash does.
	e.holder = exec.Command("bash", "-ec", "mount --make-rprivate /; mount -t proc proc /proc; ip link set lo up; echo ready; read")
	e.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID}
	e.holder.Stderr = os.Stderr
	out, err := e.holder.StdoutPipe()
	if err == nil {
		e.release, err = e.holder.StdinPipe()
	}
	if err == nil {
		err = e.holder.Start()
	}
	if err != nil {
		lacking(t, "namespaces for an engine: %v", err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		lacking(t, "namespaces for an engine: %v", err)
	}
}

// inside is a command in the engine's namespaces.
func (e *privateEngine) inside(command ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{
		"--target", fmt.Sprint(e.holder.Process.Pid), "--mount", "--net", "--pid", "--",
	}, command...)...)
}

// start runs the daemon and waits until it answers.
func (e *privateEngine) start(t testing.TB) {
	t.Helper()
	e.daemon = e.inside("dockerd", "--data-root", e.dir+"/data", "--exec-root", e.dir+"/exec", "--pidfile", e.dir+"/pid",
		"--config-file", e.dir+"/settings", "--host", e.host(), "--bridge", "none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
		"--cgroup-parent", "/"+filepath.Base(e.dir))
	log, err := os.OpenFile(e.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the daemon has it
	e.daemon.Stdout, e.daemon.Stderr = log, log
	if err := e.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	e.ended = make(chan struct{})
	go func() {
		defer close(e.ended)
		e.daemon.Wait() // it is killed, mostly
	}()
	eventually(t, 40*time.Second, "the private engine answers", func() bool {
		select {
		case <-e.ended:
			t.Fatalf("the private engine ended:\n%s", e.log())
		default:
		}
		return exec.Command("docker", "-H", e.host(), "version").Run() == nil
	})
}

func (e *privateEngine) host() string { return "unix://" + e.dir + "/s" }

func (e *privateEngine) log() string {
	content, _ := os.ReadFile(e.dir + "/log")
	return string(content)
}

func (e *privateEngine) load(t testing.TB, image string) {
	t.Helper()
	save, load := exec.Command("docker", "save", image), exec.Command("docker", "-H", e.host(), "load")
	pipe, err := save.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	load.Stdin = pipe
	if err := save.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := load.CombinedOutput()
	if saved := save.Wait(); err != nil || saved != nil {
		t.Fatalf("copy image %s: %v, %v\n%s", image, saved, err, out)
	}
}

// docker runs a command at this engine.
func (e *privateEngine) docker(t testing.TB, args ...string) []string {
	t.Helper()
	return dockerLines(t, append([]string{"-H", e.host()}, args...)...)
}

// signal sends one to the daemon. Its ID counts in its own namespace only, so
// nobody else can be hit.
func (e *privateEngine) signal(t testing.TB, name string) {
	t.Helper()
	if out, err := e.inside("sh", "-c", `kill -s "$0" "$(cat "$1/pid")"`, name, e.dir).CombinedOutput(); err != nil {
		t.Fatalf("kill -%s: %v\n%s", name, err, out)
	}
}

// kill ends the daemon as the kernel would. Its containers run on.
func (e *privateEngine) kill(t testing.TB) {
	t.Helper()
	e.signal(t, "KILL")
	<-e.ended
}

// end stops everything: first the daemon, as one does, so that it unmounts and
// removes its control groups; then whatever is left in its namespaces.
func (e *privateEngine) end(t testing.TB) {
	if e.daemon != nil && e.holder.Process != nil {
		select {
		case <-e.ended:
		default:
			e.signal(t, "TERM")
			select {
			case <-e.ended:
			case <-time.After(20 * time.Second):
				t.Errorf("the private engine does not stop:\n%s", e.log())
			}
		}
	}
	if e.release != nil {
		e.release.Close()
		e.holder.Wait() // with process 1 all others end
	}
	if t.Failed() {
		t.Logf("log of the private engine:\n%s", e.log())
	}
	e.removeGroups(t)
	if err := os.RemoveAll(e.dir); err != nil {
		t.Errorf("the private engine's files: %v", err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), e.dir) {
		t.Errorf("the private engine has left mounts (%v)", err)
	}
}

// removeGroups removes the engine's control groups. Those of containers that a
// killed daemon has lost are among them, and empty: all processes have ended.
func (e *privateEngine) removeGroups(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || entry.Name() != filepath.Base(e.dir) {
			return nil //nolint:nilerr // other groups come and go
		}
		var groups []string
		err = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				groups = append(groups, path)
			}
			return err
		})
		for _, group := range slices.Backward(groups) {
			err = errors.Join(err, os.Remove(group))
		}
		if err != nil {
			return err
		}
		return fs.SkipDir
	})
	if err != nil {
		t.Errorf("the private engine's control groups: %v", err)
	}
}

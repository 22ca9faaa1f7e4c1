package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// home is what outlives a gateway: packs, runtimes, environments, state.
type home struct{ dir string }

func newHome() (home, error) {
	dir, err := os.MkdirTemp("", "attune-bench-") // short: sockets live below it
	if err != nil {
		return home{}, err
	}
	h := home{dir}
	return h, errors.Join(os.Chmod(dir, 0o755), os.Mkdir(h.packs(), 0o755), os.Mkdir(h.runtimes(), 0o755))
}

func (h home) packs() string    { return filepath.Join(h.dir, "packs") }
func (h home) runtimes() string { return filepath.Join(h.dir, "runtimes") }
func (h home) envs() string     { return filepath.Join(h.dir, "envs") }

// remove deletes a home. The directories of environments are read-only, which
// stops everybody but root.
func (h home) remove() error {
	filepath.WalkDir(h.envs(), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	return os.RemoveAll(h.dir)
}

// write makes files: path below the home → content. Those in actions/ are
// executable.
func (h home) write(files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(h.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// pack writes a pack of one action "run" whose script has the given extension.
func (h home) pack(ref, extension, script string, more map[string]string) error {
	files := map[string]string{
		"pack.yaml":               "ref: " + ref + "\nversion: 1.0.0\n",
		"actions/run.yaml":        "ref: " + ref + ".run\nentry_point: run" + extension + "\n",
		"actions/run" + extension: script,
	}
	below := map[string]string{}
	for _, part := range []map[string]string{files, more} {
		for name, content := range part {
			below[filepath.Join("packs", ref, name)] = content
		}
	}
	return h.write(below)
}

// gateway is a running attune serve.
type gateway struct {
	url   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
	log   bytes.Buffer  // to be read after that
}

// start runs a gateway on a home and returns when it listens. More settings may
// be given as NAME=value.
func (b *bench) start(ctx context.Context, h home, settings ...string) (*gateway, error) {
	g := &gateway{ended: make(chan struct{})}
	g.cmd = exec.Command(filepath.Join(b.bin, "attune"), "serve", "--port", "0")
	if b.profile != "" {
		dir, err := filepath.Abs(b.profile)
		if err != nil {
			return nil, err
		}
		b.profiles++
		g.cmd.Args = append(g.cmd.Args, "--profile", filepath.Join(dir, fmt.Sprint(b.profiles)))
	}
	g.cmd.Env = append(os.Environ(),
		"ATTUNE__PACKS_BASE_DIR="+h.packs(), "ATTUNE__RUNTIMES_DIR="+h.runtimes(),
		"ATTUNE__RUNTIME_ENVS_DIR="+h.envs(), "ATTUNE__STATE_DIR="+filepath.Join(h.dir, "state"),
		"ATTUNE__LOG__FORMAT=json", "ATTUNE__BUILD__AHEAD=false", "ATTUNE__BUILD__WAITER=5m",
		"ATTUNE__BUILD__CA_BUNDLE="+cmp.Or(caBundle(), "none"),
	)
	g.cmd.Env = append(g.cmd.Env, settings...)
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	g.cmd.Stdout, g.cmd.Stderr = in, in
	err = g.cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	listening := make(chan string, 1)
	go g.read(out, listening)
	select {
	case g.url = <-listening:
		return g, nil
	case <-g.ended:
		return nil, fmt.Errorf("attune serve ended before it was ready:\n%s", g.log.Bytes())
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), g.stop())
	}
}

// read collects the log, and finds the line that says where the gateway listens.
// After that it does nothing with them: it shares the cores with the gateway.
func (g *gateway) read(out io.ReadCloser, listening chan<- string) {
	defer close(g.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		g.log.Write(append(lines.Bytes(), '\n'))
		var line struct{ Msg, URL string }
		if listening == nil {
			continue
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			listening <- line.URL
			listening = nil
		}
	}
	out.Close()
	g.cmd.Wait() // its exit code is in ProcessState
}

// stop ends a gateway as an operator would.
func (g *gateway) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-g.ended:
	case <-time.After(time.Minute):
		g.cmd.Process.Kill() // of no use if it has just ended
		<-g.ended
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("attune serve ended with exit code %d:\n%s", code, g.log.Bytes())
	}
	return nil
}

// client has no bound of its own for connections: a burst is one.
var client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}

// call sends a request and wants a 2xx.
func (g *gateway) call(ctx context.Context, method, path string) (http.Header, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, g.url+path, strings.NewReader(""))
	if err != nil {
		return nil, nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s = %d %s", method, path, response.StatusCode, body)
	}
	return response.Header, body, err
}

// with runs f with a new home and a gateway on it, and cleans up after both.
func (b *bench) with(ctx context.Context, prepare func(home) error, f func(*gateway) error, settings ...string) (err error) {
	h, err := newHome()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.remove()) }()
	if err := prepare(h); err != nil {
		return err
	}
	g, err := b.start(ctx, h, settings...)
	if err != nil {
		return err
	}
	return errors.Join(f(g), g.stop())
}

package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"attune/runtimes/container"
	"attune/runtimes/container/process"
)

// host is a machine with a container engine of its own, which gateways in other
// processes use. It knows every builder there ever was.
type host struct {
	t      *testing.T
	engine container.Engine
	socket string
	// created is asked for every builder before it is made.
	created func(digest string)

	mu       sync.Mutex
	all      map[string]container.Container
	pids     map[string]int      // of running programs, by container
	builders map[string][]string // containers that were started, by digest
}

// newHost serves an engine until the test ends.
func newHost(t *testing.T) *host {
	t.Helper()
	engine := process.New(process.Options{Logger: slog.New(slog.DiscardHandler)})
	dir, err := os.MkdirTemp("", "crash-") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	h := &host{
		t: t, engine: engine, socket: filepath.Join(dir, "engine"), created: func(string) {},
		all: make(map[string]container.Container), pids: make(map[string]int), builders: make(map[string][]string),
	}
	listener, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h.handler()}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) }) //nolint:errcheck // ends with Close
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
		if err := engine.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
		os.RemoveAll(dir)
	})
	return h
}

func (h *host) handler() http.Handler {
	mux := http.NewServeMux()
	for method, do := range map[string]func(context.Context, request) (reply, error){
		"info": func(ctx context.Context, _ request) (a reply, err error) {
			a.Info, err = h.engine.Info(ctx)
			return a, err
		},
		"image": func(ctx context.Context, r request) (a reply, err error) {
			a.Image, err = h.engine.Image(ctx, r.Ref)
			return a, err
		},
		"create": h.create,
		"find":   h.find,
		"start":  h.start,
		"state": func(ctx context.Context, r request) (a reply, err error) {
			a.State, err = h.container(r.ID).State(ctx)
			return a, err
		},
		"wait": func(ctx context.Context, r request) (a reply, err error) {
			a.Exit, err = h.container(r.ID).Wait(ctx)
			return a, err
		},
		"remove": func(ctx context.Context, r request) (reply, error) {
			return reply{}, h.container(r.ID).Remove(ctx)
		},
	} {
		mux.HandleFunc("/"+method, func(w http.ResponseWriter, r *http.Request) {
			answer, err := do(r.Context(), h.decode(r))
			answer.Fault = faultOf(err)
			w.Write([]byte(encode(answer))) //nolint:errcheck // the gateway may be dead
		})
	}
	mux.HandleFunc("/logs", func(w http.ResponseWriter, r *http.Request) {
		c := h.container(h.decode(r).ID)
		w.(http.Flusher).Flush()
		setTrailer(w, c.Logs(r.Context(), flushing{w, w.(http.Flusher)}))
	})
	return mux
}

// decode reads all of a request: only then the server notices that the other
// side has left.
func (h *host) decode(r *http.Request) request {
	var ask request
	d := json.NewDecoder(r.Body)
	if err := d.Decode(&ask); err == nil {
		d.Token() //nolint:errcheck // the end
	}
	return ask
}

func (h *host) container(id string) container.Container {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[id]
}

func (h *host) create(ctx context.Context, r request) (reply, error) {
	if r.Spec.Labels[container.LabelRole] == container.RoleBuilder {
		h.created(r.Spec.Labels[container.LabelDigest])
	}
	c, err := h.engine.Create(ctx, *r.Spec)
	if err != nil {
		return reply{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[c.ID()] = c
	return reply{Found: []described{describe(c)}}, nil
}

func (h *host) find(ctx context.Context, r request) (reply, error) {
	found, err := h.engine.Find(ctx, r.Labels)
	var a reply
	for _, c := range found {
		a.Found = append(a.Found, describe(c))
	}
	return a, err
}

func describe(c container.Container) described { return described{c.ID(), c.Name(), c.Labels()} }

// start counts builders, and fails the test where a second one runs beside one
// of the same digest: I2.
func (h *host) start(ctx context.Context, r request) (reply, error) {
	c := h.container(r.ID)
	starting.Lock()
	defer starting.Unlock()
	before := sessions()
	if err := c.Start(ctx); err != nil {
		return reply{}, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for pid := range sessions() {
		if !before[pid] {
			h.pids[r.ID] = pid
		}
	}
	if c.Labels()[container.LabelRole] != container.RoleBuilder {
		return reply{}, nil
	}
	digest := c.Labels()[container.LabelDigest]
	for _, id := range h.builders[digest] {
		if state, err := h.all[id].State(ctx); err == nil && state.Phase == container.PhaseRunning {
			h.t.Errorf("I2: builder %s of %s was started while %s runs", r.ID, digest, id)
		}
	}
	h.builders[digest] = append(h.builders[digest], r.ID)
	return reply{}, nil
}

// starting keeps starts apart, so that the new process is the one started.
var starting sync.Mutex

// sessions are the child processes of this one that lead a session: the
// programs of process engines.
func sessions() map[int]bool {
	found := make(map[int]bool)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return found
	}
	for _, name := range stats {
		content, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		var pid, parent, group, session int
		var state string
		end := len(content) - 1
		for end > 0 && content[end] != ')' {
			end--
		}
		fmt.Sscanf(string(content), "%d", &pid)                                               //nolint:errcheck // the kernel's own
		fmt.Sscanf(string(content[end+1:]), "%s %d %d %d", &state, &parent, &group, &session) //nolint:errcheck // the kernel's own
		if parent == os.Getpid() && session == pid {
			found[pid] = true
		}
	}
	return found
}

// signal reaches the first process of a container.
func (h *host) signal(id string, s syscall.Signal) error {
	h.mu.Lock()
	pid := h.pids[id]
	h.mu.Unlock()
	if pid == 0 {
		return syscall.ESRCH
	}
	return syscall.Kill(pid, s)
}

// started tells how many builders of a digest there were.
func (h *host) started(digest string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.builders[digest])
}

// killBuilders ends all that run. It is SIGTERM, because only the agent can find
// all of what it runs where nothing contains that.
func (h *host) killBuilders() {
	h.mu.Lock()
	var all []string
	for _, ids := range h.builders {
		all = append(all, ids...)
	}
	h.mu.Unlock()
	for _, id := range all {
		state, err := h.container(id).State(context.Background())
		if err == nil && state.Phase == container.PhaseRunning {
			h.signal(id, syscall.SIGTERM) //nolint:errcheck // it may end in this moment
		}
	}
}

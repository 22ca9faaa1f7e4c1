package delivery_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/api"
	"attune/gateway/delivery"
	"attune/gateway/delivery/deliverytest"
	"attune/gateway/execution"
	"attune/gateway/hook"
	"attune/gateway/hook/hooktest"
	"attune/gateway/key"
	"attune/gateway/key/keytest"
	"attune/gateway/pack"
	"attune/gateway/redis"
	"attune/gateway/redis/redistest"
	"attune/gateway/sqlite"
	"attune/runtimes"
)

func TestMain(m *testing.M) { os.Exit(redistest.Main(m)) }

// gateway is a listening server whose hooks have a store.
type gateway struct {
	url     string
	store   hook.Store
	queue   *deliverytest.Queue
	invoker *invoker
	now     atomic.Pointer[time.Time] // nil: the real time
}

// invoker runs nothing, but when it is told how.
type invoker struct {
	mu   sync.Mutex
	seen []execution.Request
	run  func(request execution.Request) (*execution.Outcome, error)
}

func (i *invoker) Invoke(_ context.Context, request execution.Request) (*execution.Outcome, error) {
	i.mu.Lock()
	i.seen = append(i.seen, request)
	run := i.run
	i.mu.Unlock()
	if run != nil {
		return run(request)
	}
	return succeeded(request), nil
}

func (i *invoker) do(run func(execution.Request) (*execution.Outcome, error)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.run = run
}

func (i *invoker) calls() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.seen)
}

func succeeded(request execution.Request) *execution.Outcome {
	return &execution.Outcome{
		Execution: &execution.Execution{ID: request.ID, Action: request.Action, Status: execution.StatusSucceeded},
		Output:    request.Body, MediaType: "application/json",
	}
}

// catalog has one pack, with a ref of its own where gateways share a Redis.
func catalog(t *testing.T, ref string) *pack.Catalog {
	t.Helper()
	dir := t.TempDir()
	files := deliverytest.Hooks(ref, "echo")
	files["pack.yaml"] = "ref: " + ref + "\nversion: 1.0.0\n"
	files["actions/echo.yaml"] = "ref: " + ref + ".echo\nrunner_type: shell\nentry_point: echo.sh\noutput_format: json\nparameters:\n  name: {type: string}\n  token: {type: string, secret: true}\n"
	files["actions/echo.sh"] = "#!/bin/sh\ncat\n"
	for name, content := range files {
		path := filepath.Join(dir, ref, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found, err := pack.LoadCatalog(dir, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil || len(found.Broken()) > 0 {
		t.Fatalf("LoadCatalog() error = %v, broken %v", err, found.Broken())
	}
	return found
}

// serve starts a gateway; queue nil = one of its own.
func serve(t *testing.T, packs *pack.Catalog, store hook.Store, queue *deliverytest.Queue) *gateway {
	t.Helper()
	snapshot := func() *pack.Catalog { return packs }
	if queue == nil {
		queue = &deliverytest.Queue{Catalog: snapshot}
	}
	g := &gateway{store: store, queue: queue, invoker: &invoker{}}
	secrets := &deliverytest.Secrets{}
	secrets.Set(string(packs.Packs()[0].Ref), "sender_hook", deliverytest.Secret)
	newID := func() string { return ulid.Make().String() }
	receiver, err := delivery.New(delivery.Options{
		Catalog: snapshot, Store: store, Secrets: secrets, Queue: queue, Invoker: g.invoker, NewID: newID,
		Now: g.time, Status: api.StatusOf,
	})
	if err != nil {
		t.Fatal(err)
	}
	receiver.Look(t.Context())
	keys := key.NewKeeper(keytest.NewMemory(), slog.New(slog.DiscardHandler))
	if err := keys.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	server, err := api.New(api.Options{
		Invoker: g.invoker, Catalog: snapshot, Hooks: receiver, NewID: newID,
		Environments: struct{ api.Environments }{}, Registrar: struct{ api.Registrar }{}, Store: struct{ api.Store }{}, Secrets: struct{ api.Secrets }{},
		Queue: struct{ api.Queue }{}, Schedules: struct{ api.Schedules }{}, Keys: keys,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + server.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve() error = %v", err)
		}
	})
	return g
}

func (g *gateway) time() time.Time {
	if fixed := g.now.Load(); fixed != nil {
		return *fixed
	}
	return time.Now()
}

// key is the key of a hook, as every gateway of a store knows it.
func (g *gateway) key(t *testing.T, name string) string {
	t.Helper()
	address, err := g.store.Address(t.Context(), name, "never taken", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return address.Key
}

// deliver sends a delivery, and returns the status and the body of the answer.
func (g *gateway) deliver(t *testing.T, name, id, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/hooks/"+g.key(t, name), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if id != "" {
		request.Header.Set("X-Id", id)
	}
	if _, sender, _ := strings.Cut(name, "."); sender == "github" {
		scheme, _ := hook.Preset(sender)
		headers, err := scheme.Sign(deliverytest.Secret, id, time.Now(), []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range headers {
			request.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// stores are two views of one store, as two gateways have it.
var stores = map[string]func(t *testing.T) [2]hook.Store{
	"memory": func(*testing.T) [2]hook.Store { m := hooktest.NewMemory(); return [2]hook.Store{m, m} },
	"sqlite": func(t *testing.T) [2]hook.Store {
		path := filepath.Join(t.TempDir(), "attune.db")
		return [2]hook.Store{openSQLite(t, path), openSQLite(t, path)}
	},
	"redis": func(t *testing.T) [2]hook.Store { return [2]hook.Store{openRedis(t), openRedis(t)} },
}

func openSQLite(t *testing.T, path string) hook.Store {
	t.Helper()
	s, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Hooks()
}

func openRedis(t *testing.T) hook.Store {
	t.Helper()
	c, err := redis.Open(t.Context(), redistest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c.Hooks()
}

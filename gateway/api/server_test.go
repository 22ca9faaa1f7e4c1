package api

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/oklog/ulid/v2"

	"attune/gateway/delivery/deliverytest"
	"attune/gateway/execution"
	"attune/gateway/metrics"
	"attune/gateway/pack"
	"attune/runtimes"
)

// world is a listening server with fakes behind it.
type world struct {
	*Server
	invoker      *fakeInvoker
	environments *fakeEnvironments
	registrar    *fakeRegistrar
	store        *fakeStore
	secrets      *fakeSecrets
	hooks        *hookWorld
	keys         *fakeKeys
	queue        *fakeQueue
	health       *fakeHealth
	log          *syncBuffer
	client       *http.Client
	served       chan error
}

// serve starts a server that ends with the test; its options may be changed.
func serve(t testing.TB, limits Limits, change ...func(*Options)) *world {
	t.Helper()
	limits.Settle = cmp.Or(limits.Settle, -1) // hundreds of servers are stopped
	catalog := testCatalog(t)
	w := &world{
		invoker:      &fakeInvoker{catalog: catalog},
		environments: newFakeEnvironments(),
		registrar:    &fakeRegistrar{catalog: catalog},
		store:        &fakeStore{live: execution.NewLive(), ended: map[string]*execution.Execution{}},
		secrets:      &fakeSecrets{},
		hooks:        newHookWorld(t, catalog),
		keys:         &fakeKeys{},
		health:       &fakeHealth{},
		log:          &syncBuffer{},
		client:       &http.Client{Transport: &http.Transport{DisableCompression: true}},
		served:       make(chan error, 1),
	}
	registry := metrics.New("1.2.3")
	w.queue = &fakeQueue{invoker: w.invoker, store: w.store}
	options := Options{
		Invoker:      w.invoker,
		Catalog:      func() *pack.Catalog { return catalog },
		Environments: w.environments,
		Registrar:    w.registrar,
		Store:        w.store,
		Secrets:      w.secrets,
		Hooks:        w.hooks.receiver(t, w.invoker, catalog),
		Keys:         w.keys,
		Schedules:    newFakeSchedules(catalog),
		Queue:        w.queue,
		Health:       w.health,
		Metrics: struct {
			*metrics.Requests
			*metrics.Registry
		}{metrics.NewRequests(registry), registry},
		NewID:   func() string { return ulid.Make().String() },
		Logger:  slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Version: "1.2.3",
		Limits:  limits,
	}
	for _, f := range change {
		f(&options)
	}
	server, err := New(options)
	if err != nil {
		t.Fatalf("New() error = %v", err)
	}
	if err := server.Listen("127.0.0.1:0"); err != nil {
		t.Fatalf("Listen() error = %v", err)
	}
	w.Server = server
	ctx, cancel := context.WithCancel(context.Background())
	go func() { w.served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		w.client.CloseIdleConnections()
		cancel()
		if err := <-w.served; err != nil {
			t.Errorf("Serve() error = %v", err)
		}
		if strings.Contains(w.log.String(), "panic") && !strings.Contains(t.Name(), "Panic") {
			t.Errorf("the server panicked:\n%s", w.log)
		}
	})
	return w
}

// do sends a request and returns the answer and its body.
func (w *world) do(t *testing.T, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.Addr().String()+target, strings.NewReader(body))
	if err != nil {
		t.Fatalf("NewRequest(%s %s) error = %v", method, target, err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatalf("%s %s error = %v", method, target, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: read the answer: %v", method, target, err)
	}
	return response, string(answer)
}

// testCatalog loads packs of every state.
func testCatalog(t testing.TB) *pack.Catalog {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"asleep/pack.yaml":        "ref: asleep\nversion: 1.0.0\nenabled: false\n",
		"asleep/actions/nap.yaml": "ref: asleep.nap\nrunner_type: shell\nentry_point: nap.sh\noutput_format: json\n",
		"asleep/actions/nap.sh":   "#!/bin/sh\n",
		"broken/pack.yaml":        "ref: broken\nno_such_key: 1\n",
		"demo/pack.yaml":          "ref: demo\nversion: 1.0.0\nlabel: Demo\n",
		"demo/actions/echo.yaml":  "ref: demo.echo\nrunner_type: shell\nentry_point: echo.sh\noutput_format: json\nparameters:\n  name: {type: string}\nexamples:\n  - {name: it's Ada}\n",
		"demo/actions/say.yaml":   "ref: demo.say\nrunner_type: shell\nentry_point: echo.sh\noutput_format: text\n",
		"demo/actions/rows.yaml":  "ref: demo.rows\nrunner_type: shell\nentry_point: echo.sh\noutput_format: jsonl\n",
		"demo/actions/off.yaml":   "ref: demo.off\nrunner_type: shell\nentry_point: echo.sh\noutput_format: json\nenabled: false\n",
		"demo/actions/echo.sh":    "#!/bin/sh\ncat\n",
		"demo/actions/order.yaml": orderAction,
		"demo/actions/page.yaml":  pageAction,
		"demo/actions/raw.yaml":   "ref: demo.raw\nentry_point: echo.sh\nparameters:\n  note: {type: string}\nhttp:\n  - {method: POST, path: /notes, body: text, body_parameter: note}\n  - {method: POST, path: /files, body: base64, body_parameter: note}\n",
		"snake/pack.yaml":         "ref: snake\nversion: 1.0.0\n",
		"snake/actions/run.yaml":  "ref: snake.run\nrunner_type: python\nentry_point: run.py\noutput_format: json\n",
		"snake/actions/run.py":    "print(1)\n",
	}
	for name, content := range deliverytest.Hooks("demo", "echo") {
		if name != "hooks/hush.yaml" { // echo has no secret
			files["demo/"+name] = content
		}
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := pack.LoadCatalog(dir, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil {
		t.Fatalf("LoadCatalog() error = %v", err)
	}
	return catalog
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestNewNamesEveryMissingOption(t *testing.T) {
	t.Parallel()
	_, err := New(Options{})
	if err == nil {
		t.Fatal("New(Options{}) error = nil")
	}
	for _, name := range []string{"Invoker", "Catalog", "Environments", "Registrar", "Store", "NewID"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("New(Options{}) error = %v, want it to name %s", err, name)
		}
	}
}

func TestListenOnABusyPortSaysWhatToDo(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	second, err := New(w.Options)
	if err != nil {
		t.Fatalf("New() error = %v", err)
	}
	err = second.Listen(w.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "ATTUNE__SERVER__PORT") {
		t.Errorf("Listen(busy) error = %v, want one with its cure", err)
	}
}

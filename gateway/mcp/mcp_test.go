package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/runtimes"
)

// actions loads actions: their files without ref and entry point, by name.
func actions(t *testing.T, files map[string]string) *pack.Catalog {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"pack.yaml": "ref: demo\nversion: 1.0.0\n", "actions/run.sh": "#!/bin/sh\n"}
	for name, content := range files {
		all["actions/"+name+".yaml"] = "ref: demo." + name + "\nrunner_type: shell\nentry_point: run.sh\n" + content
	}
	for name, content := range all {
		path := filepath.Join(dir, "demo", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := pack.LoadCatalog(dir, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range catalog.Broken() {
		t.Fatalf("%s: %v", broken.Name, broken.Err)
	}
	return catalog
}

func TestToolIsTheAction(t *testing.T) {
	t.Parallel()
	catalog := actions(t, map[string]string{
		"all": "label: All of it\ndescription: Does it.\nnetwork: outbound\ntags: [read-only, idempotent]\noutput_format: json\n" +
			"parameters: {token: {type: string, secret: true, required: true}, n: {type: integer, minimum: 1, default: 2}}\n" +
			"output_schema: {type: object, properties: {x: {type: integer}}}\n",
		"bare":   "",
		"list":   "output_format: json\noutput_schema: {type: array, items: {type: string}}\n",
		"lines":  "output_format: jsonl\noutput_schema: {a: {type: string}}\n",
		"untold": "parameters: {$schema: 'https://json-schema.org/draft/2020-12/schema', properties: {a: {type: string}}}\n",
	})
	for name, want := range map[string]string{
		"all": `{"annotations":{"idempotentHint":true,"openWorldHint":true,"readOnlyHint":true,"title":"All of it"},"description":"Does it.",` +
			`"inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","additionalProperties":false,"properties":{"n":{"default":2,"minimum":1,"type":"integer"},` +
			`"token":{"secret":true,"type":"string","writeOnly":true}},"required":["token"],"type":"object"},"name":"demo.all",` +
			`"outputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"x":{"type":"integer"}},"type":"object"},"title":"All of it"}`,
		"bare": `{"annotations":{"idempotentHint":false,"openWorldHint":false,"readOnlyHint":false,"title":"Bare"},"description":"Bare",` +
			`"inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"},"name":"demo.bare","title":"Bare"}`,
		// An output schema is one of an object, or none.
		"list": `{"annotations":{"idempotentHint":false,"openWorldHint":false,"readOnlyHint":false,"title":"List"},"description":"List",` +
			`"inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"},"name":"demo.list","title":"List"}`,
		"lines": `{"annotations":{"idempotentHint":false,"openWorldHint":false,"readOnlyHint":false,"title":"Lines"},"description":"Lines",` +
			`"inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object"},"name":"demo.lines","title":"Lines"}`,
		"untold": `{"annotations":{"idempotentHint":false,"openWorldHint":false,"readOnlyHint":false,"title":"Untold"},"description":"Untold",` +
			`"inputSchema":{"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"a":{"type":"string"}},"type":"object"},"name":"demo.untold","title":"Untold"}`,
	} {
		action, ok := catalog.Action(pack.ActionRef{Pack: "demo", Name: name})
		if !ok {
			t.Fatalf("there is no demo.%s", name)
		}
		got, err := json.Marshal(Tool(action))
		if err != nil || string(got) != want {
			t.Errorf("Tool(demo.%s) = %s, %v\nwant %s", name, got, err, want)
		}
	}
}

func TestReadMessage(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		message Message
		err     error
	}{
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                               {Message{Method: "tools/list"}, nil},
		`{"method":"tools/call","params":{"name":"x"}}`:                                {Message{Method: "tools/call"}, nil},
		`{"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}`:  {Message{"tools/call", true}, nil},
		`{"method":"tools/call","params":{"name":"x","_meta":{"progressToken":0}}}`:    {Message{"tools/call", true}, nil},
		`{"method":"tools/call","params":{"name":"x","_meta":{"progressToken":null}}}`: {Message{Method: "tools/call"}, nil},
		`{"method":"tools/call","params":{"name":1,"_meta":{"progressToken":1}}}`:      {Message{Method: "tools/call"}, nil},
		`{"method":"tools/list","params":{"_meta":{"progressToken":1}}}`:               {Message{Method: "tools/list"}, nil},
		` [{"method":"ping"}]`:                 {Message{}, ErrBatch},
		``:                                     {Message{}, ErrNotMessage},
		`"ping"`:                               {Message{}, ErrNotMessage},
		`{"method":1}`:                         {Message{}, ErrNotMessage},
		`{"jsonrpc":"2.0","id":1,"result":{}}`: {Message{}, ErrAnswer},
		`{"method":"ping","params":[]}`:        {Message{Method: "ping"}, ErrParams},
		`{"method":"subscriptions/listen"}`:    {Message{Method: "subscriptions/listen"}, ErrListen},
	} {
		got, err := ReadMessage([]byte(body))
		if !errors.Is(err, want.err) || got != want.message {
			t.Errorf("ReadMessage(%s) = %+v, %v, want %+v, %v", body, got, err, want.message, want.err)
		}
	}
}

func TestQuietQuotesNothing(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"invalid \"canary\""}}`:                      `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"the params are not those of the method"}}`,
		`{"jsonrpc":"2.0","id":"a","error":{"code":-32022,"message":"x","data":{"supported":["2025-11-25"]}}}`: `{"jsonrpc":"2.0","id":"a","error":{"code":-32022,"message":"the gateway does not speak this version of the protocol","data":{"supported":["2025-11-25"]}}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":0,"message":"canary"}}`:                                       `{"jsonrpc":"2.0","id":1,"error":{"code":0,"message":"the gateway has a fault; its log has the cause"}}`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"there is no such tool"}}`:                   `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"there is no such tool"}}`,
		`{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"\"error\""}],"error":1}}`:                       `{"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"\"error\""}],"error":1}}`,
		``: ``,
	} {
		if got := Quiet([]byte(answer)); string(got) != want {
			t.Errorf("Quiet(%s) = %s, want %s", answer, got, want)
		}
	}
}

// fakeCaller may call everything, and is answered as call says.
type fakeCaller struct {
	catalog *pack.Catalog
	call    func(arguments []byte, tell func(string)) (*execution.Outcome, *Failure)
}

var _ Caller = fakeCaller{}

func (f fakeCaller) Actions() []*pack.Action { return f.catalog.Actions() }

func (f fakeCaller) Action(name string) (*pack.Action, bool) {
	ref, err := pack.ParseActionRef(name)
	if err != nil {
		return nil, false
	}
	return f.catalog.Action(ref)
}

func (f fakeCaller) Call(_ context.Context, _ *pack.Action, arguments []byte, tell func(string)) (*execution.Outcome, *Failure) {
	return f.call(arguments, tell)
}

// ask serves one message.
func ask(t *testing.T, caller Caller, body string) (int, string) {
	t.Helper()
	message, err := ReadMessage([]byte(body))
	if err != nil {
		t.Fatalf("ReadMessage(%s) error = %v", body, err)
	}
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mcp", strings.NewReader(body))
	New("1.2.3", slog.New(slog.DiscardHandler)).Serve(recorder, request, message, caller)
	return recorder.Code, recorder.Body.String()
}

func TestResults(t *testing.T) {
	t.Parallel()
	catalog := actions(t, map[string]string{
		"plain": "output_format: json\n",
		"typed": "output_format: json\noutput_schema: {type: object}\n",
	})
	outcome := func(output, media string) func([]byte, func(string)) (*execution.Outcome, *Failure) {
		return func([]byte, func(string)) (*execution.Outcome, *Failure) {
			return &execution.Outcome{Execution: &execution.Execution{ID: "ID"}, Output: []byte(output), MediaType: media}, nil
		}
	}
	failure := func([]byte, func(string)) (*execution.Outcome, *Failure) {
		return nil, &Failure{Problem: map[string]string{"type": "/problems/action-failed"}, Text: "It failed"}
	}
	for name, test := range map[string]struct {
		tool string
		call func([]byte, func(string)) (*execution.Outcome, *Failure)
		want string // the result
	}{
		"text":    {"demo.plain", outcome("hi\n", "text/plain; charset=utf-8"), `{"_meta":{"attune/execution":"ID"},"content":[{"type":"text","text":"hi\n"}]}`},
		"object":  {"demo.plain", outcome(`{"a":1}`, "application/json"), `{"_meta":{"attune/execution":"ID"},"content":[{"type":"text","text":"{\"a\":1}"}],"structuredContent":{"a":1}}`},
		"list":    {"demo.plain", outcome(`[1]`, "application/json"), `{"_meta":{"attune/execution":"ID"},"content":[{"type":"text","text":"[1]"}]}`},
		"bytes":   {"demo.plain", outcome("\xff", "text/plain; charset=utf-8"), `{"_meta":{"attune/execution":"ID"},"content":[{"type":"resource","resource":{"uri":"attune://executions/ID/result","mimeType":"application/octet-stream","blob":"/w=="}}]}`},
		"failure": {"demo.plain", failure, `{"content":[{"type":"text","text":"It failed"},{"type":"text","text":"{\"type\":\"/problems/action-failed\"}"}],"structuredContent":{"type":"/problems/action-failed"},"isError":true}`},
		// It would not fit the schema of the tool's output.
		"failure of a typed one": {"demo.typed", failure, `{"content":[{"type":"text","text":"It failed"},{"type":"text","text":"{\"type\":\"/problems/action-failed\"}"}],"isError":true}`},
		"panic":                  {"demo.plain", func([]byte, func(string)) (*execution.Outcome, *Failure) { panic("x") }, "the gateway has a fault"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, body := ask(t, fakeCaller{catalog, test.call}, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+test.tool+`","arguments":null}}`)
			if status != http.StatusOK || !strings.Contains(body, test.want) {
				t.Errorf("%d %s, want %s", status, body, test.want)
			}
		})
	}
}

func TestProgressIsNumbered(t *testing.T) {
	t.Parallel()
	caller := fakeCaller{actions(t, map[string]string{"run": ""}), func(arguments []byte, tell func(string)) (*execution.Outcome, *Failure) {
		tell("one")
		tell("two")
		return &execution.Outcome{Execution: &execution.Execution{ID: "ID"}, Output: arguments}, nil
	}}
	_, body := ask(t, caller, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo.run","arguments":{"a":1},"_meta":{"progressToken":"t"}}}`)
	for _, want := range []string{
		`"method":"notifications/progress","params":{"progressToken":"t","message":"one","progress":1}`,
		`"progressToken":"t","message":"two","progress":2}`,
		`"text":"{\"a\":1}"`,
	} {
		at := strings.Index(body, want)
		if at < 0 {
			t.Fatalf("answer = %s\nwant %s, and in this order", body, want)
		}
		body = body[at:]
	}
	untold := fakeCaller{caller.catalog, func(_ []byte, tell func(string)) (*execution.Outcome, *Failure) {
		if tell != nil {
			t.Error("tells who did not ask")
		}
		return &execution.Outcome{Execution: &execution.Execution{ID: "ID"}}, nil
	}}
	ask(t, untold, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo.run"}}`)
}

// TestEveryActionsNameIsAToolsName: the longest ref has room.
func TestEveryActionsNameIsAToolsName(t *testing.T) {
	t.Parallel()
	if longest := 2*63 + 1; longest > 128 {
		t.Errorf("a ref may have %d characters", longest)
	}
	name := "a-" + strings.Repeat("b_9", 20)
	catalog := actions(t, map[string]string{name: ""})
	server := sdk.NewServer(&sdk.Implementation{Name: "t", Version: "1"}, &sdk.ServerOptions{Logger: slog.New(failing{t, slog.DiscardHandler})})
	for _, action := range catalog.Actions() {
		server.AddTool(Tool(action), nil) // which says by its log what it thinks of a name
	}
}

// failing is a log that nothing may be written to.
type failing struct {
	t *testing.T
	slog.Handler
}

func (f failing) Enabled(context.Context, slog.Level) bool { return true }

func (f failing) Handle(_ context.Context, r slog.Record) error {
	f.t.Errorf("the SDK says: %s", r.Message)
	return nil
}

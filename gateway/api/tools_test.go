package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/limit"
	"attune/gateway/pack"
)

// connect is the SDK's own client at a real server.
func (w *world) connect(t *testing.T, options *sdk.ClientOptions) *sdk.ClientSession {
	t.Helper()
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, options)
	session, err := client.Connect(t.Context(), &sdk.StreamableClientTransport{
		Endpoint: "http://" + w.Addr().String() + "/mcp", HTTPClient: w.client, MaxRetries: -1,
	}, nil)
	if err != nil {
		t.Fatalf("Connect() error = %v", err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func TestToolsAreTheActions(t *testing.T) {
	t.Parallel()
	session := serve(t, Limits{}).connect(t, nil)
	listed, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatalf("ListTools() error = %v", err)
	}
	var names []string
	for _, tool := range listed.Tools {
		names = append(names, tool.Name)
	}
	// Disabled ones, and those of disabled and broken packs, are none.
	if got, want := strings.Join(names, " "), "demo.echo demo.order demo.page demo.raw demo.rows demo.say snake.run"; got != want {
		t.Errorf("tools = %s, want %s", got, want)
	}
	schema, _ := json.Marshal(listed.Tools[0].InputSchema)
	if !strings.Contains(string(schema), `"properties":{"name":{"type":"string"}}`) {
		t.Errorf("inputSchema of demo.echo = %s, want its parameters", schema)
	}
}

func TestToolCallAnswersWithTheResult(t *testing.T) {
	t.Parallel()
	session := serve(t, Limits{}).connect(t, nil)
	result, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "demo.echo", Arguments: map[string]any{"name": "Ada"}})
	if err != nil || result.IsError {
		t.Fatalf("CallTool() = %+v, %v", result, err)
	}
	if text := result.Content[0].(*sdk.TextContent).Text; text != `{"name":"Ada"}` {
		t.Errorf("text = %s", text)
	}
	if object, ok := result.StructuredContent.(map[string]any); !ok || object["name"] != "Ada" {
		t.Errorf("structuredContent = %v", result.StructuredContent)
	}
	if id, _ := result.Meta["attune/execution"].(string); !executionID.MatchString(id) {
		t.Errorf("_meta = %v, want the execution", result.Meta)
	}
}

func TestToolCallTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	session := serve(t, Limits{}).connect(t, nil)
	result, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "demo.echo", Arguments: map[string]any{"name": 1}})
	if err != nil || !result.IsError {
		t.Fatalf("CallTool() = %+v, %v, want a result that is an error", result, err)
	}
	if text := result.Content[0].(*sdk.TextContent).Text; !strings.Contains(text, "\n- /name ") {
		t.Errorf("text = %q, want it to name the parameter", text)
	}
	problem, _ := result.StructuredContent.(map[string]any)
	if problem["type"] != "/problems/invalid-parameters" || problem["retryable"] != false {
		t.Errorf("structuredContent = %v, want the problem", problem)
	}
	for _, name := range []string{"demo.nothing", "demo.off", "asleep.nap", "broken.x", "..", canary} {
		_, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: name})
		if err == nil || !strings.Contains(err.Error(), "there is no such tool") {
			t.Errorf("CallTool(%s) error = %v, want that there is no such tool", name, err)
		}
	}
}

// TestToolProgressComesWhileTheActionRuns: the action does not end before its
// client has heard of it.
func TestToolProgressComesWhileTheActionRuns(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	heard := make(chan string, 16)
	release := make(chan struct{})
	w.invoker.do(func(ctx context.Context, request execution.Request) (*execution.Outcome, error) {
		running, _, end := w.store.run(request.ID)
		defer end(execution.StatusSucceeded)
		accept(request)
		request.Progress(envcache.Event{Pack: "snake", Runtime: "python", Phase: envcache.PhaseInstall})
		running.Start()
		_, _ = io.WriteString(running.Stderr(), "half way\n")
		select {
		case <-release:
		case <-ctx.Done():
			return nil, failure(execution.CodeCancelled, "action", "run", "the caller left")
		}
		return succeeded(request, []byte(`{"done":true}`), "application/json"), nil
	})
	session := w.connect(t, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { heard <- r.Params.Message },
	})
	params := &sdk.CallToolParams{Name: "snake.run"}
	params.SetProgressToken("token")
	type answer struct {
		result *sdk.CallToolResult
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		result, err := session.CallTool(t.Context(), params)
		answered <- answer{result, err}
	}()
	for _, want := range []string{"environment snake/python: install", "started", "half way"} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("progress = %q, want %q", got, want)
			}
		case a := <-answered:
			t.Fatalf("answered before %q was heard: %+v, %v", want, a.result, a.err)
		case <-time.After(20 * time.Second):
			t.Fatalf("never heard %q", want)
		}
	}
	close(release)
	if a := <-answered; a.err != nil || a.result.IsError {
		t.Errorf("CallTool() = %+v, %v", a.result, a.err)
	}
}

// TestToolCallEndsWithItsClient: with and without progress.
func TestToolCallEndsWithItsClient(t *testing.T) {
	t.Parallel()
	for _, meta := range []string{"", `,"_meta":{"progressToken":1}`} {
		w := serve(t, Limits{})
		began, ended := make(chan struct{}), make(chan error, 1)
		w.invoker.do(func(ctx context.Context, request execution.Request) (*execution.Outcome, error) {
			accept(request)
			close(began)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, failure(execution.CodeCancelled, "action", "run", "the caller left")
		})
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, "POST", "http://"+w.Addr().String()+"/mcp",
			strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"demo.echo"`+meta+`}}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		go func() {
			<-began
			cancel()
		}()
		if response, err := w.client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		select {
		case cause := <-ended:
			if cause != errClientLeft {
				t.Errorf("ended by %v, want %v", cause, errClientLeft)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the call runs on without its client")
		}
	}
}

func TestMessagesThatAreNone(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for name, test := range map[string]struct {
		body   string
		header []string
		status int
		slug   string
	}{
		"nothing":            {"", []string{"Content-Type", "application/json"}, 400, "invalid-json"},
		"no JSON":            {canary, nil, 400, "invalid-json"},
		"a batch":            {"[" + ping + "]", nil, 400, "invalid-message"},
		"no JSON-RPC":        {`{"` + canary + `":1}`, nil, 400, "invalid-message"},
		"no such method":     {`{"jsonrpc":"2.0","id":1,"method":"` + canary + `"}`, nil, 400, "invalid-message"},
		"an answer":          {`{"jsonrpc":"2.0","id":1,"result":{}}`, nil, 400, "invalid-message"},
		"params in a list":   {`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["` + canary + `"]}`, nil, 400, "invalid-message"},
		"changes":            {`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}`, nil, 400, "invalid-message"},
		"text":               {ping, []string{"Content-Type", "text/plain"}, 415, "unsupported-media-type"},
		"a form":             {ping, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"},
		"HTML wanted":        {ping, []string{"Content-Type", "application/json", "Accept", "text/html"}, 406, "not-acceptable"},
		"unknown version":    {ping, []string{"Content-Type", "application/json", "Mcp-Protocol-Version", "1999-01-01"}, 400, "invalid-message"},
		"another origin":     {ping, []string{"Content-Type", "application/json", "Origin", "http://evil.example"}, 403, "forbidden"},
		"a rebound name":     {ping, []string{"Content-Type", "application/json", "Origin", "http://evil.example", "Host", "evil.example"}, 403, "forbidden"},
		"a rebound name too": {ping, []string{"Content-Type", "application/json", "Sec-Fetch-Site", "same-origin", "Host", "evil.example"}, 403, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			header := "Content-Type: application/json\r\n"
			target := host
			if test.header != nil {
				header = ""
			}
			for i := 0; i < len(test.header); i += 2 {
				line := test.header[i] + ": " + test.header[i+1] + "\r\n"
				if test.header[i] == "Host" {
					target = line
					continue
				}
				header += line
			}
			a := w.raw(t, "POST /mcp HTTP/1.1\r\n"+target+header+"Content-Length: "+strconv.Itoa(len(test.body))+"\r\n\r\n"+test.body)
			a.refused(t, test.status, test.slug, true)
		})
	}
	w.works(t)
	for _, method := range []string{"GET", "DELETE"} {
		if response, _ := w.do(t, method, "/mcp", ""); response.StatusCode != 405 || !strings.Contains(response.Header.Get("Allow"), "POST") {
			t.Errorf("%s /mcp = %d, Allow %q", method, response.StatusCode, response.Header.Get("Allow"))
		}
	}
}

// TestRefusedMessagesAreNotQuoted: refusals that are JSON-RPC, too.
func TestRefusedMessagesAreNotQuoted(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for params, text := range map[string]string{
		`{"name":"` + canary + `"}`:                                             "there is no such tool",
		`{"name":["` + canary + `"]}`:                                           "the params are not those of the method",
		`{"name":["` + canary + `"],"_meta":{"progressToken":1}}`:               "the params are not those of the method",
		`{"name":"` + canary + `","_meta":{"progressToken":1}}`:                 "there is no such tool",
		`{"name":"demo.echo","arguments":{},"_meta":"` + canary + `"}`:          "the params are not those of the method",
		`{"name":"demo.echo","arguments":"` + canary + `"}`:                     "The parameters are not valid",
		`{"name":"demo.echo","arguments":{"name":"a","name":"` + canary + `"}}`: "not valid JSON",
	} {
		response, body := w.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":`+params+`}`, "Content-Type", "application/json")
		if response.StatusCode != 200 || !strings.Contains(body, text) || strings.Contains(body, canary) {
			t.Errorf("%s = %d %s, want %q and nothing of the message", params, response.StatusCode, body, text)
		}
	}
}

// TestToolsSpeakEveryVersion: as clients of that version do.
func TestToolsSpeakEveryVersion(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, version := range []string{"2025-03-26", "2025-06-18", "2025-11-25"} {
		response, body := w.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"`+version+
			`","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`, "Content-Type", "application/json")
		if response.StatusCode != 200 || !strings.Contains(body, `"protocolVersion":"`+version+`"`) {
			t.Errorf("initialize %s = %d %s", version, response.StatusCode, body)
		}
		response, body = w.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			"Content-Type", "application/json", "Mcp-Protocol-Version", version)
		if response.StatusCode != 202 || body != "" {
			t.Errorf("initialized %s = %d %q, want 202 and nothing", version, response.StatusCode, body)
		}
	}
	meta := `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`
	response, body := w.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+meta+`}}`,
		"Content-Type", "application/json", "Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list")
	if response.StatusCode != 200 || !strings.Contains(body, `"demo.echo"`) || !strings.Contains(body, `"cacheScope":"private"`) {
		t.Errorf("2026-07-28 tools/list = %d %s", response.StatusCode, body)
	}
}

// TestToolsAndDocumentAreWhatTheKeyMaySee: and a call of another tool is one of
// a tool that isn't there.
func TestToolsAndDocumentAreWhatTheKeyMaySee(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t)
	all := []string{"demo.echo", "demo.rows", "demo.say", "snake.run"}
	for caller, want := range map[string]struct{ tools, documented []string }{
		"invoke-only":  {all[:3], all[:3]},
		"other action": {all[2:3], all[2:3]},
		"other pack":   {all[3:], all[3:]},
		"read-only":    {nil, all[:3]}, // may ask for nothing here
		"everything":   {all, all},
		"admin":        {all, all},
		"no key":       {nil, nil},
	} {
		header := []string{"Content-Type", "application/json"}
		if token := tokens[caller]; token != "" {
			header = append(header, "Authorization", "Bearer "+token)
		}
		_, body := w.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, header...)
		for _, name := range all {
			if got := strings.Contains(body, `"name":"`+name+`"`); got != slices.Contains(want.tools, name) {
				t.Errorf("%s: tool %s listed = %v", caller, name, got)
			}
			_, called := w.do(t, "POST", "/mcp", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+name+`"}}`, header...)
			if ran := strings.Contains(called, `"attune/execution"`); ran != slices.Contains(want.tools, name) {
				t.Errorf("%s: tool %s ran = %v: %s", caller, name, ran, called)
			} else if want.tools != nil && !ran && !strings.Contains(called, "there is no such tool") {
				t.Errorf("%s: tool %s = %s, want that it isn't there", caller, name, called)
			}
		}
		_, document := w.do(t, "GET", "/openapi.json", "", header...)
		for _, name := range all {
			if got := strings.Contains(document, `"/invoke/`+name+`"`); got != slices.Contains(want.documented, name) {
				t.Errorf("%s: action %s documented = %v", caller, name, got)
			}
		}
		if !strings.Contains(document, `"security":[{"key":[]}],`) {
			t.Errorf("%s: the document does not ask for a key", caller)
		}
	}
}

// TestToolCallsCountAsCalls: what bounds an action bounds its tool, in one bucket.
func TestToolCallsCountAsCalls(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	ref := pack.ActionRef{Pack: "demo", Name: "echo"}
	action, _ := w.Catalog().Action(ref)
	action.Rate = limit.Rate{Limit: 2, Per: time.Hour}
	if response, body := w.do(t, "POST", "/invoke/demo.echo", "{}"); response.StatusCode != http.StatusOK {
		t.Fatalf("POST /invoke/demo.echo = %d %s", response.StatusCode, body)
	}
	session := w.connect(t, nil)
	for i, want := range []string{"", "/problems/rate-limited"} {
		result, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: "demo.echo"})
		if err != nil {
			t.Fatal(err)
		}
		problem, _ := result.StructuredContent.(map[string]any)
		if got, _ := problem["type"].(string); got != want || result.IsError != (want != "") {
			t.Errorf("call %d = %v, want %q", i+1, result.StructuredContent, want)
		}
		if want != "" && problem["retry_after"] == nil {
			t.Errorf("%v does not say when to come back", problem)
		}
	}
}

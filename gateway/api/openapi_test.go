package api

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	gocmp "github.com/google/go-cmp/cmp"
)

func TestEveryRouteIsDocumented(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	documented := slices.Collect(maps.Keys(routeDocs))
	for _, r := range w.routes() {
		if r.ofActions() { // TestAnswersAreWhatTheDocumentSays asks for these
			documented = append(documented, r.method+" "+r.pattern)
		}
	}
	slices.Sort(documented)
	if diff := gocmp.Diff(registered(w), documented); diff != "" {
		t.Errorf("routes and routeDocs differ (-routes +docs):\n%s", diff)
	}
	for name, doc := range routeDocs {
		if doc.tag == "" || doc.summary == "" || len(doc.answers) == 0 {
			t.Errorf("%s: tag, summary or answers are missing", name)
		}
		for _, code := range doc.problems {
			if kinds[code] == (kind{}) {
				t.Errorf("%s names the problem %s, which does not exist", name, code)
			}
		}
	}
	for _, r := range w.routes() {
		for _, name := range r.query {
			if documentedParameters["query:"+name].Detail == "" {
				t.Errorf("%s %s: the parameter %s is not described in parameter_docs.go", r.method, r.pattern, name)
			}
		}
		for _, match := range regexp.MustCompile(`:([a-z]+)`).FindAllStringSubmatch(r.pattern, -1) {
			if documentedParameters["path:"+match[1]].Detail == "" {
				t.Errorf("%s %s: %s is not described in parameter_docs.go", r.method, r.pattern, match[1])
			}
		}
	}
}

// readOpenAPI reads the document as its users do. strict forbids members that it
// doesn't name, so that what is answered is what is written.
func readOpenAPI(t *testing.T, w *world, strict bool) *openapi3.T {
	t.Helper()
	response, body := w.do(t, "GET", "/openapi.json", "")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET /openapi.json = %d %s", response.StatusCode, body)
	}
	if strict {
		var document map[string]any
		if err := json.Unmarshal([]byte(body), &document); err != nil {
			t.Fatal(err)
		}
		forbidOthers(document["components"])
		forbidOthers(document["paths"])
		encoded, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
	}
	document, err := openapi3.NewLoader().LoadFromData([]byte(body))
	if err != nil {
		t.Fatalf("LoadFromData() error = %v\n%.2000s", err, body)
	}
	return document
}

func forbidOthers(value any) {
	switch value := value.(type) {
	case map[string]any:
		if properties, ok := value["properties"].(map[string]any); ok && len(properties) > 0 && value["additionalProperties"] == nil {
			value["additionalProperties"] = false
		}
		for _, below := range value {
			forbidOthers(below)
		}
	case []any:
		for _, below := range value {
			forbidOthers(below)
		}
	}
}

func TestOpenAPIIsValid(t *testing.T) {
	t.Parallel()
	document := readOpenAPI(t, serve(t, Limits{}), false)
	if err := document.Validate(t.Context()); err != nil {
		t.Errorf("Validate() error = %v", err)
	}
	if document.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %s", document.OpenAPI)
	}
	ids := map[string]bool{}
	for path, item := range document.Paths.Map() {
		for method, op := range item.Operations() {
			if ids[op.OperationID] || op.OperationID == "" {
				t.Errorf("%s %s: operationId %q is not its own", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	var actions []string
	for path := range document.Paths.Map() {
		if name, ok := strings.CutPrefix(path, "/invoke/"); ok && name != "{ref}" {
			actions = append(actions, name)
		}
	}
	slices.Sort(actions)
	if got, want := strings.Join(actions, " "), "demo.echo demo.order demo.page demo.raw demo.rows demo.say snake.run"; got != want {
		t.Errorf("actions = %s, want %s", got, want)
	}
	echo := document.Paths.Value("/invoke/demo.echo").Post
	media := echo.RequestBody.Value.Content["application/json"]
	if media.Schema.Ref != "#/components/schemas/demo.echo.parameters" || media.Schema.Value.Properties["name"] == nil {
		t.Errorf("body of demo.echo = %+v", media.Schema)
	}
	if media.Examples["example1"] == nil {
		t.Errorf("examples of demo.echo = %v", media.Examples)
	}
}

// TestAnswersAreWhatTheDocumentSays holds real answers to every route, and to
// problems of every kind, against a document without room for anything else.
func TestAnswersAreWhatTheDocumentSays(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	document := readOpenAPI(t, w, true)
	for _, media := range []string{"text/html; charset=utf-8", "text/javascript; charset=utf-8", "text/plain; charset=utf-8", "text/markdown; charset=utf-8"} {
		openapi3filter.RegisterBodyDecoder(strings.Split(media, ";")[0], openapi3filter.PlainBodyDecoder)
	}
	openapi3filter.RegisterBodyDecoder("application/problem+json", openapi3filter.JSONBodyDecoder)
	router, err := gorillamux.NewRouter(document)
	if err != nil {
		t.Fatalf("NewRouter() error = %v", err)
	}
	for name, row := range routeRows {
		if row.stream {
			continue
		}
		method, _, _ := strings.Cut(name, " ")
		checkAnswer(t, w, router, method, row.target, row.body)
	}
	for _, bad := range []struct{ method, target, body string }{
		{"POST", "/invoke/demo.echo", `{"name":1}`},
		{"POST", "/invoke/demo.echo", `{`},
		{"POST", "/invoke/demo.nothing", ``},
		{"GET", "/api/v1/packs/nothing", ``},
		{"GET", "/api/v1/executions?limit=0", ``},
		{"GET", "/api/v1/executions/x", ``},
		{"POST", "/api/v1/packs/register", `{}`},
		{"POST", demoEnv + "/rollback", `{"digest":"x"}`},
		{"POST", "/mcp", `[]`},
	} {
		checkAnswer(t, w, router, bad.method, bad.target, bad.body)
	}
}

func checkAnswer(t *testing.T, w *world, router routers.Router, method, target, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.Addr().String()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	route, parameters, err := router.FindRoute(request)
	if err != nil {
		t.Errorf("%s %s is not in the document: %v", method, target, err)
		return
	}
	response, err := w.client.Do(request.Clone(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if route.Operation.Responses.Status(response.StatusCode) == nil {
		t.Errorf("%s %s = %d, of which the document knows only by default", method, target, response.StatusCode)
	}
	err = openapi3filter.ValidateResponse(t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
		Status:                 response.StatusCode, Header: response.Header, Body: io.NopCloser(bytes.NewReader(answer)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	})
	if err != nil {
		t.Errorf("%s %s = %d %s\nis not what the document says: %v", method, target, response.StatusCode, answer, err)
	}
}

func TestOpenAPIIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	response, _ := w.do(t, "GET", "/openapi.json", "")
	etag := response.Header.Get("ETag")
	for header, want := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200} {
		response, body := w.do(t, "GET", "/openapi.json", "", "If-None-Match", header)
		if response.StatusCode != want || (body == "") != (want == 304) || response.Header.Get("ETag") != etag {
			t.Errorf("If-None-Match: %s = %d, %d bytes, ETag %s, want %d", header, response.StatusCode, len(body), response.Header.Get("ETag"), want)
		}
	}
}

// TestDocsNeedNothingElse: the page has no script of its own, its policy allows
// none, and no part of it asks for anything that is not here.
func TestDocsNeedNothingElse(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	targets := []string{"/docs"}
	for _, name := range docFiles() {
		targets = append(targets, "/docs/"+name.(string))
	}
	for _, target := range targets {
		response, body := w.do(t, "GET", target, "")
		policy := response.Header.Get("Content-Security-Policy")
		if response.StatusCode != 200 || !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") {
			t.Errorf("%s = %d, Content-Security-Policy %q", target, response.StatusCode, policy)
		}
		if found := regexp.MustCompile(`(https?:)?//[a-z][\w.-]+\.[a-z]+|innerHTML|outerHTML|document\.write|eval\(`).FindString(body); found != "" {
			t.Errorf("%s has %q", target, found)
		}
		for _, match := range regexp.MustCompile(`(?:src|href|from)(?:=| )["'](/docs[^"']*)["']`).FindAllStringSubmatch(body, -1) {
			if response, _ := w.do(t, "GET", match[1], ""); response.StatusCode != 200 {
				t.Errorf("%s refers to %s = %d", target, match[1], response.StatusCode)
			}
		}
		if target == "/docs" && regexp.MustCompile(`<script(?: [^>]*)?>[^<]|<style| on[a-z]+=| style=`).MatchString(body) {
			t.Errorf("%s has code or style of its own, which its policy forbids", target)
		}
	}
	entries, err := docs.ReadDir("docs")
	if err != nil || len(entries) != len(docFiles())+1 {
		t.Errorf("docs has %d files (%v), of which docFiles names %d", len(entries), err, len(docFiles()))
	}
	if response, _ := w.do(t, "GET", "/docs/other.js", ""); response.StatusCode != 404 {
		t.Errorf("GET /docs/other.js = %d, want 404", response.StatusCode)
	}
}

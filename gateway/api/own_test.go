package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"attune/gateway/execution"
)

const orderAction = `ref: demo.order
entry_point: echo.sh
output_format: json
parameters:
  id: {type: integer, required: true}
  name: {type: string}
  tag: {type: array, items: {type: string}}
  agent: {type: string}
  token: {type: string, secret: true}
http:
  - {method: GET, path: /orders/:id, headers: {agent: X-Agent}}
  - {method: POST, path: /orders/:id}
  - {method: PUT, path: /orders/:id}
  - {method: PATCH, path: /orders/:id}
  - {method: DELETE, path: /orders/:id}
`

const pageAction = `ref: demo.page
entry_point: echo.sh
output_format: json
http:
  - {method: GET, path: /page, response: envelope}
  - {method: POST, path: /page, response: envelope}
`

func TestOwnRoutesMakeParameters(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		method, target, body, want string
		header                     []string
	}{
		{method: "GET", target: "/orders/7", want: `{"id":7}`},
		{method: "GET", target: "/orders/7?name=a%20b%2Fc&tag=x&tag=y", want: `{"id":7,"name":"a b/c","tag":["x","y"]}`},
		{method: "GET", target: "/orders/7", header: []string{"X-Agent", "Ada"}, want: `{"agent":"Ada","id":7}`},
		{method: "POST", target: "/orders/9007199254740993?name=q", body: `{"tag":["x"]}`, want: `{"id":9007199254740993,"name":"q","tag":["x"]}`},
		{method: "POST", target: "/orders/7", body: `{"name":"f"}`, header: []string{"Content-Type", "application/x-www-form-urlencoded"}, want: `{"id":7,"name":"f"}`},
		{method: "POST", target: "/orders/7", body: `{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"name":"event"}}`, header: []string{"Content-Type", "application/cloudevents+json"}, want: `{"id":7,"name":"event"}`},
		{method: "DELETE", target: "/orders/7", want: `{"id":7}`},
		{method: "POST", target: "/notes", body: "plain \"text\"\n", header: []string{"Content-Type", "text/markdown"}, want: `{"note":"plain \"text\"\n"}`},
		{method: "POST", target: "/files", body: "\x00\xff", want: `{"note":"AP8="}`},
	} {
		response, body := w.do(t, test.method, "/p/demo"+test.target, test.body, test.header...)
		requests := w.invoker.requests()
		if response.StatusCode != http.StatusOK || string(requests[len(requests)-1].Body) != test.want {
			t.Errorf("%s %s = %d %s, want parameters %s", test.method, test.target, response.StatusCode, body, test.want)
		}
	}
	if response, body := w.do(t, "HEAD", "/p/demo/orders/7", "", "Accept", "text/event-stream, application/json"); response.StatusCode != 200 || body != "" {
		t.Errorf("HEAD = %d %q", response.StatusCode, body)
	}
}

func TestOwnRoutesThatAreRefused(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		name, line, headers, body string
		status                    int
		slug                      string
	}{
		{"no such pack", "GET /p/" + canary + "/orders/7", "", "", 404, "not-found"},
		{"a broken pack", "GET /p/broken/orders/7", "", "", 404, "not-found"},
		{"a disabled pack", "GET /p/asleep/nap", "", "", 404, "not-found"},
		{"no such path", "GET /p/demo/" + canary, "", "", 404, "not-found"},
		{"nothing behind the pack", "GET /p/demo", "", "", 404, "not-found"},
		{"a slash behind the pack", "GET /p/demo/", "", "", 404, "not-found"},
		{"a slash behind the path", "GET /p/demo/orders/7/", "", "", 404, "not-found"},
		{"dots", "GET /p/demo/orders/..", "", "", 404, "not-found"},
		{"escaped dots", "GET /p/demo/orders/%2e%2e", "", "", 404, "not-found"},
		{"NUL", "GET /p/demo/orders/%00", "", "", 404, "not-found"},
		{"no UTF-8", "GET /p/demo/orders/%ff", "", "", 404, "not-found"},
		{"a path out of the pack", "GET /p/snake/../demo/orders/7", "", "", 404, "not-found"},
		{"an escaped pack", "GET /p/d%65mo/orders/7", "", "", 400, "invalid-ref"},
		{"no integer", "GET /p/demo/orders/" + canary, "", "", 422, "invalid-parameters"},
		{"a path is in the body, too", "POST /p/demo/orders/7", "", `{"id":8}`, 422, "invalid-parameters"},
		{"a path is in the query, too", "GET /p/demo/orders/7?id=8", "", "", 422, "invalid-parameters"},
		{"a secret in the query", "GET /p/demo/orders/7?token=" + canary, "", "", 422, "invalid-parameters"},
		{"an unknown parameter", "GET /p/demo/orders/7?" + canary + "=1", "", "", 400, "invalid-query"},
		{"the gateway's own parameter", "GET /p/demo/orders/7?timeout=5", "", "", 400, "invalid-query"},
		{"a repeated parameter", "GET /p/demo/orders/7?name=a&name=b", "", "", 400, "invalid-query"},
		{"a query that is no UTF-8", "GET /p/demo/orders/7?name=%ff", "", "", 400, "invalid-query"},
		{"a repeated header", "GET /p/demo/orders/7", "X-Agent: a\r\nx-agent: b\r\n", "", 400, "invalid-header"},
		{"a header that is no UTF-8", "GET /p/demo/orders/7", "X-Agent: \xff\r\n", "", 400, "invalid-header"},
		{"a body of a DELETE", "DELETE /p/demo/orders/7", "", canary, 415, "unsupported-media-type"},
		{"a body that is XML", "POST /p/demo/orders/7", "Content-Type: application/xml\r\n", canary, 415, "unsupported-media-type"},
		{"a body that is no JSON", "POST /p/demo/orders/7", "", "{" + canary, 400, "invalid-json"},
		{"a body that is no object", "POST /p/demo/orders/7", "", "[1]", 400, "invalid-json"},
		{"text that is no UTF-8", "POST /p/demo/notes", "", "\xff", 415, "unsupported-media-type"},
		{"compressed text", "POST /p/demo/notes", "Content-Encoding: gzip\r\n", "x", 415, "unsupported-encoding"},
		{"a page of another site", "POST /p/demo/orders/7", "Sec-Fetch-Site: cross-site\r\n", "{}", 403, "forbidden"},
		{"what the action doesn't have", "GET /p/demo/orders/7", "Accept: text/html\r\n", "", 406, "not-acceptable"},
	} {
		a := w.raw(t, fmt.Sprintf("%s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", test.line, host, test.headers, len(test.body), test.body))
		t.Run(test.name, func(t *testing.T) { a.refused(t, test.status, test.slug, true) })
	}
	a := w.raw(t, "DELETE /p/demo/page HTTP/1.1\r\n"+host+"\r\n")
	a.refused(t, 405, "method-not-allowed", true)
	if got := a.header.Get("Allow"); got != "GET, POST, HEAD" {
		t.Errorf("Allow = %q, want the methods of this path", got)
	}
	w.works(t)
}

// enveloped answers with a result as it is.
func enveloped(w *world, result string) {
	w.invoker.do(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		accept(r)
		return succeeded(r, []byte(result), "application/json"), nil
	})
}

func TestEnvelopes(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		result string
		status int
		media  string
		body   string
		header map[string][]string
	}{
		{`{}`, 200, "", "", nil},
		{`{"status":201,"headers":{"Location":"/p/demo/page/1"},"body":{"a":[1,2.0]}}`, 201, "application/json", `{"a":[1,2.0]}`, map[string][]string{"Location": {"/p/demo/page/1"}}},
		{`{"headers":{"Content-Type":"text/html; charset=utf-8"},"body":"<b>é</b>"}`, 200, "text/html; charset=utf-8", "<b>é</b>", nil},
		{`{"headers":{"content-type":"image/png","Cache-Control":"max-age=60"},"body":"AP8=","base64":true}`, 200, "image/png", "\x00\xff", map[string][]string{"Cache-Control": {"max-age=60"}}},
		{`{"body":"AP8=","base64":true}`, 200, "application/octet-stream", "\x00\xff", nil},
		{`{"body":"text"}`, 200, "text/plain; charset=utf-8", "text", map[string][]string{"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}},
		{`{"headers":{"Set-Cookie":["a=1","b=2"],"X-Empty":""},"body":true}`, 200, "application/json", "true", map[string][]string{"Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""}}},
		{`{"status":204}`, 204, "", "", nil},
		{`{"status":404,"body":"none"}`, 404, "text/plain; charset=utf-8", "none", nil},
		{`{"status":302,"headers":{"Location":"https://example.org/"}}`, 302, "", "", map[string][]string{"Location": {"https://example.org/"}}},
	} {
		enveloped(w, test.result)
		request, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+w.Addr().String()+"/p/demo/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", "text/html")
		response, err := w.client.Transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 100)
		n, _ := response.Body.Read(body) // all of it is there, or nothing
		response.Body.Close()
		if response.StatusCode != test.status || string(body[:n]) != test.body || test.media != "" && response.Header.Get("Content-Type") != test.media {
			t.Errorf("%s = %d %q %q", test.result, response.StatusCode, response.Header.Get("Content-Type"), body[:n])
		}
		for name, want := range test.header {
			if got := response.Header.Values(name); !slices.Equal(got, want) {
				t.Errorf("%s: %s = %q, want %q", test.result, name, got, want)
			}
		}
		if response.Header.Get("Attune-Execution-Id") == "" {
			t.Errorf("%s: no execution's ID", test.result)
		}
	}
}

func TestBadEnvelopes(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	many := `{"headers":{"A":[` + strings.Repeat(`"x",`, 64) + `"x"]}}`
	for _, result := range []string{
		`null`, `[]`, `"text"`, `7`, `{"statuscode":200}`, `{"status":"200"}`, `{"status":199}`, `{"status":600}`, `{"status":0}`, `{"status":200.5}`,
		`{"status":101}`, `{"status":204,"body":"x"}`, `{"status":304,"body":{}}`, `{"headers":[]}`, `{"headers":{"A B":"x"}}`, `{"headers":{"":"x"}}`,
		`{"headers":{"A":"x\r\nB: ` + canary + `"}}`, `{"headers":{"A\r\nB":"x"}}`, `{"headers":{"A":"\u0000"}}`, `{"headers":{"A":7}}`, `{"headers":{"A":null}}`,
		`{"headers":{"Connection":"close"}}`, `{"headers":{"transfer-encoding":"chunked"}}`, `{"headers":{"Content-Length":"0"}}`, `{"headers":{"Upgrade":"x"}}`,
		`{"headers":{"Attune-Execution-Id":"` + canary + `"}}`, `{"headers":{"ATTUNE-X":"x"}}`, `{"headers":{"Proxy-Authenticate":"x"}}`, `{"headers":{"Server-Timing":"x"}}`,
		`{"headers":{"Content-Type":["a/b","c/d"]}}`, `{"headers":{"A":"` + strings.Repeat("x", 8<<10+1) + `"}}`, many,
		`{"body":"%%%","base64":true}`, `{"body":{},"base64":true}`, `{"base64":"yes"}`, `{} {}`,
	} {
		enveloped(w, result)
		a := w.raw(t, "GET /p/demo/page HTTP/1.1\r\n"+host+"\r\n")
		t.Run(result[:min(40, len(result))], func(t *testing.T) {
			a.refused(t, 502, "bad-output", true)
			if a.problem.Execution == "" || !a.problem.Started || a.problem.Component != "action" {
				t.Errorf("problem = %+v", a.problem)
			}
		})
	}
	w.invoker.do(nil)
	w.works(t)
}

func TestReplayOfAnEnvelope(t *testing.T) {
	t.Parallel()
	w, _ := withKeys(t)
	runs := w.counting(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		return succeeded(r, []byte(`{"status":201,"headers":{"X-A":"b"},"body":"made"}`), "application/json"), nil
	})
	for i := range 2 {
		response, body := w.do(t, "POST", "/p/demo/page", `{"a":1}`, "Idempotency-Key", "k")
		if response.StatusCode != 201 || body != "made" || response.Header.Get("X-A") != "b" || (response.Header.Get("Idempotency-Replayed") != "") != (i == 1) {
			t.Errorf("call %d = %d %s %v", i, response.StatusCode, body, response.Header)
		}
	}
	if runs.Load() != 1 {
		t.Errorf("it ran %d times", runs.Load())
	}
}

package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// routeRow is a good request for a route. A route without one fails
// TestEveryRouteHasARow, and so has to pass all the bad input below.
type routeRow struct {
	target string
	query  string // a valid one; empty where the route has none
	media  string
	has    string // a part of the answer
	body   string // JSON; only of routes that change something
	status int    // 0 = 200
	again  int    // the second time; 0 = the same
	stream bool   // the answer does not end
	asks   bool   // there is no answer without the query
	any    bool   // its query may have any parameter
}

const (
	jsonMedia = "application/json"
	textMedia = "text/plain; charset=utf-8"
	demoEnv   = "/api/v1/environments/demo/python"
)

var routeRows = map[string]routeRow{
	"GET /":                          {target: "/", media: jsonMedia, has: `"version":"1.2.3"`},
	"GET /healthz":                   {target: "/healthz", media: jsonMedia, has: `"status":"ok"`},
	"GET /readyz":                    {target: "/readyz", media: jsonMedia, has: `"status":"ready"`},
	"GET /metrics":                   {target: "/metrics", media: "text/plain; version=0.0.4; charset=utf-8", has: "attune_build_info"},
	"GET /problems":                  {target: "/problems", media: "text/markdown; charset=utf-8", has: "`action-failed`, status 502"},
	"GET /problems/:slug":            {target: "/problems/not-found", media: "text/markdown; charset=utf-8", has: "# There is no such resource"},
	"POST /invoke/:ref":              {target: "/invoke/demo.echo", query: "timeout=5", media: jsonMedia, has: `{}`},
	"POST /mcp":                      {target: "/mcp", media: jsonMedia, has: `"result":{}`, body: `{"jsonrpc":"2.0","id":1,"method":"ping"}`},
	"GET /openapi.json":              {target: "/openapi.json", media: jsonMedia, has: `"/invoke/demo.echo":`},
	"GET /docs":                      {target: "/docs", media: "text/html; charset=utf-8", has: `src="/docs/docs.js"`},
	"GET /docs/:file":                {target: "/docs/docs.js", media: "text/javascript; charset=utf-8", has: "/openapi.json"},
	"GET /api/v1/packs":              {target: "/api/v1/packs", media: jsonMedia, has: `"ref":"broken","state":"broken"`},
	"GET /api/v1/packs/:ref":         {target: "/api/v1/packs/demo", media: jsonMedia, has: `"actions":["demo.echo"`},
	"GET /api/v1/packs/:ref/actions": {target: "/api/v1/packs/demo/actions", media: jsonMedia, has: `"ref":"demo.say"`},
	"POST /api/v1/packs/register": {target: "/api/v1/packs/register", media: jsonMedia, has: `"environments":[{"pack":"demo"`,
		body: `{"path":"/packs/demo","force":true}`, status: 201, again: 200},
	"GET /api/v1/packs/:ref/secrets": {target: "/api/v1/packs/demo/secrets", media: jsonMedia, has: `"items":[`},
	"PUT /api/v1/packs/:ref/secrets/:name": {target: "/api/v1/packs/demo/secrets/token", status: 204,
		body: `{"value":"hush"}`},
	"DELETE /api/v1/packs/:ref/secrets/:name": {target: "/api/v1/packs/demo/secrets/old", status: 204},
	"GET /api/v1/actions":                     {target: "/api/v1/actions", media: jsonMedia, has: `"next":null`},
	"GET /api/v1/actions/:ref":                {target: "/api/v1/actions/demo.echo", media: jsonMedia, has: `curl --json '{\"name\":\"it'\\''s Ada\"}' http://127.0.0.1:`},
	"GET /api/v1/environments":                {target: "/api/v1/environments", media: jsonMedia, has: `"runtime":"python"`},
	"POST /api/v1/environments/prune": {target: "/api/v1/environments/prune", media: jsonMedia, has: `"bytes":5`,
		body: `{"all":true}`},
	"GET /api/v1/environments/:pack/:runtime":     {target: demoEnv, media: jsonMedia, has: `"runtime":"python"`},
	"DELETE /api/v1/environments/:pack/:runtime":  {target: demoEnv, status: 204},
	"GET /api/v1/environments/:pack/:runtime/log": {target: demoEnv + "/log", media: textMedia, has: "installed 3 packages"},
	"GET /api/v1/environments/:pack/:runtime/events": {target: demoEnv + "/events", media: "text/event-stream",
		has: "id: 1\nevent: state\ndata: {\"pack\":\"demo\"", stream: true},
	"POST /api/v1/environments/:pack/:runtime/build":   {target: demoEnv + "/build", media: jsonMedia, has: `"state":"building"`, status: 202},
	"POST /api/v1/environments/:pack/:runtime/rebuild": {target: demoEnv + "/rebuild", media: jsonMedia, has: `"state":"building"`, status: 202},
	"POST /api/v1/environments/:pack/:runtime/rollback": {target: demoEnv + "/rollback", media: jsonMedia, has: `"rolled_back":true`,
		body: `{"digest":"` + firstDigest + `"}`},
	"POST /api/v1/environments/:pack/:runtime/verify": {target: demoEnv + "/verify", media: jsonMedia, has: `"ok":true`},
	"GET /p/:pack/*":    {target: "/p/demo/orders/7", query: "tag=a&tag=b", media: jsonMedia, has: `"id":7`},
	"POST /p/:pack/*":   {target: "/p/demo/orders/7", query: "tag=a", media: jsonMedia, has: `"id":7`},
	"PUT /p/:pack/*":    {target: "/p/demo/orders/7", media: jsonMedia, has: `"id":7`},
	"PATCH /p/:pack/*":  {target: "/p/demo/orders/7", media: jsonMedia, has: `"id":7`},
	"DELETE /p/:pack/*": {target: "/p/demo/orders/7", media: jsonMedia, has: `"id":7`},
	"POST /hooks/:key":  {target: "/hooks/" + openKey, media: jsonMedia, has: `"duplicate":false`, body: `{"name":"Ada"}`, status: 202, any: true},
	"GET /hooks/:key": {target: "/hooks/" + metaKey, media: textMedia, has: "1158201444", asks: true, any: true,
		query: "hub.mode=subscribe&hub.verify_token=a+verify+token&hub.challenge=1158201444"},
	"GET /api/v1/hooks":                             {target: "/api/v1/hooks", media: jsonMedia, has: `"ref":"demo.github"`},
	"GET /api/v1/hooks/:ref":                        {target: "/api/v1/hooks/demo.github", media: jsonMedia, has: `"url":"http://127.0.0.1:`},
	"POST /api/v1/hooks/:ref/rotate":                {target: "/api/v1/hooks/demo.off/rotate", media: jsonMedia, has: `"previous_url":"http`, body: `{"grace":"1h"}`},
	"POST /api/v1/hooks/:ref/test":                  {target: "/api/v1/hooks/demo.stripe/test", media: jsonMedia, has: `"delivery_id":"test-`, status: 202},
	"GET /api/v1/hooks/:ref/deliveries":             {target: "/api/v1/hooks/demo.github/deliveries", query: "limit=1&cursor=" + unknownExecution, media: jsonMedia, has: `"outcome":"accepted"`},
	"GET /api/v1/hooks/:ref/deliveries/:id":         {target: "/api/v1/hooks/demo.github/deliveries/" + knownExecution, media: jsonMedia, has: `"body":"{\"name\":\"Ada\"}"`},
	"POST /api/v1/hooks/:ref/deliveries/:id/replay": {target: "/api/v1/hooks/demo.github/deliveries/" + knownExecution + "/replay", media: jsonMedia, has: `"execution_id":"0`, status: 202},
	"GET /api/v1/keys":                              {target: "/api/v1/keys", media: jsonMedia, has: `"items":[]`},
	"POST /api/v1/keys": {target: "/api/v1/keys", media: jsonMedia, has: `"token":"attune_`, status: 201,
		body: `{"name":"ops","scopes":["admin"]}`},
	"DELETE /api/v1/keys/:id":    {target: "/api/v1/keys/" + knownKey, status: 204},
	"GET /api/v1/executions":     {target: "/api/v1/executions", query: "limit=1", media: jsonMedia, has: `"next":"second"`},
	"GET /api/v1/executions/:id": {target: "/api/v1/executions/" + knownExecution, media: jsonMedia, has: `"result":{"name":"Ada"}`},
	"POST /api/v1/executions/:id/cancel": {target: "/api/v1/executions/" + cancelledExecution + "/cancel", media: jsonMedia,
		has: `"status":"cancelled"`},
	"GET /api/v1/schedules": {target: "/api/v1/schedules", media: jsonMedia, has: `"ref":"demo.nightly"`},
	"POST /api/v1/schedules": {target: "/api/v1/schedules", media: jsonMedia, has: `"state":"active"`, status: 201,
		body: `{"ref":"demo.new","action":"demo.echo","cron":"@daily"}`},
	"GET /api/v1/schedules/:ref":         {target: "/api/v1/schedules/demo.nightly", media: jsonMedia, has: `"next":["`},
	"DELETE /api/v1/schedules/:ref":      {target: "/api/v1/schedules/demo.stored", status: 204},
	"POST /api/v1/schedules/:ref/run":    {target: "/api/v1/schedules/demo.nightly/run", media: jsonMedia, has: `"status":"queued"`, status: 202},
	"POST /api/v1/schedules/:ref/pause":  {target: "/api/v1/schedules/demo.other/pause", media: jsonMedia, has: `"state":"paused"`},
	"POST /api/v1/schedules/:ref/resume": {target: "/api/v1/schedules/demo.nightly/resume", media: jsonMedia, has: `"state":"active"`},
	"POST /api/v1/executions/execute": {target: "/api/v1/executions/execute", media: jsonMedia, has: `"status":"queued"`,
		body: `{"action_ref":"demo.echo","parameters":{"name":"Ada"}}`, status: 201},
	"POST /api/v1/executions/:id/retry": {target: "/api/v1/executions/" + cancelledExecution + "/retry", media: jsonMedia,
		has: `"source":"retry:` + cancelledExecution, status: 201},
	"GET /api/v1/dead":                       {target: "/api/v1/dead", query: "limit=1", media: jsonMedia, has: `"attempt":3`},
	"GET /api/v1/dead/:id":                   {target: "/api/v1/dead/" + deadExecution, media: jsonMedia, has: `"parameters":{"name":"Ada"}`},
	"DELETE /api/v1/dead/:id":                {target: "/api/v1/dead/" + deadExecution, status: 204},
	"POST /api/v1/dead/:id/redrive":          {target: "/api/v1/dead/" + deadExecution + "/redrive", media: jsonMedia, has: `"source":"redrive:`, status: 201},
	"GET /api/v1/executions/:id/logs/stdout": {target: "/api/v1/executions/" + knownExecution + "/logs/stdout", query: "follow=true", media: textMedia, has: "<b>out</b>"},
	"GET /api/v1/executions/:id/logs/stderr": {target: "/api/v1/executions/" + knownExecution + "/logs/stderr", query: "follow=0", media: textMedia, has: "err\n"},
}

// registered lists the router's own routes, HEAD left out.
func registered(w *world) []string {
	var names []string
	for _, route := range w.app.GetRoutes() {
		if route.Method != http.MethodHead {
			names = append(names, route.Method+" "+route.Path)
		}
	}
	slices.Sort(names)
	return names
}

func TestEveryRouteHasARow(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	if diff := gocmp.Diff(slices.Sorted(maps.Keys(routeRows)), registered(w)); diff != "" {
		t.Errorf("rows and routes differ (-rows +routes):\n%s", diff)
	}
}

func TestEveryRouteAnswers(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for name, row := range routeRows {
		method, _, _ := strings.Cut(name, " ")
		for i, target := range []string{row.target, row.target + "?" + row.query} {
			if row.stream || row.asks && i == 0 {
				continue // see watch_test.go
			}
			status := cmp.Or(row.status, http.StatusOK)
			if i > 0 {
				status = cmp.Or(row.again, status)
			}
			var header []string
			if row.body != "" {
				header = []string{"Content-Type", "application/json"}
			}
			response, body := w.do(t, method, target, row.body, header...)
			if response.StatusCode != status || !strings.Contains(body, row.has) {
				t.Errorf("%s %s = %d %s, want %d with %s", method, target, response.StatusCode, body, status, row.has)
			}
			if got := response.Header.Get("Content-Type"); got != row.media {
				t.Errorf("%s %s has Content-Type %q, want %q", method, target, got, row.media)
			}
			answer{header: response.Header, body: body}.quiet(t)
		}
		if method != http.MethodGet {
			continue
		}
		target := row.target
		if row.asks {
			target += "?" + row.query
		}
		response, body := w.do(t, "HEAD", target, "")
		if response.StatusCode != http.StatusOK || body != "" || (response.ContentLength <= 0) != row.stream {
			t.Errorf("HEAD %s = %d, %d bytes of %d, want 200 and the length alone", row.target, response.StatusCode, len(body), response.ContentLength)
		}
	}
}

func TestBadInputOnEveryRoute(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, name := range registered(w) {
		row := routeRows[name]
		method, pattern, _ := strings.Cut(name, " ")
		wrong := "PATCH"
		if pattern == ownPattern { // which has that
			wrong = "CONNECT"
		}
		line := func(target string) string { return method + " " + target + " HTTP/1.1\r\n" }
		tests := []struct {
			name    string
			request string
			status  int
			slug    string
			kept    bool
		}{
			{"no Host", line(row.target) + "\r\n", 400, "invalid-header", false},
			{"two Hosts", line(row.target) + host + "Host: " + canary + "\r\n\r\n", 400, "invalid-header", false},
			{"bare LF", line(row.target) + host + "A: b\n\r\n", 400, "invalid-request", false},
			{"length and chunked", line(row.target) + host + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "invalid-request", false},
			{"wrong method", wrong + " " + row.target + " HTTP/1.1\r\n" + host + "\r\n", 405, "method-not-allowed", true},
			{"QUERY", "QUERY " + row.target + " HTTP/1.1\r\n" + host + "\r\n", 405, "method-not-allowed", true},
			{"TRACE", "TRACE " + row.target + " HTTP/1.1\r\n" + host + "\r\n", 405, "method-not-allowed", true},
			{"unknown method", canary + " " + row.target + " HTTP/1.1\r\n" + host + "\r\n", 501, "unknown-method", true},
			{"unknown parameter", line(row.target+"?"+canary+"=1") + host + "\r\n", 400, "invalid-query", true},
			{"query that can't be decoded", line(row.target+"?"+canary+"=%zz") + host + "\r\n", 400, "invalid-query", true},
			{"query with a bracket", line(row.target+"?"+canary+"[=x") + host + "\r\n", 400, "invalid-query", true},
			{"query with a semicolon", line(row.target+"?a=b;"+canary) + host + "\r\n", 400, "invalid-query", true},
			{"repeated parameter", line(row.target+"?timeout=1&timeout=1&limit=1&limit=1") + host + "\r\n", 400, "invalid-query", true},
			{"1,000 parameters", line(row.target+"?"+strings.Repeat("a=1&", 1000)) + host + "\r\n", 400, "invalid-query", true},
			{"10,000 parameters", line(row.target+"?"+strings.Repeat("a&", 7000)) + host + "\r\n", 414, "uri-too-long", true},
		}
		if pattern != "/" {
			for _, form := range []string{row.target + "/", "/" + row.target, "/." + row.target, strings.ToUpper(row.target), "/x/.." + row.target, row.target + "/.."} {
				request := line(form) + host + "\r\n"
				a := w.raw(t, request)
				// "prune/.." could be the name of an environment, which no POST changes.
				if a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed && (a.status != http.StatusBadRequest || a.problem.Type != "/problems/invalid-ref") {
					t.Errorf("%s %s = %d %s, want 404, 405 or invalid-ref", method, form, a.status, a.problem.Type)
				}
				a.refused(t, a.status, strings.TrimPrefix(a.problem.Type, "/problems/"), true)
			}
		}
		for _, test := range tests {
			if row.any && slices.Contains([]string{"unknown parameter", "query with a bracket", "repeated parameter", "1,000 parameters"}, test.name) {
				continue
			}
			t.Run(name+"/"+test.name, func(t *testing.T) {
				a := w.raw(t, test.request)
				a.refused(t, test.status, test.slug, test.kept)
				if allow := a.header.Get("Allow"); test.status == http.StatusMethodNotAllowed && !strings.Contains(allow, method) {
					t.Errorf("Allow = %q, want it to have %s", allow, method)
				}
			})
		}
		w.works(t)
	}
}

// badRefs are rows 1 to 4: each as any parameter of any path is refused.
var badRefs = []string{
	"..", ".", ".store", "...", "demo.", ".echo", "demo..echo", "demo.echo.x", "Demo.echo", "demo.Echo", "1demo", "-demo",
	"..%2f..%2fetc", "%2e%2e", "%252e%252e", `..\..\etc`, "demo%2eecho", "demo.echo%00", "%00", "%0d%0aX:%20" + canary, "%zz",
	"\xff\xfe", "demo.\u202eohce", "ｄｅｍｏ.echo", "demo.echo;x=1", "demo.echo,", "demo:echo", "~root", "$(id)", "{env_dir}",
	strings.Repeat("a", 64), "demo." + strings.Repeat("a", 64), canary + "." + strings.Repeat("a", 3000),
}

func TestBadRefsOnEveryRoute(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	good := map[string]string{":ref": "demo.echo", ":pack": "demo", ":runtime": "python", ":id": knownExecution, ":key": openKey, ":slug": "not-found"}
	for _, name := range registered(w) {
		method, pattern, _ := strings.Cut(name, " ")
		segments := strings.Split(pattern, "/")
		for i, segment := range segments {
			if !strings.HasPrefix(segment, ":") {
				continue
			}
			for _, bad := range badRefs {
				path := slices.Clone(segments)
				for j, other := range path {
					if value, ok := good[other]; ok {
						path[j] = value
					}
				}
				if strings.Contains(pattern, "packs/:ref") && bad == "demo.echo" {
					continue
				}
				path[i] = bad
				a := w.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n", method, strings.Join(path, "/"), host))
				t.Run(name+"/"+bad[:min(len(bad), 20)], func(t *testing.T) { a.refused(t, 400, "invalid-ref", true) })
			}
			empty := slices.Clone(segments)
			empty[i] = ""
			a := w.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n", method, strings.Join(empty, "/"), host))
			t.Run(name+"/empty", func(t *testing.T) { a.refused(t, 404, "not-found", true) })
		}
		w.works(t)
	}
}

func TestUnknownThingsAreNotFound(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct{ method, target, detail string }{
		{"GET", "/" + canary, "nothing at this path"},
		{"GET", "/api/v2/packs", "nothing at this path"},
		{"GET", "/invoke/demo.echo/x", "nothing at this path"},
		{"POST", "/invoke/demo." + canary, "no such action"},
		{"POST", "/invoke/" + canary + ".echo", "no such action"},
		{"POST", "/invoke/demo.off", "disabled"},
		{"POST", "/invoke/asleep.nap", "disabled"},
		{"POST", "/invoke/broken.x", "/api/v1/packs/broken"},
		{"GET", "/api/v1/packs/" + canary, "no such pack"},
		{"GET", "/api/v1/packs/" + canary + "/actions", "no such pack"},
		{"GET", "/api/v1/packs/broken/actions", "/api/v1/packs/broken"},
		{"GET", "/api/v1/actions/demo." + canary, "no such action"},
		{"GET", "/api/v1/actions/broken.x", "/api/v1/packs/broken"},
		{"GET", "/api/v1/environments/demo/" + canary, "no such environment"},
		{"GET", "/api/v1/environments/" + canary + "/python/log", "no such environment"},
		{"GET", "/api/v1/environments/demo/" + canary + "/events", "no such environment"},
		{"POST", "/api/v1/environments/demo/" + canary + "/build", "no such environment"},
		{"POST", "/api/v1/environments/" + canary + "/python/rebuild", "no such environment"},
		{"POST", "/api/v1/environments/demo/" + canary + "/rollback", "no such environment"},
		{"POST", "/api/v1/environments/demo/" + canary + "/verify", "no such environment"},
		{"DELETE", "/api/v1/environments/demo/" + canary, "no such environment"},
		{"GET", "/api/v1/executions/" + unknownExecution, "no such execution"},
		{"GET", "/api/v1/executions/" + unknownExecution + "/logs/stdout", "no such execution"},
		{"GET", "/api/v1/executions/" + knownExecution + "/logs/stdin", "nothing at this path"},
	} {
		a := w.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\n", test.method, test.target, host))
		t.Run(test.method+" "+test.target, func(t *testing.T) {
			a.refused(t, 404, "not-found", true)
			if !strings.Contains(a.problem.Detail, test.detail) {
				t.Errorf("detail = %q, want it to say %q", a.problem.Detail, test.detail)
			}
		})
	}
	w.works(t)
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"attune/envcache"
	"attune/runtimes/container"
)

// changing lists the routes that change something.
func changing(w *world) map[string]routeRow {
	rows := map[string]routeRow{}
	for _, r := range w.routes() {
		if r.changes() {
			rows[r.method+" "+r.pattern] = routeRows[r.method+" "+r.pattern]
		}
	}
	return rows
}

func TestOperatorsAreObeyed(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		method, target, body string
		status               int
		call                 string // what the environments were asked for
	}{
		{"POST", demoEnv + "/build", "", 202, "build"},
		{"POST", demoEnv + "/build", "{}", 202, "build"},
		{"POST", demoEnv + "/rebuild", "", 202, "rebuild"},
		{"POST", demoEnv + "/rollback", "", 200, "rollback"},
		{"POST", demoEnv + "/rollback", `{"digest":"` + firstDigest + `"}`, 200, "rollback " + firstDigest},
		{"POST", demoEnv + "/verify", "", 200, "verify"},
		{"POST", "/api/v1/environments/prune", "", 200, "prune"},
		{"POST", "/api/v1/environments/prune", `{"all":false}`, 200, "prune"},
		{"POST", "/api/v1/environments/prune", `{"all":true}`, 200, "prune all"},
		{"DELETE", demoEnv, "", 204, "remove"},
	} {
		var header []string
		if test.body != "" {
			header = []string{"Content-Type", "application/json; charset=utf-8"}
		}
		response, body := w.do(t, test.method, test.target, test.body, header...)
		if diff := cmp.Diff([]string{test.call}, w.environments.calls()); response.StatusCode != test.status || diff != "" {
			t.Errorf("%s %s %s = %d %s (-want +got):\n%s", test.method, test.target, test.body, response.StatusCode, body, diff)
		}
		if location := response.Header.Get("Location"); test.status == 202 && location != demoEnv {
			t.Errorf("%s: Location = %q, want %s", test.target, location, demoEnv)
		}
	}
}

// Ensure no page of another site changes anything, whatever name it gives the
// gateway.
func TestPagesOfOtherSitesChangeNothing(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for name, row := range changing(w) {
		method, _, _ := strings.Cut(name, " ")
		for _, header := range []string{
			"Host: 127.0.0.1\r\nOrigin: https://" + canary,
			"Host: 127.0.0.1\r\nOrigin: null",
			"Host: 127.0.0.1\r\nOrigin: http://127.0.0.1:1",
			"Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site",
			"Host: 127.0.0.1\r\nSec-Fetch-Site: same-site",
			"Host: 127.0.0.1\r\nSec-Fetch-Site: same-origin\r\nOrigin: https://" + canary,
			// A name that was rebound to this address is the page's own origin.
			"Host: " + canary + "\r\nOrigin: http://" + canary,
			"Host: " + canary + ":8080\r\nOrigin: http://" + canary + ":8080\r\nSec-Fetch-Site: same-origin",
			"Host: " + canary + "\r\nSec-Fetch-Site: same-origin",
			"Host: " + canary + "\r\nSec-Fetch-Site: none",
			"Host: localhost." + canary + "\r\nOrigin: http://localhost." + canary,
			"Host: 127.0.0.1." + canary + "\r\nOrigin: http://127.0.0.1." + canary,
		} {
			a := w.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\n%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				method, row.target, header, len(row.body), row.body))
			t.Run(name+"/"+header, func(t *testing.T) { a.refused(t, 403, "forbidden", true) })
		}
	}
	if calls := append(w.environments.calls(), w.registrar.asked...); len(calls) > 0 {
		t.Errorf("refused requests did %v", calls)
	}
	w.works(t)
}

func TestOwnPagesAndOtherClientsMayChange(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	own := w.Addr().String()
	for _, header := range []string{
		"Host: h", // a client that is no browser uses the name that it has
		"Host: " + own + "\r\nOrigin: http://" + own + "\r\nSec-Fetch-Site: same-origin",
		"Host: localhost:1\r\nOrigin: http://localhost:1",
		"Host: [::1]:1\r\nOrigin: http://[::1]:1",
		"Host: 192.0.2.7\r\nOrigin: http://192.0.2.7",
	} {
		a := w.raw(t, "POST "+demoEnv+"/build HTTP/1.1\r\n"+header+"\r\n\r\n")
		if a.status != http.StatusAccepted || !a.kept {
			t.Errorf("%s = %d %s, want 202", header, a.status, a.body)
		}
	}
	named := serve(t, Limits{})
	named.BaseURL = "https://functions.example.org" // before the first request
	a := named.raw(t, "POST "+demoEnv+"/build HTTP/1.1\r\nHost: functions.example.org\r\nOrigin: https://functions.example.org\r\n\r\n")
	if a.status != http.StatusAccepted {
		t.Errorf("a page of the name that the gateway was given = %d %s, want 202", a.status, a.body)
	}
}

// Ensure every route that changes something refuses what is not its own body.
func TestBadBodiesChangeNothing(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	jsonType := "Content-Type: application/json\r\n"
	for name, row := range changing(w) {
		method, _, _ := strings.Cut(name, " ")
		for _, test := range []struct {
			header, body string
			status       int
			slug         string
		}{
			{"", "{}", 415, "unsupported-media-type"},
			{"Content-Type: text/plain\r\n", "{}", 415, "unsupported-media-type"},
			{"Content-Type: application/x-www-form-urlencoded\r\n", "{}", 415, "unsupported-media-type"},
			{"Content-Type: multipart/form-data; boundary=" + canary + "\r\n", "{}", 415, "unsupported-media-type"},
			{"Content-Type: application/vnd." + canary + "+json\r\n", "{}", 415, "unsupported-media-type"},
			{"Content-Type: application/json; charset=utf-16\r\n", "{}", 415, "unsupported-media-type"},
			{"Content-Type: text/plain\r\n", "", 415, "unsupported-media-type"},
			{"Content-Type: ;;" + canary + "\r\n", "{}", 415, "unsupported-media-type"},
			{jsonType + "Content-Encoding: gzip\r\n", "{}", 415, "unsupported-encoding"},
			{jsonType, "{", 400, "invalid-json"},
			{jsonType, canary, 400, "invalid-json"},
			{jsonType, "{}{}", 400, "invalid-json"},
			{jsonType, "\ufeff{}", 400, "invalid-json"},
			{jsonType, `{"all":true,"all":false}`, 400, "invalid-json"},
			{jsonType, strings.Repeat("[", 100_000), 400, "invalid-json"},
			{jsonType, "null", 422, "invalid-parameters"},
			{jsonType, "[]", 422, "invalid-parameters"},
			{jsonType, `"` + canary + `"`, 422, "invalid-parameters"},
			{jsonType, `{"` + canary + `":1}`, 422, "invalid-parameters"},
			{jsonType, `{"__proto__":{}}`, 422, "invalid-parameters"},
		} {
			request := fmt.Sprintf("%s %s HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", method, row.target, host, test.header, len(test.body), test.body)
			a := w.raw(t, request)
			t.Run(name+"/"+test.header+test.body[:min(len(test.body), 20)], func(t *testing.T) { a.refused(t, test.status, test.slug, true) })
		}
	}
	if calls := append(w.environments.calls(), w.registrar.asked...); len(calls) > 0 {
		t.Errorf("refused requests did %v", calls)
	}
	w.works(t)
}

func TestBodiesOfOtherShapesAreExplained(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct{ target, body, pointer, detail string }{
		{demoEnv + "/rollback", `{"digest":5}`, "/digest", "must be a string"},
		{demoEnv + "/rollback", `{"digest":null}`, "/digest", "must be a string"},
		{demoEnv + "/rollback", `{"digest":"../` + canary + `"}`, "/digest", "must be the 32 digits and letters of a generation"},
		{demoEnv + "/rollback", `{"DIGEST":"` + firstDigest + `"}`, "", "has a member that this call does not have"},
		{"/api/v1/environments/prune", `{"all":"yes"}`, "/all", "must be true or false"},
		{"/api/v1/packs/register", `{}`, "/path", "is required"},
		{"/api/v1/packs/register", `{"path":["` + canary + `"]}`, "/path", "must be a string"},
		{"/api/v1/packs/register", `{"path":"/packs/demo","force":1}`, "/force", "must be true or false"},
	} {
		a := w.raw(t, fmt.Sprintf("POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", test.target, host, len(test.body), test.body))
		a.refused(t, 422, "invalid-parameters", true)
		want := []problemError{{Pointer: &test.pointer, Detail: test.detail}}
		if diff := cmp.Diff(want, a.problem.Errors); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", test.target, test.body, diff)
		}
	}
}

func TestProblemsOfOperating(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		err    error
		status int
		slug   string
		retry  bool
	}{
		{envcache.ErrNoGeneration, 409, "no-generation", false},
		{envcache.ErrNotBuilt, 409, "no-generation", false},
		{envcache.ErrStorageFull, 507, "environment-storage-full", true},
		{envcache.ErrBusy, 503, "overloaded", true},
		{envcache.ErrClosed, 503, "draining", true},
		{container.ErrNoImage, 503, "engine-unavailable", true},
		{container.ErrUnavailable, 503, "engine-unavailable", true},
		{errors.New("open /var/" + canary), 500, "internal", false},
	} {
		w.environments.fail(fmt.Errorf("it happened: %w", test.err))
		for name, row := range changing(w) {
			if strings.HasSuffix(name, "register") || strings.HasSuffix(name, "cancel") {
				continue
			}
			method, _, _ := strings.Cut(name, " ")
			a := w.raw(t, method+" "+row.target+" HTTP/1.1\r\n"+host+"\r\n")
			a.refused(t, test.status, test.slug, true)
			if (a.header.Get("Retry-After") != "") != test.retry || a.problem.Retryable != test.retry {
				t.Errorf("%s of %v: Retry-After = %q", name, test.err, a.header.Get("Retry-After"))
			}
		}
	}
	if !strings.Contains(w.log.String(), "open /var/"+canary) {
		t.Error("the log does not have the cause")
	}
	w.environments.fail(nil)
	a := w.raw(t, fmt.Sprintf("POST %s/rollback HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: 45\r\n\r\n{\"digest\":\"%s\"}", demoEnv, host, strings.Repeat("f", 32)))
	a.refused(t, 409, "no-generation", true)
	w.works(t)
}

// Ensure looking at a large environment ends with its client.
func TestClientThatLeavesEndsItsVerification(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	cause := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	w.environments.behave = func(verify context.Context, _ string) {
		cancel()
		<-verify.Done()
		cause <- context.Cause(verify)
	}
	request, err := http.NewRequestWithContext(ctx, "POST", "http://"+w.Addr().String()+demoEnv+"/verify", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := w.client.Do(request); err == nil {
		response.Body.Close()
		t.Error("the answer came although its client had left")
	}
	if err := <-cause; !errors.Is(err, errClientLeft) {
		t.Errorf("cause = %v, want errClientLeft", err)
	}
}

func TestRegisterPack(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	register := func(body string) answer {
		return w.raw(t, fmt.Sprintf("POST /api/v1/packs/register HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", host, len(body), body))
	}
	a := register(`{"path":"/packs/demo"}`)
	var got registrationPayload
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 201 || a.header.Get("Location") != "/api/v1/packs/demo" {
		t.Fatalf("first = %d %s", a.status, a.body)
	}
	if got.Pack.Ref != "demo" || !got.Created || len(got.Environments) != 1 || got.Environments[0].State != envcache.StateQueued {
		t.Errorf("first = %+v, want demo with its environment queued", got)
	}
	register(`{"path":"/packs/demo"}`).refused(t, 409, "already-registered", true)
	if a := register(`{"path":"/packs/demo","force":true}`); a.status != 200 || !strings.Contains(a.body, `"created":false`) {
		t.Errorf("again = %d %s, want 200", a.status, a.body)
	}
	a = register(`{"path":"/` + canary + `/demo"}`)
	a.refused(t, 422, "invalid-pack", true)
	if a.problem.Detail != "path must name a directory directly below packs_base_dir" {
		t.Errorf("detail = %q", a.problem.Detail)
	}
	a = register(`{"path":"/packs/broken"}`)
	a.refused(t, 422, "invalid-pack", true)
	if len(a.problem.Errors) < 2 || a.problem.Errors[0].File != "pack.yaml" || a.problem.Errors[0].Line != 2 ||
		!strings.HasPrefix(a.problem.Errors[0].Detail, "unknown key") || a.problem.Errors[0].Pointer != nil {
		t.Errorf("errors = %+v, want all faults with file and line", a.problem.Errors)
	}
	if a := register(`{"path":"/packs/nothing"}`); a.problem.Errors[0].Detail != "can't be read" {
		t.Errorf("errors of a foreign fault = %+v", a.problem.Errors)
	}
	w.works(t)
}

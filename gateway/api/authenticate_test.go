package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"attune/gateway/key"
	"attune/gateway/key/keytest"
)

func TestAuthenticationOnTheWire(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t)
	good, bad := tokens["invoke-only"], tokens["unknown"]
	for header, want := range map[string]int{
		"":                                                   401,
		"Authorization: Bearer " + good:                      200,
		"authorization: bearer " + good:                      200,
		"AUTHORIZATION: BEARER   " + good:                    200,
		"Authorization: " + good:                             401,
		"Authorization: Bearer" + good:                       401,
		"Authorization: Bearer":                              401,
		"Authorization: Bearer ":                             401,
		"Authorization: Basic " + good:                       401,
		"Authorization: Bearer " + bad:                       401,
		"Authorization: Bearer " + canary:                    401,
		"Authorization: Bearer " + good + "A":                401,
		"Authorization: Bearer " + good + " " + good:         401,
		"Authorization: Bearer " + strings.ToUpper(good):     401,
		"Authorization: Bearer attune_" + canary + "_secret": 401,
		"Authorization: Bearer " + strings.Repeat("a", 9000): 401,
		"Authorization: Bearer " + tokens["expired"]:         401,
		"X-Api-Key: " + good:                                 401,
	} {
		if header != "" {
			header += "\r\n"
		}
		for _, method := range []string{"POST /invoke/demo.echo", "POST /invoke/no.such"} {
			a := w.raw(t, method+" HTTP/1.1\r\n"+host+header+"Content-Length: 2\r\n\r\n{}")
			switch {
			case want == 401:
				a.refused(t, 401, "unauthenticated", true)
				if a.header.Get("WWW-Authenticate") != "Bearer" {
					t.Errorf("%.60s: WWW-Authenticate = %q, want Bearer", header, a.header.Get("WWW-Authenticate"))
				}
			case method == "POST /invoke/demo.echo" && a.status != want:
				t.Errorf("%.60s = %d %s, want %d", header, a.status, a.body, want)
			}
		}
	}
	twice := "Authorization: Bearer " + good + "\r\nAuthorization: Bearer " + good + "\r\n"
	for _, target := range []string{"/healthz", "/api/v1/packs"} {
		a := w.raw(t, "GET "+target+" HTTP/1.1\r\n"+host+twice+"\r\n")
		a.refused(t, 400, "invalid-header", false)
	}
	for _, token := range tokens {
		if strings.Contains(w.log.String(), token[len("attune_")+27:]) {
			t.Error("the log has a token")
		}
	}
}

// Without keys everything is open, whatever the header holds.
func TestWithoutKeysNobodyIsAsked(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{}, func(o *Options) { o.Keys = mustKeep(t, keytest.NewMemory()) })
	for _, header := range []string{"Basic dTpw", "Bearer attune_x", "Bearer"} {
		if response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Authorization", header); response.StatusCode != http.StatusOK {
			t.Errorf("%s = %d %s, want 200", header, response.StatusCode, body)
		}
	}
}

func TestKeysAreRequired(t *testing.T) {
	t.Parallel()
	t.Run("without any, if the operator says so", func(t *testing.T) {
		t.Parallel()
		w := serve(t, Limits{}, func(o *Options) { o.Keys, o.RequireKeys = mustKeep(t, keytest.NewMemory()), true })
		for _, target := range []string{"/api/v1/packs", "/api/v1/keys"} {
			if status, body := w.status(t, "GET", target, "", ""); status != http.StatusUnauthorized {
				t.Errorf("GET %s = %d %s, want 401", target, status, body)
			}
		}
		if status, _ := w.status(t, "GET", "/healthz", "", ""); status != http.StatusOK {
			t.Errorf("GET /healthz = %d, want 200", status)
		}
	})
	t.Run("while nobody knows whether there are some", func(t *testing.T) {
		t.Parallel()
		w := serve(t, Limits{}, func(o *Options) { o.Keys = key.NewKeeper(keytest.NewMemory(), slog.New(slog.DiscardHandler)) })
		response, body := w.do(t, "GET", "/api/v1/packs", "")
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || !strings.Contains(body, "state-unavailable") {
			t.Errorf("GET /api/v1/packs = %d %s, want 503 with Retry-After", response.StatusCode, body)
		}
		if status, _ := w.status(t, "GET", "/readyz", "", ""); status != http.StatusOK {
			t.Errorf("GET /readyz = %d, want 200", status)
		}
	})
}

// What the operator opens needs no key, and nothing else is told apart.
func TestAnonymous(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t, func(o *Options) { o.Anonymous = []key.Scope{"invoke:demo.echo", "invoke:gone.*"} })
	for _, test := range []struct {
		method, target string
		want           int
	}{
		{"POST", "/invoke/demo.echo", 200},
		{"POST", "/invoke/demo.say", 401},
		{"POST", "/invoke/demo.none", 401},
		{"POST", "/invoke/gone.x", 404},
		{"GET", "/api/v1/packs", 401},
		{"GET", "/api/v1/actions/demo.echo", 401},
		{"POST", "/api/v1/keys", 401},
	} {
		if status, body := w.status(t, test.method, test.target, "", ""); status != test.want {
			t.Errorf("%s %s = %d %s, want %d", test.method, test.target, status, body, test.want)
		}
	}
	// A key that is sent has to be good, also for what is open; one of less isn't
	// given more.
	if status, _ := w.status(t, "POST", "/invoke/demo.echo", "", tokens["expired"]); status != http.StatusUnauthorized {
		t.Errorf("with an expired key: %d, want 401", status)
	}
	if response, _ := w.do(t, "POST", "/invoke/demo.echo", "{}", "Sec-Fetch-Site", "same-origin"); response.StatusCode != http.StatusOK {
		t.Errorf("from a page of an address: %d, want 200", response.StatusCode)
	}
}

// A page that holds a key may call under any name of the gateway; one without,
// only under those that nobody can rebind.
func TestPagesWithAKey(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t, func(o *Options) { o.Anonymous = []key.Scope{"invoke:demo.echo"} })
	ask := func(header string) answer {
		return w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\nHost: functions.example\r\nSec-Fetch-Site: same-origin\r\n"+header+"Content-Length: 2\r\n\r\n{}")
	}
	ask("").refused(t, 403, "forbidden", true)
	if a := ask("Authorization: Bearer " + tokens["invoke-only"] + "\r\n"); a.status != http.StatusOK {
		t.Errorf("with a key = %d %s, want 200", a.status, a.body)
	}
}

// The whole life of keys over HTTP, with the real keeper.
func TestKeysOverHTTP(t *testing.T) {
	t.Parallel()
	store := keytest.NewMemory()
	w := serve(t, Limits{}, func(o *Options) { o.Keys = mustKeep(t, store) })
	create := func(body string, header ...string) (int, string) {
		response, answer := w.do(t, "POST", "/api/v1/keys", body, append(header, "Content-Type", "application/json")...)
		return response.StatusCode, answer
	}
	if status, body := create(`{"name":"app","scopes":["invoke:*"]}`); status != 422 || !strings.Contains(body, `"pointer":"/scopes"`) || !strings.Contains(body, "admin") {
		t.Errorf("a first key of a caller = %d %s, want 422 that names /scopes", status, body)
	}
	for body, pointer := range map[string]string{
		`{"scopes":["admin"]}`:                                                `""`,
		`{"name":"a"}`:                                                        `""`,
		`{"name":"a","scopes":"admin"}`:                                       `"/scopes"`,
		`{"name":"a","scopes":["admin","` + canary + `"]}`:                    `"/scopes/1"`,
		`{"name":"a","scopes":[null]}`:                                        `"/scopes/0"`,
		`{"name":"a","scopes":["admin"],"expires_at":"soon"}`:                 `"/expires_at"`,
		`{"name":"a","scopes":["admin"],"expires_at":"2020-01-01T00:00:00Z"}`: `""`,
		`{"name":"a","scopes":["admin"],"rate":"1/` + canary + `"}`:           `"/rate"`,
		`{"name":"a","scopes":["admin"],"quota":"0/day"}`:                     `"/quota"`,
		`{"name":"a","scopes":["admin"],"max_concurrent":1.5}`:                `"/max_concurrent"`,
		`{"name":"a","scopes":["admin"],"max_concurrent":-1}`:                 `""`,
		`{"name":"` + canary + `\n","scopes":["admin"]}`:                      `""`,
		`{"name":"a","scopes":["admin"],"` + canary + `":1}`:                  `""`,
	} {
		status, answer := create(body)
		if status != 422 || !strings.Contains(answer, `"pointer":`+pointer) || strings.Contains(answer, canary) {
			t.Errorf("%s = %d %s, want 422 at %s without an echo", body, status, answer, pointer)
		}
	}
	status, body := create(`{"name":"ops","scopes":["admin"],"expires_at":"2999-01-01T00:00:00Z","rate":"100/s,20","quota":"100000/day","max_concurrent":5}`)
	admin := member(t, body, "token")
	if status != 201 || !strings.HasPrefix(admin, "attune_"+member(t, body, "id")+"_") || member(t, body, "rate") != "100/s,20" || strings.Contains(body, "hash") {
		t.Fatalf("a first key = %d %s", status, body)
	}
	if status, _ := create(`{"name":"app","scopes":["invoke:*"]}`); status != 401 {
		t.Errorf("the second key without the first = %d, want 401", status)
	}
	as := []string{"Authorization", "Bearer " + admin}
	status, body = create(`{"name":"app","scopes":["invoke:*"]}`, as...)
	app := member(t, body, "token")
	if status != 201 {
		t.Fatalf("the second key = %d %s", status, body)
	}
	if status, _ := create(`{"name":"more","scopes":["admin"]}`, "Authorization", "Bearer "+app); status != 403 {
		t.Errorf("a key from a caller = %d, want 403", status)
	}
	response, body := w.do(t, "GET", "/api/v1/keys", "", as...)
	if response.StatusCode != 200 || strings.Contains(body, "token") || strings.Contains(body, "hash") || strings.Count(body, `"scopes"`) != 2 {
		t.Errorf("GET /api/v1/keys = %d %s", response.StatusCode, body)
	}
	revoke := func(token string) int {
		response, _ := w.do(t, "DELETE", "/api/v1/keys/"+token[len("attune_"):][:26], "", as...)
		return response.StatusCode
	}
	if status := revoke(admin); status != 409 {
		t.Errorf("revoke the last administrator = %d, want 409", status)
	}
	if status := revoke(app); status != 204 {
		t.Errorf("revoke a key = %d, want 204", status)
	}
	if status := revoke(app); status != 404 {
		t.Errorf("revoke it again = %d, want 404", status)
	}
	if status, _ := w.status(t, "POST", "/invoke/demo.echo", "", app); status != 401 {
		t.Errorf("a revoked key = %d, want 401", status)
	}
	store.Fail(errors.New("away"))
	if status, _ := create(`{"name":"x","scopes":["admin"]}`, as...); status != 503 {
		t.Errorf("a key without the store = %d, want 503", status)
	}
	if status, _ := w.status(t, "GET", "/api/v1/packs", "", admin); status != 200 {
		t.Errorf("a call without the store = %d, want 200", status)
	}
	store.Fail(nil)
	if status := revoke(admin); status != 204 {
		t.Errorf("revoke the last key = %d, want 204", status)
	}
	if status, _ := w.status(t, "GET", "/api/v1/packs", "", ""); status != 200 {
		t.Errorf("a call without keys = %d, want 200", status)
	}
}

// member is a string in a JSON object.
func member(t *testing.T, body, name string) string {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(body), &object); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	text, _ := object[name].(string)
	return text
}

// BenchmarkAuthenticate is what a key costs each call.
func BenchmarkAuthenticate(b *testing.B) {
	now := time.Now()
	k, token, err := key.New(key.Order{Name: "bench", Scopes: []key.Scope{"invoke:demo.*"}}, now)
	if err != nil {
		b.Fatal(err)
	}
	keeper := key.NewKeeper(keytest.NewMemory(k), slog.New(slog.DiscardHandler))
	if err := keeper.Load(context.Background()); err != nil {
		b.Fatal(err)
	}
	s := &Server{Options: Options{Keys: keeper}}
	header := &fasthttp.RequestHeader{}
	header.Set("Authorization", "Bearer "+token)
	b.ReportAllocs()
	for b.Loop() {
		var c call
		if err := s.authenticate(header, &c, key.Invoke, now); err != nil || s.allow(&c, key.Invoke, "demo.echo") != nil {
			b.Fatal(err)
		}
	}
}

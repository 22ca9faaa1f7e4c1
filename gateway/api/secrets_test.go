package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/secret"
)

// fakeSecrets remembers what was set; err, if any, is what everything answers.
type fakeSecrets struct {
	mu  sync.Mutex
	set map[string]string
	err error
}

var _ Secrets = (*fakeSecrets)(nil)

func (f *fakeSecrets) Set(_ context.Context, pack, name, value string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set == nil {
		f.set = map[string]string{}
	}
	if f.err == nil {
		f.set[pack+"/"+name] = value
	}
	return f.err
}

func (f *fakeSecrets) List(_ context.Context, pack string) ([]secret.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pack != "demo" {
		return nil, f.err
	}
	return []secret.Entry{{Name: "token", UpdatedAt: time.Unix(0, 0).UTC(), Key: "0a0b0c0d", Readable: true}}, f.err
}

// Delete finds everything but what is called missing.
func (f *fakeSecrets) Delete(_ context.Context, _, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if name == "missing" {
		return secret.ErrNone
	}
	return f.err
}

func (f *fakeSecrets) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func TestSecretsOverHTTP(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	const at = "/api/v1/packs/demo/secrets"
	full := strings.Repeat("x", secret.MaxValue)
	tests := []struct {
		method, path, body string
		status             int
		has                string
	}{
		{"GET", at, "", 200, `{"items":[{"name":"token","updated_at":"1970-01-01T00:00:00Z","key":"0a0b0c0d","readable":true}],"next":null}`},
		{"GET", "/api/v1/packs/none/secrets", "", 404, "no such pack"},
		{"GET", "/api/v1/packs/No/secrets", "", 400, "invalid-ref"},
		{"PUT", at + "/api.key", `{"value":"hush-1"}`, 204, ""},
		{"PUT", at + "/full", `{"value":"` + full + `"}`, 204, ""},
		{"PUT", at + "/more", `{"value":"` + full + `x"}`, 422, "must have at most 65536 bytes"},
		{"PUT", at + "/much", `{"value":"` + strings.Repeat(full, 7) + `"}`, 413, "a secret may have 65536 bytes"},
		{"PUT", at + "/empty", `{"value":""}`, 422, "must not be empty"},
		{"PUT", at + "/none", `{}`, 422, "must not be empty"},
		{"PUT", at + "/nul", `{"value":"hush\u0000"}`, 422, "NUL"},
		{"PUT", at + "/number", `{"value":1234567}`, 422, "must be a string"},
		{"PUT", at + "/other", `{"value":"x","hush":1}`, 422, "a member that this call does not have"},
		{"PUT", at + "/2token", `{"value":"hush"}`, 400, "invalid-ref"},
		{"PUT", at + "/" + strings.Repeat("a", 65), `{"value":"hush"}`, 400, "invalid-ref"},
		{"PUT", "/api/v1/packs/none/secrets/token", `{"value":"hush"}`, 404, "no such pack"},
		{"PUT", "/api/v1/packs/broken/secrets/token", `{"value":"hush"}`, 204, ""},
		{"DELETE", at + "/token", "", 204, ""},
		{"DELETE", at + "/missing", "", 404, "no such secret"},
		{"GET", at + "/token", "", 405, "method-not-allowed"}, // no way to read one
	}
	for _, test := range tests {
		response, body := w.do(t, test.method, test.path, test.body, "Content-Type", "application/json")
		if response.StatusCode != test.status || !strings.Contains(body, test.has) {
			t.Errorf("%s %s = %d %s, want %d with %s", test.method, test.path, response.StatusCode, body, test.status, test.has)
		}
		if strings.Contains(body, "hush") || strings.Contains(body, "1234567") {
			t.Errorf("%s %s gives a value back: %s", test.method, test.path, body)
		}
	}
	if got := w.secrets.set["demo/api.key"]; got != "hush-1" || len(w.secrets.set) != 3 {
		t.Errorf("stored %q of %d, want hush-1 of 3", got, len(w.secrets.set))
	}
	if strings.Contains(w.log.String(), "hush") {
		t.Errorf("the log tells a value:\n%s", w.log)
	}
}

func TestSecretsWithoutAKeyOrAStore(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.secrets.fail(secret.ErrNoKey)
	response, body := w.do(t, "PUT", "/api/v1/packs/demo/secrets/token", `{"value":"hush"}`, "Content-Type", "application/json")
	if response.StatusCode != http.StatusConflict || !strings.Contains(body, "attune secret keygen FILE") {
		t.Errorf("PUT without a key = %d %s, want 409 and the cure", response.StatusCode, body)
	}
	w.secrets.fail(context.DeadlineExceeded)
	for _, method := range []string{"PUT", "GET", "DELETE"} {
		path, body := "/api/v1/packs/demo/secrets/token", `{"value":"hush"}`
		switch method {
		case "GET":
			path, body = "/api/v1/packs/demo/secrets", ""
		case "DELETE":
			body = ""
		}
		if response, body := w.do(t, method, path, body, "Content-Type", "application/json"); response.StatusCode != 503 || !strings.Contains(body, "state-unavailable") {
			t.Errorf("%s without a store = %d %s, want 503", method, response.StatusCode, body)
		}
	}
}

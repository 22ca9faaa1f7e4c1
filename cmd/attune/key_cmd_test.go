package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/gateway/key"
)

const madeAnswer = `{"id":"01HZX3V7Q8R9S0T1V2W3X4Y5Z6","name":"web","scopes":["invoke:shop.*"],"created_at":"2026-11-24T12:00:00Z","token":"attune_x_y"}`

func TestKeyCreate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args []string
		body string // what the gateway is sent; empty = nothing
		want ran
	}{
		"a caller": {[]string{"--scope", "invoke:shop.*", "--scope", "read:shop", "web"}, `{"name":"web","scopes":["invoke:shop.*","read:shop"]}`,
			ran{exitOK, "attune_x_y\n", "key 01HZX3V7Q8R9S0T1V2W3X4Y5Z6 (web); its token is shown this once:\n"}},
		"with bounds": {[]string{"--scope", "admin", "--rate", "100/s,20", "--quota", "5/day", "--max-concurrent", "3", "web"},
			`{"name":"web","scopes":["admin"],"rate":"100/s,20","quota":"5/day","max_concurrent":3}`,
			ran{exitOK, "attune_x_y\n", "key 01HZX3V7Q8R9S0T1V2W3X4Y5Z6 (web); its token is shown this once:\n"}},
		"without a scope":  {[]string{"web"}, "", ran{exitUsage, "", "attune: missing flags: --scope=SCOPE,...; see attune --help\n"}},
		"a bad duration":   {[]string{"--scope", "admin", "--expires", "soon", "web"}, "", ran{exitUsage, "", "attune: --expires \"soon\" is no duration: write 12h, 90d or 4w\n"}},
		"a negative one":   {[]string{"--scope", "admin", "--expires=-1d", "web"}, "", ran{exitUsage, "", "attune: --expires \"-1d\" is no duration: write 12h, 90d or 4w\n"}},
		"one of centuries": {[]string{"--scope", "admin", "--expires=99999999d", "web"}, "", ran{exitUsage, "", "attune: --expires \"99999999d\" is no duration: write 12h, 90d or 4w\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := newFakeGateway(t, map[string][]canned{"POST /api/v1/keys": {{status: http.StatusCreated, body: madeAnswer}}})
			got := runProgram(t, &program{}, append([]string{"key", "create", "--url", gateway.URL}, test.args...)...)
			if got != test.want {
				t.Errorf("key create = %+v, want %+v", got, test.want)
			}
			if sent := strings.Join(gateway.bodies, "+"); sent != test.body {
				t.Errorf("the gateway was sent %s, want %s", sent, test.body)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{"12h": 12 * time.Hour, "90d": 90 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := expiry(text, now); err != nil || !got.Equal(now.Add(want)) {
			t.Errorf("expiry(%s) = %v, %v", text, got, err)
		}
	}
	if got, err := expiry("", now); err != nil || !got.IsZero() {
		t.Errorf("expiry() = %v, %v, want never", got, err)
	}
}

func TestKeyListAndRevoke(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{
		"GET /api/v1/keys": {{status: 200, body: `{"items":[
{"id":"01A","name":"ops","scopes":["admin"],"created_at":"2026-11-24T12:00:00Z"},
{"id":"01B","name":"we\u001bb","scopes":["invoke:a.*","read:a"],"created_at":"2026-11-24T12:00:00Z","expires_at":"2026-11-24T13:00:00Z","rate":"100/s,20","quota":"5/day","max_concurrent":3},
{"id":"01C","name":"late","scopes":["read:*"],"created_at":"2026-11-24T12:00:00Z","expires_at":"2999-01-01T00:00:00Z"}],"next":null}`}},
		"DELETE /api/v1/keys/01B": {{status: 204}},
	})
	got := runProgram(t, &program{}, "key", "list", "--url", gateway.URL)
	expired := "2026-11-24T13:00:00Z"
	if time.Now().After(time.Date(2026, 11, 24, 13, 0, 0, 0, time.UTC)) {
		expired = "expired"
	}
	for _, cells := range [][]string{
		{"01A", "ops", "admin", "never", "none"}, {"01B", "web", "invoke:a.* read:a", expired, "100/s,20 5/day 3 at once"}, {"01C", "2999-01-01T00:00:00Z"},
	} {
		for _, cell := range cells {
			if !strings.Contains(got.Stdout, cell) {
				t.Errorf("key list has no %q:\n%s", cell, got.Stdout)
			}
		}
	}
	if got := runProgram(t, &program{}, "key", "revoke", "--url", gateway.URL, "01B"); got != (ran{}) {
		t.Errorf("key revoke = %+v", got)
	}
}

// The first key can be made without a gateway, by its rules.
func TestKeyCreateLocal(t *testing.T) {
	t.Parallel()
	state := filepath.Join(t.TempDir(), "state")
	environ := []string{"ATTUNE__STATE_DIR=" + state, "ATTUNE__SERVER__HOST=0.0.0.0"}
	create := func(args ...string) ran {
		return runProgram(t, &program{Environ: environ}, append([]string{"key", "create", "--local"}, args...)...)
	}
	if got := create("--scope", "invoke:*", "web"); got.Code != exitUsage || !strings.Contains(got.Stderr, "must have the scope admin") {
		t.Errorf("a first key of a caller = %+v", got)
	}
	if got := create("--scope", "nothing", "web"); got.Code != exitUsage || !strings.Contains(got.Stderr, "no scope") {
		t.Errorf("a key of no scope = %+v", got)
	}
	serve := func() error {
		_, err := (&ServeCmd{}).load(t.Context(), &program{Environ: environ})
		return err
	}
	if err := serve(); err == nil || !strings.Contains(err.Error(), "there is no API key") {
		t.Errorf("serve without a key: %v", err)
	}
	got := create("--scope", "admin", "ops")
	if got.Code != exitOK || !strings.HasPrefix(got.Stdout, "attune_") {
		t.Fatalf("key create --local = %+v", got)
	}
	if err := serve(); err != nil {
		t.Errorf("serve with a key: %v", err)
	}
	config, err := (&ServeCmd{}).load(t.Context(), &program{Environ: environ})
	if err != nil || !config.Server.RequireKeys {
		t.Errorf("beyond loopback keys are not required, %v", err)
	}
	store, done, err := config.openKeyStore()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := store.Keys(t.Context())
	if err := done(); err != nil {
		t.Error(err)
	}
	if err != nil || len(keys) != 1 {
		t.Fatalf("Keys() = %v, %v", keys, err)
	}
	if _, err := key.NewRing(keys...).Authenticate(strings.TrimSpace(got.Stdout), time.Now()); err != nil {
		t.Errorf("Authenticate() error = %v", err)
	}
}

// An expired key lets nobody in, and so no gateway out.
func TestServeWithAnExpiredKey(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	environ := []string{"ATTUNE__STATE_DIR=" + state}
	config, err := LoadConfig("", environ)
	if err != nil {
		t.Fatal(err)
	}
	old, _, err := key.New(key.Order{Name: "old", Scopes: []key.Scope{key.Admin}, ExpiresAt: time.Now().Add(-time.Hour)}, time.Now().Add(-2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	store, done, err := config.openKeyStore()
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cmd     ServeCmd
		environ string
		refused bool
	}{
		{ServeCmd{Host: "0.0.0.0"}, "A=b", true},
		{ServeCmd{Host: "0.0.0.0", Insecure: true}, "A=b", false},
		{ServeCmd{Host: "0.0.0.0"}, "ATTUNE__SERVER__REQUIRE_KEYS=true", false},
		{ServeCmd{}, "A=b", false},
	} {
		if _, err := test.cmd.load(t.Context(), &program{Environ: append(environ, test.environ)}); (err != nil) != test.refused {
			t.Errorf("%+v with %s: %v, want it refused: %t", test.cmd, test.environ, err, test.refused)
		}
	}
}

// Every command sends the key, of the variable or of a file, which wins.
func TestCommandsSendTheKey(t *testing.T) {
	t.Parallel()
	sent := make(chan string, 1)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent <- strings.Join(r.Header.Values("Authorization"), "+")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"type":"/problems/unauthenticated","title":"The caller is not known","status":401,"detail":"no"}`))
	}))
	t.Cleanup(gateway.Close)
	file := writeFile(t, "key", "attune_file\n")
	for name, test := range map[string]struct {
		environ []string
		args    []string
		want    string
	}{
		"none":     {nil, nil, ""},
		"variable": {[]string{"ATTUNE_KEY=attune_var"}, nil, "Bearer attune_var"},
		"file":     {[]string{"ATTUNE_KEY=attune_var"}, []string{"--key-file", file}, "Bearer attune_file"},
	} {
		for _, command := range [][]string{
			{"invoke", "a.b"}, {"pack", "list"}, {"env", "list"}, {"execution", "list"}, {"key", "list"}, {"key", "revoke", "x"},
			{"secret", "list", "a"}, {"pack", "register", "x"},
		} {
			got := runProgram(t, &program{Environ: test.environ, Stdin: strings.NewReader("")}, append(append(command, "--url", gateway.URL), test.args...)...)
			if header := <-sent; header != test.want {
				t.Errorf("%s: %v sent %q, want %q", name, command, header, test.want)
			}
			if got.Code == exitOK || !strings.Contains(got.Stderr, "ATTUNE_KEY or --key-file") {
				t.Errorf("%v = %+v, want a refusal that says how to give a key", command, got)
			}
		}
	}
	public := writeFile(t, "public", "attune_x")
	if err := os.Chmod(public, 0o644); err != nil {
		t.Fatal(err)
	}
	for what, test := range map[string]struct {
		environ []string
		file    string
	}{
		"a file that isn't there":   {nil, filepath.Join(t.TempDir(), "none")},
		"an empty file":             {nil, writeFile(t, "empty", "\n")},
		"one that everybody reads":  {nil, public},
		"two lines":                 {nil, writeFile(t, "two", "attune_a\nattune_b\n")},
		"a variable with a newline": {[]string{"ATTUNE_KEY=attune_secret\r\nX: y"}, ""},
	} {
		args := []string{"pack", "list", "--url", gateway.URL}
		if test.file != "" {
			args = append(args, "--key-file", test.file)
		}
		if got := runProgram(t, &program{Environ: test.environ}, args...); got.Code != exitUsage || strings.Contains(got.Stderr, "attune_secret") {
			t.Errorf("%s: %+v, want a refusal that shows no key", what, got)
		}
	}
}

func TestAnonymousSetting(t *testing.T) {
	t.Parallel()
	config, err := LoadConfig(writeFile(t, "attune.yaml", "server: {anonymous: [demo.hello, demo2.*, \"*\"]}\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"demo.hello", "demo2.x", "other.y"} {
		if k := (&key.Key{Scopes: config.anonymous()}); !k.May(key.Invoke, ref) || k.MaySomewhere(key.Read) {
			t.Errorf("anonymous() = %v", config.anonymous())
		}
	}
	for _, bad := range []string{"demo", "admin", "demo.", "*.x", "invoke:demo.x", ""} {
		if got := faultTexts(t, "server: {anonymous: [\""+bad+"\"]}\n"); len(got) != 1 || !strings.Contains(got[0], "server.anonymous") {
			t.Errorf("anonymous %q: %v, want a fault", bad, got)
		}
	}
}

package tests

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// keyHome is a home with one action that needs no environment and no container.
func keyHome(t *testing.T) home {
	t.Helper()
	h := newHome(t)
	for _, ref := range []string{"shop", "other"} {
		h.pack(t, ref, map[string]string{
			"actions/hello.yaml": "ref: " + ref + ".hello\nentry_point: hello.sh\n", "actions/hello.sh": "#!/bin/sh\necho hello\n",
		})
	}
	h.pack(t, "busy", map[string]string{
		"actions/rare.yaml": "ref: busy.rare\nentry_point: rare.sh\nrate: {limit: 2, per: 1h}\n", "actions/rare.sh": "#!/bin/sh\necho rare\n",
	})
	return h
}

// key runs attune key against a gateway, and returns what it prints.
func (g *gateway) key(t *testing.T, token string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return attune(t, []string{"ATTUNE_KEY=" + token}, append([]string{"key", args[0], "--url", g.url}, args[1:]...)...)
}

func (g *gateway) mustMakeKey(t *testing.T, token string, args ...string) string {
	t.Helper()
	stdout, stderr, code := g.key(t, token, append([]string{"create"}, args...)...)
	if code != 0 || !strings.HasPrefix(stdout, "attune_") {
		t.Fatalf("key create %v = %d %s%s", args, code, stdout, stderr)
	}
	return strings.TrimSpace(stdout)
}

// as asks with a key.
func (g *gateway) as(t *testing.T, token, method, path string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(request)
	return read(t, response, err)
}

func (g *gateway) answers(t *testing.T, want int, token, method, path string) answer {
	t.Helper()
	a := g.as(t, token, method, path)
	if a.status != want {
		t.Errorf("%s %s = %d %s, want %d", method, path, a.status, a.body, want)
	}
	return a
}

func keyID(token string) string { return token[len("attune_"):][:26] }

// TestAPIKeys is the life of keys on one gateway: open, then closed by the first
// one, over a restart, and open again.
func TestAPIKeys(t *testing.T) {
	h := keyHome(t)
	g := h.launch(t, "ATTUNE__ENGINE=process", "ATTUNE__SERVER__ANONYMOUS=other.*")
	g.answers(t, 200, "", "POST", "/invoke/shop.hello")
	if _, stderr, code := g.key(t, "", "create", "--scope", "invoke:*", "web"); code != 2 || !strings.Contains(stderr, "admin") {
		t.Errorf("a first key of a caller = %d %s", code, stderr)
	}
	admin := g.mustMakeKey(t, "", "--scope", "admin", "ops")
	web := g.mustMakeKey(t, admin, "--scope", "invoke:shop.*", "--expires", "90d", "web")
	g.answers(t, 401, "", "POST", "/invoke/shop.hello")
	g.answers(t, 200, "", "POST", "/invoke/other.hello") // anonymous
	timing := g.answers(t, 200, web, "POST", "/invoke/shop.hello").header.Get("Server-Timing")
	if !strings.HasPrefix(timing, "auth;dur=") {
		t.Errorf("Server-Timing = %q, want auth", timing)
	}
	g.answers(t, 404, web, "POST", "/invoke/other.hello")
	g.answers(t, 403, web, "GET", "/api/v1/executions")
	if stdout, stderr, code := attune(t, []string{"ATTUNE_KEY=" + web}, "invoke", "--url", g.url, "shop.hello"); code != 0 || stdout != "hello\n" {
		t.Errorf("attune invoke with a key = %d %s%s", code, stdout, stderr)
	}
	if _, stderr, code := attune(t, nil, "invoke", "--url", g.url, "shop.hello"); code != 2 || !strings.Contains(stderr, "ATTUNE_KEY") {
		t.Errorf("attune invoke without a key = %d %s", code, stderr)
	}
	if _, stderr, code := attune(t, nil, "health", "--url", g.url); code != 0 {
		t.Errorf("attune health without a key = %d %s", code, stderr)
	}
	g.stop(t)
	for _, secret := range []string{admin, web} {
		if strings.Contains(g.text(), secret[len("attune_")+27:]) {
			t.Error("the log has a token")
		}
	}
	if !strings.Contains(g.text(), `"msg":"audit"`) || !strings.Contains(g.text(), `"key_name":"ops"`) {
		t.Errorf("the log has no audit record of a key's making:\n%s", g.text())
	}

	g = h.launch(t, "ATTUNE__ENGINE=process")
	defer g.stop(t)
	g.answers(t, 401, "", "POST", "/invoke/other.hello")
	g.answers(t, 200, web, "POST", "/invoke/shop.hello")
	if stdout, stderr, code := g.key(t, admin, "list"); code != 0 || !strings.Contains(stdout, "invoke:shop.*") || strings.Contains(stdout, "attune_") {
		t.Errorf("key list = %d %s%s", code, stdout, stderr)
	}
	if _, stderr, code := g.key(t, admin, "revoke", keyID(admin)); code == 0 || !strings.Contains(stderr, "last") {
		t.Errorf("revoke the last administrator = %d %s", code, stderr)
	}
	for _, token := range []string{web, admin} {
		if _, stderr, code := g.key(t, admin, "revoke", keyID(token)); code != 0 {
			t.Errorf("key revoke = %d %s", code, stderr)
		}
	}
	g.answers(t, 200, "", "POST", "/invoke/shop.hello")
}

// TestBeyondLoopbackTakesAKey: no gateway listens where others can reach it while
// nobody has a key; with one it does, and stays closed when that is revoked.
func TestBeyondLoopbackTakesAKey(t *testing.T) {
	h := keyHome(t)
	vars := []string{
		"ATTUNE__ENGINE=process", "ATTUNE__PACKS_BASE_DIR=" + h.packs, "ATTUNE__RUNTIME_ENVS_DIR=" + h.envs,
		"ATTUNE__STATE_DIR=" + h.state, "ATTUNE__SERVER__HOST=0.0.0.0",
	}
	if _, stderr, code := attune(t, vars, "serve", "--port", "0"); code != 2 || !strings.Contains(stderr, "attune key create --local") {
		t.Errorf("serve beyond loopback without a key = %d %s", code, stderr)
	}
	token, stderr, code := attune(t, vars, "key", "create", "--local", "--scope", "admin", "ops")
	if code != 0 {
		t.Fatalf("key create --local = %d %s", code, stderr)
	}
	token = strings.TrimSpace(token)
	g := h.launch(t, vars...)
	defer g.stop(t)
	g.answers(t, 401, "", "POST", "/invoke/shop.hello")
	g.answers(t, 200, token, "POST", "/invoke/shop.hello")
	g.answers(t, 204, token, "DELETE", "/api/v1/keys/"+keyID(token))
	g.answers(t, 401, "", "POST", "/invoke/shop.hello")
	// And another made beside the running gateway is known soon.
	again, stderr, code := attune(t, vars, "key", "create", "--local", "--scope", "admin", "ops")
	if code != 0 {
		t.Fatalf("key create --local beside a gateway = %d %s", code, stderr)
	}
	eventually(t, 20*time.Second, "the gateway knows the key", func() bool {
		return g.as(t, strings.TrimSpace(again), "POST", "/invoke/shop.hello").status == 200
	})
}

// TestReplicasShareKeys: a key made or revoked on one gateway is so on the other
// within seconds; they share its rate; without Redis the keys that are known go
// on, also in a gateway that starts then.
func TestReplicasShareKeys(t *testing.T) {
	h := keyHome(t)
	redis := newRedis(t)
	viaA, _ := redis.via(t)
	viaB, _ := redis.via(t)
	a := h.beside("a").launch(t, "ATTUNE__ENGINE=process", viaA)
	b := h.beside("b").launch(t, "ATTUNE__ENGINE=process", viaB)
	a.answers(t, 200, "", "POST", "/invoke/shop.hello")
	b.answers(t, 200, "", "POST", "/invoke/shop.hello")
	admin := a.mustMakeKey(t, "", "--scope", "admin", "ops")
	soon := func(what string, g *gateway, token string, want int) {
		t.Helper()
		eventually(t, 10*time.Second, what, func() bool { return g.as(t, token, "POST", "/invoke/shop.hello").status == want })
	}
	soon("the other gateway asks for a key", b, "", 401)
	web := b.mustMakeKey(t, admin, "--scope", "invoke:*", "web")
	soon("the key of the other gateway", a, web, 200)

	// Of the action's two calls an hour each gateway gives what the other left.
	a.answers(t, 200, admin, "POST", "/invoke/busy.rare")
	b.answers(t, 200, admin, "POST", "/invoke/busy.rare")
	for _, g := range []*gateway{a, b} {
		refused := g.answers(t, 429, admin, "POST", "/invoke/busy.rare")
		if refused.header.Get("Retry-After") == "" || refused.problem(t).Type != "/problems/rate-limited" {
			t.Errorf("a third call = %v %s", refused.header, refused.body)
		}
	}

	redis.cli(t, "SAVE")
	redis.kill(t)
	for _, g := range []*gateway{a, b} {
		g.answers(t, 200, admin, "POST", "/invoke/shop.hello")
		g.answers(t, 401, "", "POST", "/invoke/shop.hello")
		g.answers(t, 200, admin, "POST", "/invoke/busy.rare") // by the gateway's own count
	}
	b.kill(t)
	b = h.beside("b").launch(t, "ATTUNE__ENGINE=process", viaB)
	b.answers(t, 200, admin, "POST", "/invoke/shop.hello")
	b.answers(t, 401, "", "POST", "/invoke/shop.hello")
	fresh := h.beside("fresh").launch(t, "ATTUNE__ENGINE=process", viaB)
	if refused := fresh.answers(t, 503, admin, "POST", "/invoke/shop.hello"); refused.header.Get("Retry-After") == "" {
		t.Errorf("a gateway that knows no keys = %v", refused.header)
	}
	fresh.answers(t, 503, "", "GET", "/readyz")
	b.answers(t, 200, "", "GET", "/readyz")

	redis.restart(t)
	soon("a gateway that knew no keys", fresh, admin, 200)
	a.answers(t, 204, admin, "DELETE", "/api/v1/keys/"+keyID(web))
	soon("the end of a key", b, web, 401)
	soon("the end of a key", fresh, web, 401)

	// A Redis that has lost the keys opens nothing.
	redis.cli(t, "FLUSHALL")
	soon("the end of all keys", a, admin, 401)
	a.answers(t, 401, "", "POST", "/invoke/shop.hello")
	for _, g := range []*gateway{a, b, fresh} {
		g.stop(t)
	}
	content, err := os.ReadFile(filepath.Join(h.beside("b").state, "api-keys.json"))
	if err != nil || strings.Contains(string(content), admin[len("attune_")+27:]) || !strings.Contains(string(content), keyID(admin)) {
		t.Errorf("a gateway's copy of the keys = %s, %v", content, err)
	}
}

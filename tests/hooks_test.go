package tests

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	githubSecret = "0b6f6b0d5ff2d0f2c9f6a0e1"
	githubHook   = "webhook_example.push"
	githubPush   = `{"ref":"refs/heads/main","repository":{"full_name":"octocat/example"},"commits":[{"message":"Say hello\n\nat last"}]}`
)

// github sends what GitHub does, and returns the answer.
func (g *gateway) github(t *testing.T, key, id, media, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/hooks/"+key, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, []byte(githubSecret))
	mac.Write([]byte(body))
	for name, value := range map[string]string{
		"Content-Type": media, "User-Agent": "GitHub-Hookshot/044aadd", "X-GitHub-Event": "push", "X-GitHub-Delivery": id,
		"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
	} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	return read(t, response, err)
}

var hookKey = regexp.MustCompile(`/hooks/([A-Z2-7]{26})`)

// hookKey is the random part of a hook's URL, as attune hook list shows it.
func (g *gateway) hookKey(t *testing.T, ref string) string {
	t.Helper()
	out, err := g.attune(t, "", "hook", "list")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, ref+" ") && hookKey.MatchString(line) {
			return hookKey.FindStringSubmatch(line)[1]
		}
	}
	t.Fatalf("attune hook list, %v, has no URL of %s:\n%s", err, ref, out)
	return ""
}

// result waits for the end of the execution that an answer names.
func (g *gateway) result(t *testing.T, a answer) string {
	t.Helper()
	id, _ := a.value(t)["execution_id"].(string)
	var record struct {
		Status string
		Result json.RawMessage
		Source string
	}
	eventually(t, 60*time.Second, "execution "+id+" ends", func() bool {
		shown := g.get(t, "/api/v1/executions/"+id)
		return shown.status == 200 && json.Unmarshal([]byte(shown.body), &record) == nil && record.Status != "queued" && record.Status != "running"
	})
	if record.Status != "succeeded" {
		t.Errorf("execution %s is %s", id, record.Status)
	}
	return string(record.Result)
}

// TestGitHubWebhookCallsAScript is the README's section of that name.
func TestGitHubWebhookCallsAScript(t *testing.T) {
	h := newHome(t, "webhook_example")
	settings := []string{"ATTUNE__SECRETS__KEY_FILE=" + keyFile(t)}
	g := h.start(t, settings...)
	key := g.hookKey(t, githubHook)

	if out, err := g.attune(t, "", "hook", "test", githubHook); err == nil || !strings.Contains(out, "attune secret set") {
		t.Errorf("attune hook test without a secret, %v: %s", err, out)
	}
	if a := g.github(t, key, "d-0", "application/json", githubPush); a.status != 503 {
		t.Errorf("a delivery before the secret is stored = %d %s, want 503", a.status, a.body)
	}
	if out, err := g.attune(t, githubSecret+"\n", "secret", "set", "webhook_example", "github_hook"); err != nil {
		t.Fatalf("attune secret set: %v\n%s", err, out)
	}
	out, err := g.attune(t, "", "hook", "test", githubHook)
	if err != nil || !strings.Contains(out, "accepted as execution ") {
		t.Errorf("attune hook test: %v\n%s", err, out)
	}

	const want = `{"text":"1 to main of octocat/example: Say hello"}`
	first := g.github(t, key, "d-1", "application/json", githubPush)
	if first.status != 202 || first.header.Get("Location") != "/api/v1/executions/"+first.header.Get("Attune-Execution-Id") {
		t.Fatalf("a push = %d %s", first.status, first.body)
	}
	if got := g.result(t, first); got != want {
		t.Errorf("the script made %s of a push, want %s", got, want)
	}
	form := g.github(t, key, "d-2", "application/x-www-form-urlencoded", url.Values{"payload": {githubPush}}.Encode())
	if got := g.result(t, form); got != want {
		t.Errorf("the script made %s of a push as a form, want %s", got, want)
	}
	if a := g.github(t, key, "d-1", "application/json", githubPush+" "); a.status != 409 {
		t.Errorf("another body = %d %s, want 409", a.status, a.body)
	}
	g.stop(t)

	// Another start knows the URL, the secret and the delivery.
	g = h.start(t, settings...)
	if now := g.hookKey(t, githubHook); now != key {
		t.Errorf("the URL is another one after a restart: %s, was %s", now, key)
	}
	if a := g.github(t, key, "d-1", "application/json", githubPush); a.status != 202 || a.value(t)["duplicate"] != true || a.value(t)["execution_id"] != first.value(t)["execution_id"] {
		t.Errorf("a repetition after a restart = %d %s, want the execution of %s", a.status, a.body, first.body)
	}
	log, err := g.attune(t, "", "hook", "deliveries", githubHook)
	for _, outcome := range []string{"accepted", "duplicate", "refused", "failed"} {
		if err != nil || !strings.Contains(log, outcome) {
			t.Errorf("attune hook deliveries, %v, has nothing that was %s:\n%s", err, outcome, log)
		}
	}
	id := regexp.MustCompile(`(?m)^(\S{26}) .* accepted .* d-2 `).FindStringSubmatch(log)
	if id == nil {
		t.Fatalf("attune hook deliveries has no d-2:\n%s", log)
	}
	replayed, err := g.attune(t, "", "hook", "replay", "--output", "json", githubHook, id[1])
	if err != nil {
		t.Fatalf("attune hook replay: %v\n%s", err, replayed)
	}
	if got := g.result(t, answer{body: replayed}); got != want {
		t.Errorf("the script made %s of a replay, want %s", got, want)
	}
	if strings.Contains(g.text(), githubSecret) || strings.Contains(g.text(), key) {
		t.Error("the gateway's log has the secret or the URL of the hook")
	}
}

// TestHooksAreAcknowledgedWhileAnEnvironmentBuilds: a sender never waits for
// one, and its delivery is executed when it is there.
func TestHooksAreAcknowledgedWhileAnEnvironmentBuilds(t *testing.T) {
	h := newHome(t)
	h.slowPack(t, "slow_hook")
	write(t, filepath.Join(h.packs, "slow_hook", "hooks", "h.yaml"), "ref: slow_hook.h\naction: slow_hook.run\nverify: none\nparameters: {}\n", 0o644)
	g := h.start(t)
	response, err := http.Post(g.url+"/hooks/"+g.hookKey(t, "slow_hook.h"), "application/json", strings.NewReader(`{}`))
	a := read(t, response, err)
	environment := g.get(t, "/api/v1/environments/slow_hook/python")
	if a.status != 202 || strings.Contains(environment.body, `"state":"ready"`) {
		t.Errorf("delivery = %d %s with the environment %s, want 202 before it is ready", a.status, a.body, environment.body)
	}
	g.result(t, a)
}

// TestOneDeliveryToTwoGatewaysIsOneExecution: they share a Redis, and with it
// URLs, marks and the queue.
func TestOneDeliveryToTwoGatewaysIsOneExecution(t *testing.T) {
	h := newHome(t, "webhook_example")
	settings := []string{"ATTUNE__SECRETS__KEY_FILE=" + keyFile(t), "ATTUNE__REDIS__URL=redis://" + newRedis(t).address(t)}
	a, b := h.start(t, settings...), h.beside("b").start(t, settings...)
	if out, err := a.attune(t, githubSecret, "secret", "set", "webhook_example", "github_hook"); err != nil {
		t.Fatalf("attune secret set: %v\n%s", err, out)
	}
	key := a.hookKey(t, githubHook)
	if other := b.hookKey(t, githubHook); other != key {
		t.Fatalf("the gateways have the URLs %s and %s of one hook", key, other)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	executions := map[any]int{}
	for n := range 40 {
		group.Go(func() {
			answer := []*gateway{a, b}[n%2].github(t, key, "d-1", "application/json", githubPush)
			mu.Lock()
			defer mu.Unlock()
			executions[fmt.Sprint(answer.status, answer.value(t)["execution_id"])]++
		})
	}
	group.Wait()
	if len(executions) != 1 {
		t.Errorf("40 repetitions of one delivery are the executions %v, want one", executions)
	}
	once := b.github(t, key, "d-1", "application/json", githubPush)
	if got := b.result(t, once); !strings.Contains(got, "octocat/example") {
		t.Errorf("result = %s", got)
	}
	list := b.get(t, "/api/v1/executions?action=webhook_example.on_push")
	if items, _ := list.value(t)["items"].([]any); len(items) != 1 {
		t.Errorf("executions = %s, want one", list.body)
	}
}

// TestDeliveryWhileRedisIsAway: it is refused for now, and its repetition is one
// execution; so is one whose mark was stored though nobody was told.
func TestDeliveryWhileRedisIsAway(t *testing.T) {
	h := newHome(t, "webhook_example")
	redis, proxy := newRedis(t).via(t)
	g := h.start(t, "ATTUNE__SECRETS__KEY_FILE="+keyFile(t), redis)
	if out, err := g.attune(t, githubSecret, "secret", "set", "webhook_example", "github_hook"); err != nil {
		t.Fatalf("attune secret set: %v\n%s", err, out)
	}
	key := g.hookKey(t, githubHook)
	proxy.Refuse()
	a := g.github(t, key, "d-1", "application/json", githubPush)
	if p := a.problem(t); a.status != 503 || p.Type != "/problems/state-unavailable" || !p.Retryable || a.header.Get("Retry-After") == "" {
		t.Errorf("a delivery without Redis = %d %s, want 503 state-unavailable, to be retried", a.status, a.body)
	}
	proxy.Pass()
	if a = g.github(t, key, "d-1", "application/json", githubPush); a.status != 202 || a.value(t)["duplicate"] != false {
		t.Errorf("its repetition = %d %s, want 202", a.status, a.body)
	}
	g.result(t, a)
	lost := proxy.LoseReplyTo("hook-mark:")
	a = g.github(t, key, "d-2", "application/json", githubPush)
	<-lost
	if a.status != 202 {
		t.Errorf("a delivery whose mark's reply is lost = %d %s, want 202", a.status, a.body)
	}
	g.result(t, a)
	list := g.get(t, "/api/v1/executions?action=webhook_example.on_push")
	if items, _ := list.value(t)["items"].([]any); len(items) != 2 {
		t.Errorf("executions = %s, want two", list.body)
	}
}

package api

import (
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/delivery"
	"attune/gateway/delivery/deliverytest"
	"attune/gateway/hook"
	"attune/gateway/hook/hooktest"
	"attune/gateway/pack"
)

var (
	openKey = deliverytest.Key("open")
	metaKey = deliverytest.Key("meta")
)

// hookWorld is what is behind the hooks of a test: their receiver is a real one.
type hookWorld struct {
	store   *hooktest.Memory
	queue   *deliverytest.Queue
	secrets *deliverytest.Secrets
}

// newHookWorld gives every hook a known key, and demo.github a delivery.
func newHookWorld(t testing.TB, catalog *pack.Catalog) *hookWorld {
	w := &hookWorld{
		store:   hooktest.NewMemory(),
		queue:   &deliverytest.Queue{Catalog: func() *pack.Catalog { return catalog }},
		secrets: &deliverytest.Secrets{},
	}
	w.secrets.Set("demo", "sender_hook", deliverytest.Secret)
	for _, h := range catalog.Hooks() {
		if _, err := w.store.Address(t.Context(), h.Ref.String(), deliverytest.Key(h.Ref.Name), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.store.Append(t.Context(), hook.Entry{
		ID: knownExecution, Hook: "demo.github", Outcome: hook.Accepted, Status: 202, Replayable: true, Body: []byte(`{"name":"Ada"}`),
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *hookWorld) receiver(t testing.TB, invoker delivery.Invoker, catalog *pack.Catalog) *delivery.Receiver {
	t.Helper()
	receiver, err := delivery.New(delivery.Options{
		Catalog: func() *pack.Catalog { return catalog }, Store: w.store, Secrets: w.secrets, Queue: w.queue, Invoker: invoker,
		NewID: func() string { return ulid.Make().String() }, Status: StatusOf,
	})
	if err != nil {
		t.Fatal(err)
	}
	return receiver
}

// Whatever can't be had is one answer, so that nobody finds a hook by trying.
func TestHooksThatCannotBeHadAreAlike(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	bodies := map[string]bool{}
	for _, target := range []string{"/hooks/" + deliverytest.Key("nobody"), "/hooks/" + deliverytest.Key("off")} {
		for _, method := range []string{"POST", "GET"} {
			a := w.raw(t, method+" "+target+" HTTP/1.1\r\n"+host+"\r\n")
			a.refused(t, 404, "not-found", true)
			a.problem.Instance = ""
			bodies[strings.Replace(a.body, a.header.Get("Attune-Request-Id"), "", 1)] = true
		}
	}
	a := w.raw(t, "GET /hooks/"+openKey+"?hub.mode=subscribe&hub.challenge=1 HTTP/1.1\r\n"+host+"\r\n") // it has no handshake
	a.refused(t, 404, "not-found", true)
	bodies[strings.Replace(a.body, a.header.Get("Attune-Request-Id"), "", 1)] = true
	if len(bodies) != 1 {
		t.Errorf("there are %d different answers, want one: %v", len(bodies), bodies)
	}
}

func TestHookHandshakeByToken(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for query, status := range map[string]int{
		"hub.mode=subscribe&hub.verify_token=a+verify+token&hub.challenge=" + canary:                        200,
		"hub.mode=subscribe&hub.verify_token=another&hub.challenge=" + canary:                               401,
		"hub.mode=subscribe&hub.challenge=" + canary:                                                        401,
		"hub.mode=subscribe&hub.verify_token=a+verify+token&hub.verify_token=a+b&hub.challenge=" + canary:   401,
		"hub.mode=other&hub.verify_token=a+verify+token&hub.challenge=" + canary:                            400,
		"hub.mode=subscribe&hub.verify_token=a+verify+token":                                                400,
		"hub.mode=subscribe&hub.verify_token=a+verify+token&hub.challenge=" + strings.Repeat(canary, 200):   400,
		"hub.mode=subscribe&hub.verify_token=a+verify+token&hub.challenge=1&hub.challenge=" + canary + "&a": 400,
	} {
		response, body := w.do(t, "GET", "/hooks/"+metaKey+"?"+query, "")
		if response.StatusCode != status || (body == canary) != (status == 200) {
			t.Errorf("GET ?%s = %d %s, want %d", query, response.StatusCode, body, status)
		}
		if status != 200 && strings.Contains(body, canary) {
			t.Errorf("GET ?%s repeats an unproven challenge: %s", query, body)
		}
	}
}

func TestHookURLIsRotated(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	at := "/api/v1/hooks/demo.open/rotate"
	for _, bad := range []string{`{"grace":"x"}`, `{"grace":"-1s"}`, `{"grace":"10000h"}`, `{"grace":1}`, `{"key":"` + openKey + `"}`} {
		if response, body := w.do(t, "POST", at, bad, "Content-Type", "application/json"); response.StatusCode != 422 {
			t.Errorf("POST %s = %d %s, want 422", bad, response.StatusCode, body)
		}
	}
	deliver := func(key string) int {
		response, _ := w.do(t, "POST", "/hooks/"+key, `{"name":"Ada"}`)
		return response.StatusCode
	}
	keyIn := func(body, member string) string {
		_, rest, _ := strings.Cut(body, `"`+member+`":"`+w.BaseURL+"/hooks/")
		key, _, _ := strings.Cut(rest, `"`)
		return key
	}
	_, body := w.do(t, "POST", at, `{"grace":"1h"}`, "Content-Type", "application/json")
	second := keyIn(body, "url")
	if keyIn(body, "previous_url") != openKey || !hook.IsKey(second) || second == openKey {
		t.Fatalf("rotate = %s, want a new key beside %s", body, openKey)
	}
	if a, b := deliver(openKey), deliver(second); a != 202 || b != 202 {
		t.Errorf("within the grace the keys answer %d and %d, want 202", a, b)
	}
	_, body = w.do(t, "POST", at, "")
	third := keyIn(body, "url")
	if a, b, c := deliver(openKey), deliver(second), deliver(third); a != 404 || b != 404 || c != 202 || strings.Contains(body, "previous") {
		t.Errorf("without grace the keys answer %d, %d and %d, want 404, 404, 202\n%s", a, b, c, body)
	}
}

func TestHooksAreShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	_, body := w.do(t, "GET", "/api/v1/hooks", "")
	for _, hidden := range []string{deliverytest.Secret, "a literal token", "a verify token"} {
		if strings.Contains(body, hidden) {
			t.Errorf("the list of hooks has %q:\n%s", hidden, body)
		}
	}
	if !strings.Contains(body, `"secrets":["sender_hook","sender_hook_2"]`) || strings.Contains(body, "unready") {
		t.Errorf("the list of hooks = %s, want the names of secrets, and all ready", body)
	}
	w.hooks.secrets.Set("demo", "sender_hook", "")
	if _, body := w.do(t, "GET", "/api/v1/hooks/demo.github", ""); !strings.Contains(body, `"unready":"the hook's secret is not stored: attune secret set"`) {
		t.Errorf("a hook without its secret = %s, want it to say so", body)
	}
}

func TestHookReplayAndTest(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	log := "/api/v1/hooks/demo.github/deliveries"
	if _, body := w.do(t, "POST", log+"/"+knownExecution+"/replay", ""); !strings.Contains(body, `"duplicate":false`) {
		t.Errorf("replay = %s", body)
	}
	for target, status := range map[string]int{
		log + "/" + unknownExecution + "/replay":                             404,
		"/api/v1/hooks/demo.open/deliveries/" + knownExecution + "/replay":   404, // another hook's
		"/api/v1/hooks/demo.nobody/deliveries/" + knownExecution + "/replay": 404,
		"/api/v1/hooks/demo.off/test":                                        404,
		"/api/v1/hooks/demo.github/test":                                     202,
		"/api/v1/hooks/demo.gitlab/test":                                     202,
		"/api/v1/hooks/demo.slack/test":                                      202,
		"/api/v1/hooks/demo.shopify/test":                                    202,
		"/api/v1/hooks/demo.stripe/test":                                     202,
		"/api/v1/hooks/demo.standard-webhooks/test":                          202,
		"/api/v1/hooks/demo.meta/test":                                       202,
		"/api/v1/hooks/demo.open/test":                                       202,
	} {
		if response, body := w.do(t, "POST", target, ""); response.StatusCode != status {
			t.Errorf("POST %s = %d %s, want %d", target, response.StatusCode, body, status)
		}
	}
	jobs := w.hooks.queue.Jobs()
	if len(jobs) != 9 {
		t.Errorf("%d jobs, want those of 1 replay and 8 tests", len(jobs))
	}
	for _, job := range jobs {
		if !strings.HasPrefix(job.Source, "hook:demo.") || job.Action != "demo.echo" {
			t.Errorf("job = %+v, want a hook's", job)
		}
	}
	_, body := w.do(t, "GET", log, "")
	if !strings.Contains(body, `"replay_of":"`+knownExecution+`"`) || !strings.Contains(body, `"delivery":"test-`) || strings.Contains(body, "sha256=") {
		t.Errorf("the log = %s, want replay and test, and no signature", body)
	}
}

func TestPacksTellOfHooksAndWarnings(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	_, body := w.do(t, "GET", "/api/v1/packs/demo", "")
	if !strings.Contains(body, `"hooks":["demo.github"`) || strings.Count(body, "verify.secrets has a secret that everybody can read") != 1 || strings.Contains(body, "a literal token") {
		t.Errorf("pack = %s, want its hooks, and a warning without the secret", body)
	}
}

// A hook's URL may be all that it takes to call it: who only looks isn't told.
func TestHookURLsAreForOperators(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t)
	for caller, want := range map[string]bool{"read-only": false, "read-all": false, "operator": true, "admin": true} {
		for _, target := range []string{"/api/v1/hooks", "/api/v1/hooks/demo.open"} {
			_, body := w.do(t, "GET", target, "", "Authorization", "Bearer "+tokens[caller])
			if !strings.Contains(body, `"ref":"demo.open"`) || strings.Contains(body, openKey) != want {
				t.Errorf("GET %s for %s = %s, want the URL: %t", target, caller, body, want)
			}
		}
	}
	if _, body := w.do(t, "GET", "/api/v1/hooks", "", "Authorization", "Bearer "+tokens["other pack"]); body != "{\"items\":[],\"next\":null}\n" {
		t.Errorf("hooks of another pack = %s, want none", body)
	}
}

package api

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"attune/gateway/delivery/deliverytest"
	"attune/gateway/hook"
	"attune/gateway/secret"
)

// signedRequest is what a sender sends, in the bytes of HTTP.
type signedRequest struct {
	name    string // of the hook
	headers map[string]string
	body    string
	media   string
}

// signed makes a request of a sender; at is the time that it signs.
func signed(t *testing.T, sender, key, id, body string, at time.Time) signedRequest {
	t.Helper()
	scheme, ok := hook.Preset(sender)
	if !ok {
		t.Fatalf("no preset %s", sender)
	}
	headers, err := scheme.Sign(key, id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return signedRequest{name: sender, headers: headers, body: body, media: "application/json"}
}

func (r signedRequest) raw(more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "POST /hooks/%s HTTP/1.1\r\n%sContent-Type: %s\r\nContent-Length: %d\r\n", deliverytest.Key(r.name), host, r.media, len(r.body))
	for _, name := range slices.Sorted(maps.Keys(r.headers)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, r.headers[name])
	}
	for _, line := range more {
		b.WriteString(line + "\r\n")
	}
	return b.String() + "\r\n" + r.body
}

// with is a copy with a header changed; empty = taken away.
func (r signedRequest) with(name, value string) signedRequest {
	r.headers = maps.Clone(r.headers)
	r.headers[name] = value
	if value == "" {
		delete(r.headers, name)
	}
	return r
}

func senders(t *testing.T, key string, at time.Time) []signedRequest {
	const id = "d-1"
	var all []signedRequest
	for _, sender := range hook.Presets() {
		// Escapes, spaces and key order that a parser would not give back.
		body := `{"event_id": "d-1", "id":"d-1", "name": "\u0041da",  "x": 1.0}`
		all = append(all, signed(t, sender, key, id, body, at))
	}
	return all
}

func TestProvenDeliveriesAreStored(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.hooks.secrets.Set("demo", "sender_hook_2", "whsec_dGhlIHNlY29uZCBvZiB0d28=")
	for i, key := range []string{deliverytest.Secret, "whsec_dGhlIHNlY29uZCBvZiB0d28="} {
		for _, request := range senders(t, key, time.Now()) {
			a := w.raw(t, request.raw())
			want := fmt.Sprintf(`"delivery_id":"d-1","duplicate":%t`, i == 1)
			if a.status != 202 || !strings.Contains(a.body, want) || !a.kept {
				t.Errorf("%s with secret %d = %d %s, want 202 with %s", request.name, i+1, a.status, a.body, want)
			}
		}
	}
	jobs := w.hooks.queue.Jobs()
	if len(jobs) != len(hook.Presets()) {
		t.Fatalf("%d jobs of %d senders", len(jobs), len(hook.Presets()))
	}
	for _, job := range jobs {
		if string(job.Parameters) != `{"name":"Ada"}` || job.Action != "demo.echo" {
			t.Errorf("job = %+v, want the mapped parameters", job)
		}
	}
}

// One thing is wrong with each of these, and so each is refused; then the right
// one is taken.
func TestUnprovenDeliveriesAreRefused(t *testing.T) {
	t.Parallel()
	for _, request := range senders(t, deliverytest.Secret, time.Now()) {
		t.Run(request.name, func(t *testing.T) {
			t.Parallel()
			w := serve(t, Limits{})
			scheme, _ := hook.Preset(request.name)
			refused := func(what, raw string) {
				t.Helper()
				a := w.raw(t, strings.Replace(raw, "Content-Type:", "X-Canary: "+canary+"\r\nContent-Type:", 1))
				t.Run(what, func(t *testing.T) { a.refused(t, 401, "invalid-signature", true) })
			}
			signature := scheme.Header
			if signature == "" {
				signature = "Webhook-Signature"
			}
			value := request.headers[signature]
			refused("unsigned", request.with(signature, "").raw())
			refused("empty signature", request.with(signature, " ").raw())
			refused("two signatures", request.raw(signature+": "+value))
			refused("another signature first", request.with(signature, strings.ToUpper(value)).raw(signature+": "+value))
			refused("another secret", signed(t, request.name, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSX", "d-1", request.body, time.Now()).raw())
			if scheme.Algorithm != "" {
				changed := request
				changed.body = `{"event_id":"d-1","id":"d-1","name":"Ada","x":1.0}`
				refused("re-encoded body", changed.raw())
				changed.body = request.body + "\n"
				refused("a line break more", changed.raw())
				changed.body = ""
				refused("no body", changed.raw())
				refused("other algorithm", otherAlgorithm(t, request, signature).raw())
			}
			if scheme.Timed {
				for what, at := range map[string]time.Duration{"stale": -310 * time.Second, "future": 310 * time.Second} {
					refused(what, signed(t, request.name, deliverytest.Secret, "d-1", request.body, time.Now().Add(at)).raw())
				}
			}
			if jobs := w.hooks.queue.Jobs(); len(jobs) != 0 {
				t.Errorf("%d jobs of refused deliveries", len(jobs))
			}
			if a := w.raw(t, request.raw()); a.status != 202 {
				t.Errorf("the right one = %d %s, want 202", a.status, a.body)
			}
			entries, _, err := w.hooks.store.Entries(t.Context(), "demo."+request.name, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				if entry.ID == knownExecution {
					continue
				}
				if whole, err := w.hooks.store.Entry(t.Context(), entry.Hook, entry.ID); err != nil || (entry.Outcome == hook.Refused) == (len(whole.Body) > 0) {
					t.Errorf("entry = %+v with %d bytes, %v, want a body of proven ones alone", entry, len(whole.Body), err)
				}
				for name, value := range entry.Headers {
					if strings.Contains(value, request.headers[signature]) {
						t.Errorf("the log has the signature, as %s", name)
					}
				}
			}
		})
	}
}

// otherAlgorithm signs by SHA-1 what asks for SHA-256.
func otherAlgorithm(t *testing.T, request signedRequest, signature string) signedRequest {
	t.Helper()
	scheme, _ := hook.Preset(request.name)
	scheme.Algorithm = "sha1"
	headers, err := scheme.Sign(deliverytest.Secret, "d-1", time.Now(), []byte(request.body))
	if err != nil {
		t.Fatal(err)
	}
	return request.with(signature, headers[signature])
}

// What isn't proven is not even parsed: a body that is no JSON is a matter of its
// signature first.
func TestHookBodies(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{Body: 64 << 10})
	form := url.Values{"payload": {`{"name":"form"}`}}.Encode()
	for i, test := range []struct {
		media, body string
		status      int
		slug        string
	}{
		{"application/json", `{"name":"json"}`, 202, ""},
		{"application/x-www-form-urlencoded", form, 202, ""},
		{"application/x-www-form-urlencoded", "name=fields", 202, ""},
		{"text/plain", "a text", 202, ""},
		{"application/json", `{"name":7}`, 422, "invalid-parameters"},
		{"application/json", `{"name":"` + canary + `"`, 400, "invalid-json"},
		{"application/json", `{"name":"a","name":"` + canary + `"}`, 400, "invalid-json"},
		{"application/json", strings.Repeat("[", 100_00) + canary, 400, "invalid-json"},
		{"application/x-www-form-urlencoded", "a=%zz" + canary, 400, "invalid-json"},
		{"multipart/form-data; boundary=" + canary, "--", 415, "unsupported-media-type"},
		{canary, "--", 415, "unsupported-media-type"},
	} {
		request := signed(t, "github", deliverytest.Secret, fmt.Sprintf("b-%d", i), test.body, time.Now())
		request.media = test.media
		a := w.raw(t, request.raw())
		if test.slug != "" {
			a.refused(t, test.status, test.slug, true)
		} else if a.status != test.status {
			t.Errorf("%s %s = %d %s, want %d", test.media, test.body, a.status, a.body, test.status)
		}
		if a := w.raw(t, request.with("X-Hub-Signature-256", "sha256=00").raw()); a.status != 401 {
			t.Errorf("%s %.80s, unproven = %d %s, want 401", test.media, test.body, a.status, a.body)
		}
	}
	names := map[string]bool{}
	for _, job := range w.hooks.queue.Jobs() {
		names[string(job.Parameters)] = true
	}
	for _, want := range []string{`{"name":"json"}`, `{"name":"form"}`, `{"name":"fields"}`, `{}`} {
		if !names[want] {
			t.Errorf("parameters = %v, want %s among them", names, want)
		}
	}
	gzip := signed(t, "github", deliverytest.Secret, "z", `{}`, time.Now())
	w.raw(t, gzip.raw("Content-Encoding: gzip")).refused(t, 415, "unsupported-encoding", true)
	large := signed(t, "github", deliverytest.Secret, "l", `{"name":"`+strings.Repeat("a", 65<<10)+`"}`, time.Now())
	w.raw(t, large.raw()).refused(t, 413, "body-too-large", false)
}

// The gateway's own trouble is never a proof, and never the sender's fault.
func TestHooksFailClosed(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	request := signed(t, "github", deliverytest.Secret, "d-1", `{"name":"Ada"}`, time.Now())
	unproven := request.with("X-Hub-Signature-256", "sha256=00")
	for name, test := range map[string]struct {
		spoil, repair func()
		slug          string
	}{
		"secret missing": {func() { w.hooks.secrets.Set("demo", "sender_hook", "") },
			func() { w.hooks.secrets.Set("demo", "sender_hook", deliverytest.Secret) }, "secrets-unreadable"},
		"secret too short": {func() { w.hooks.secrets.Set("demo", "sender_hook", "short") },
			func() { w.hooks.secrets.Set("demo", "sender_hook", deliverytest.Secret) }, "secrets-unreadable"},
		"secret of another key": {func() { w.hooks.secrets.Fail(secret.ErrUnreadable) }, func() { w.hooks.secrets.Fail(nil) }, "secrets-unreadable"},
		"secrets away":          {func() { w.hooks.secrets.Fail(fmt.Errorf("gone")) }, func() { w.hooks.secrets.Fail(nil) }, "state-unavailable"},
		"store away":            {func() { w.hooks.store.Fail(fmt.Errorf("gone")) }, func() { w.hooks.store.Fail(nil) }, "state-unavailable"},
	} {
		test.spoil()
		for _, each := range []signedRequest{request, unproven} {
			a := w.raw(t, each.raw())
			a.refused(t, 503, test.slug, true)
			if a.header.Get("Retry-After") == "" || !a.problem.Retryable {
				t.Errorf("%s: %s, want it to be retried", name, a.body)
			}
		}
		test.repair()
	}
	if jobs := w.hooks.queue.Jobs(); len(jobs) != 0 {
		t.Errorf("%d jobs, want none", len(jobs))
	}
	if a := w.raw(t, request.raw()); a.status != 202 {
		t.Errorf("afterwards = %d %s, want 202", a.status, a.body)
	}
}

func TestSlackHandshake(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	body := `{"token":"x","challenge":"` + canary + `","type":"url_verification"}`
	request := signed(t, "slack", deliverytest.Secret, "", body, time.Now())
	if a := w.raw(t, request.raw()); a.status != 200 || a.body != `{"challenge":"`+canary+"\"}\n" || len(w.hooks.queue.Jobs()) != 0 {
		t.Errorf("url_verification = %d %s, want the challenge and no job", a.status, a.body)
	}
	w.raw(t, request.with("X-Slack-Signature", "v0=00").raw()).refused(t, 401, "invalid-signature", true)
	other := signed(t, "github", deliverytest.Secret, "1", body, time.Now())
	if a := w.raw(t, other.raw()); a.status != 202 {
		t.Errorf("the same to another sender's hook = %d %s, want it to be a delivery", a.status, a.body)
	}
}

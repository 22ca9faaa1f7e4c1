package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const callbackSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// TestResultsAreDelivered: a call with a Callback-Url is answered at once, and its
// result arrives, signed, also when the gateway was killed before the receiver
// took it.
func TestResultsAreDelivered(t *testing.T) {
	h := newHome(t)
	h.pack(t, "later", map[string]string{
		"actions/run.yaml": "ref: later.run\nentry_point: run.sh\noutput_format: json\n", "actions/run.sh": "cat\n",
		"actions/fail.yaml": "ref: later.fail\nentry_point: fail.sh\n", "actions/fail.sh": "echo why >&2; exit 3\n",
	})
	var open atomic.Bool
	open.Store(true)
	refused := make(chan struct{}, 100)
	delivered := make(chan string, 100)
	verifier, err := standardwebhooks.NewWebhook(callbackSecret)
	if err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender was killed
		}
		if err := verifier.Verify(body, r.Header); err != nil {
			t.Errorf("Verify() error = %v", err)
		}
		if !open.Load() {
			refused <- struct{}{}
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		delivered <- string(body)
	}))
	defer receiver.Close()
	vars := []string{"ATTUNE__ENGINE=process", "ATTUNE__CALLBACKS__SECRET=" + callbackSecret, "ATTUNE__CALLBACKS__ALLOW=127.0.0.0/8"}
	g := h.launch(t, vars...)
	call := func(action, url string) answer {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/invoke/"+action, strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Callback-Url", url)
		response, err := http.DefaultClient.Do(request)
		return read(t, response, err)
	}
	arrives := func(of answer, kind string) {
		t.Helper()
		if of.status != http.StatusAccepted {
			t.Fatalf("= %d %s", of.status, of.body)
		}
		select {
		case body := <-delivered:
			var message struct {
				Type string
				Data struct {
					ID, Status string
					Result     any
				}
			}
			if err := json.Unmarshal([]byte(body), &message); err != nil || message.Type != kind || message.Data.ID != of.header.Get("Attune-Execution-Id") {
				t.Errorf("%v: %s, want %s of %s", err, body, kind, of.header.Get("Attune-Execution-Id"))
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("nothing has arrived\n%s", g.text())
		}
	}
	arrives(call("later.run", receiver.URL+"/done"), "execution.succeeded")
	arrives(call("later.fail", receiver.URL+"/done"), "execution.failed")
	if a := call("later.run", "https://10.0.0.1/"); a.status != http.StatusBadRequest {
		t.Errorf("to a private address = %d %s", a.status, a.body)
	}
	open.Store(false)
	pending := call("later.run", receiver.URL+"/done")
	<-refused
	eventually(t, 10*time.Second, "it is put off", func() bool { return strings.Contains(g.text(), "callback not delivered") })
	g.kill(t)
	open.Store(true)
	g = h.launch(t, vars...)
	defer g.stop(t)
	arrives(pending, "execution.succeeded")
}

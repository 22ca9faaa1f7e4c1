package callback_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"attune/gateway/callback"
	"attune/gateway/callback/callbacktest"
	"attune/gateway/execution"
	"attune/gateway/queue"
	"attune/gateway/sqlite"
)

const (
	oldSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// receiver is somebody's web server, which proves each webhook by the library of
// Standard Webhooks.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(w http.ResponseWriter, n int) // the nth request, from 1; nil = 204
	got    []*http.Request
	bodies []string
}

func newReceiver(t *testing.T, answer func(http.ResponseWriter, int)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Errorf("read the webhook: %v", err)
		}
		for _, secret := range []string{oldSecret, newSecret} {
			verifier, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Error(err)
				return
			}
			if err := verifier.Verify(body, request.Header); err != nil {
				t.Errorf("Verify() error = %v", err)
			}
			if err := verifier.Verify(append(body, ' '), request.Header); err == nil {
				t.Error("Verify() of another body error = nil")
			}
		}
		r.mu.Lock()
		r.got = append(r.got, request)
		r.bodies = append(r.bodies, string(body))
		n := len(r.got)
		r.mu.Unlock()
		if r.answer == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		r.answer(w, n)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// run starts a courier that may call this machine, until the test ends.
func run(t *testing.T, store callback.Store, change ...func(*callback.Options)) *callback.Courier {
	t.Helper()
	secrets, err := callback.ParseSecrets(newSecret + "\n" + oldSecret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	allow, err := callback.ParseAllow([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	options := callback.Options{Store: store, Secrets: secrets, Guard: &callback.Guard{Allow: allow}}
	for _, f := range change {
		f(&options)
	}
	c := callback.New(options)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() error = %v", err)
		}
	})
	return c
}

func result(id string) *execution.Execution {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	return &execution.Execution{
		ID: id, Action: "demo.echo", Status: execution.StatusSucceeded, EndedAt: &at, Result: json.RawMessage(`{"name":"Ada"}`),
	}
}

func end(t *testing.T, c *callback.Courier, id, url string) {
	t.Helper()
	if err := c.Ended(t.Context(), queue.Job{ID: id, Callback: url}, result(id)); err != nil {
		t.Fatalf("Ended(%s) error = %v", id, err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.After(10 * time.Second); !holds(); {
		select {
		case <-limit:
			t.Fatalf("not within 10 s: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestResultArrivesSigned(t *testing.T) {
	t.Parallel()
	r, store := newReceiver(t, nil), callbacktest.NewMemory()
	c := run(t, store)
	end(t, c, "01A", r.URL+"/done?x=1")
	eventually(t, "the delivery is done", func() bool { return store.Len() == 0 && r.count() == 1 })
	request := r.got[0]
	if request.Method != "POST" || request.URL.String() != "/done?x=1" || request.Header.Get("Webhook-Id") != "01A" ||
		request.Header.Get("Content-Type") != "application/json" || request.Header.Get("User-Agent") != "attune" {
		t.Errorf("%s %s %v", request.Method, request.URL, request.Header)
	}
	var message struct {
		Type      string
		Timestamp time.Time
		Data      execution.Execution
	}
	if err := json.Unmarshal([]byte(r.bodies[0]), &message); err != nil {
		t.Fatal(err)
	}
	if message.Type != "execution.succeeded" || !message.Timestamp.Equal(*result("").EndedAt) || message.Data.ID != "01A" || string(message.Data.Result) != `{"name":"Ada"}` {
		t.Errorf("body = %s", r.bodies[0])
	}
	if err := c.Ended(t.Context(), queue.Job{ID: "01B"}, result("01B")); err != nil || store.Len() != 0 {
		t.Errorf("Ended() of a job without a callback: %v, %d deliveries", err, store.Len())
	}
}

func TestFailedDeliveriesAreRepeated(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(w http.ResponseWriter, n int) {
		switch {
		case n == 2:
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		case n < 5:
			w.WriteHeader(map[int]int{1: 500, 3: 404, 4: 302}[n])
		}
	})
	store := callbacktest.NewMemory()
	end(t, run(t, store), "01A", r.URL)
	eventually(t, "the delivery is done", func() bool { store.Hurry(); return store.Len() == 0 })
	if r.count() < 5 {
		t.Fatalf("%d attempts, want 5", r.count())
	}
	for i, request := range r.got {
		if request.Header.Get("Webhook-Id") != "01A" || r.bodies[i] != r.bodies[0] {
			t.Errorf("attempt %d is %s %s", i+1, request.Header.Get("Webhook-Id"), r.bodies[i])
		}
	}
	for i, expected := range []time.Duration{5 * time.Second, time.Hour, 45 * time.Second, 135 * time.Second} {
		wait := store.Waits()[i]
		if wait < expected*2/3 || wait > expected*4/3 {
			t.Errorf("wait %d = %v, want about %v", i+1, wait, expected)
		}
	}
}

func TestGivenUp(t *testing.T) {
	t.Parallel()
	t.Run("410", func(t *testing.T) {
		t.Parallel()
		r := newReceiver(t, func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusGone) })
		store := callbacktest.NewMemory()
		end(t, run(t, store), "01A", r.URL)
		eventually(t, "it is given up", func() bool { return store.Len() == 0 })
		if r.count() != 1 {
			t.Errorf("%d attempts", r.count())
		}
	})
	t.Run("a day", func(t *testing.T) {
		t.Parallel()
		var late atomic.Bool
		r := newReceiver(t, func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusServiceUnavailable) })
		store := callbacktest.NewMemory()
		c := run(t, store, func(o *callback.Options) {
			o.Now = func() time.Time {
				if late.Load() {
					return time.Now().Add(24 * time.Hour)
				}
				return time.Now()
			}
		})
		end(t, c, "01A", r.URL)
		eventually(t, "it is put off", func() bool { return len(store.Waits()) == 1 })
		// Not the receiver's clock: it would refuse the signature.
		r.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
		late.Store(true)
		store.Hurry()
		eventually(t, "it is given up", func() bool { store.Hurry(); return store.Len() == 0 })
	})
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var inside atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside.Add(1) }))
	defer target.Close()
	for _, to := range []string{target.URL, "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd"} {
		r := newReceiver(t, func(w http.ResponseWriter, _ int) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		store := callbacktest.NewMemory()
		end(t, run(t, store), "01A", r.URL)
		eventually(t, "it failed", func() bool { return len(store.Waits()) == 1 })
	}
	if inside.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

// A receiver can't hold a courier up, or fill its memory.
func TestReceiversThatSayTooMuch(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(http.ResponseWriter, int){
		"endless body": func(w http.ResponseWriter, _ int) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		"large headers": func(w http.ResponseWriter, _ int) { w.Header().Set("X", strings.Repeat("a", 64<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, store := newReceiver(t, answer), callbacktest.NewMemory()
			end(t, run(t, store), "01A", r.URL)
			eventually(t, "there is an end", func() bool { return store.Len() == 0 || len(store.Waits()) == 1 })
			if done := store.Len() == 0; done != (name == "endless body") { // a status is an answer
				t.Errorf("done = %t", done)
			}
		})
	}
}

// Without the operator's word nothing inside is called, however long it is tried.
func TestPrivateAddressesAreRefused(t *testing.T) {
	t.Parallel()
	r, store := newReceiver(t, nil), callbacktest.NewMemory()
	c := run(t, store, func(o *callback.Options) { o.Guard = nil })
	port := r.URL[strings.LastIndexByte(r.URL, ':'):]
	if err := c.Check("https://127.0.0.1" + port); !errors.Is(err, callback.ErrForbidden) {
		t.Errorf("Check() error = %v", err)
	}
	for i, url := range []string{r.URL, "https://127.0.0.1" + port, "https://localhost" + port} {
		end(t, c, "01A"+string(rune('0'+i)), url)
	}
	eventually(t, "all have failed", func() bool { return len(store.Waits()) == 3 })
	if r.count() != 0 {
		t.Errorf("%d requests got through", r.count())
	}
}

// What was stored is delivered by the next process.
func TestDeliveriesSurviveARestart(t *testing.T) {
	t.Parallel()
	r, path := newReceiver(t, nil), filepath.Join(t.TempDir(), "attune.db")
	store, err := sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	silent := callback.New(callback.Options{Store: store.Callbacks(), Secrets: [][]byte{[]byte("x")}})
	for range 2 { // the queue died before it knew
		end(t, silent, "01A", r.URL)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store, err = sqlite.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	run(t, store.Callbacks())
	eventually(t, "it is delivered", func() bool { return r.count() == 1 })
}

func TestCouriersShareTheWork(t *testing.T) {
	t.Parallel()
	r, store := newReceiver(t, nil), callbacktest.NewMemory()
	a, b := run(t, store), run(t, store)
	for i := range 200 {
		end(t, []*callback.Courier{a, b}[i%2], "01A"+string(rune('A'+i%26))+string(rune('a'+i/26)), r.URL)
	}
	eventually(t, "all are delivered", func() bool { return store.Len() == 0 })
	seen := map[string]int{}
	for _, request := range r.got {
		seen[request.Header.Get("Webhook-Id")]++
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was delivered %d times", id, times)
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d of 200 were delivered", len(seen))
	}
}

// What is being sent when the gateway stops is sent again later.
func TestStoppedInTheMiddle(t *testing.T) {
	t.Parallel()
	reached, release := make(chan struct{}), make(chan struct{})
	r := newReceiver(t, func(http.ResponseWriter, int) { close(reached); <-release })
	defer close(release)
	store := callbacktest.NewMemory()
	t.Run("send", func(t *testing.T) {
		end(t, run(t, store), "01A", r.URL)
		<-reached
	})
	if store.Len() != 1 || len(store.Waits()) != 0 {
		t.Errorf("%d deliveries are left, put off %v", store.Len(), store.Waits())
	}
}

func TestParseSecrets(t *testing.T) {
	t.Parallel()
	long := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))
	for text, want := range map[string]int{
		newSecret: 1, "# first\n" + newSecret + "\n\n" + oldSecret + "\n": 2, newSecret + "," + oldSecret: 2,
		"": 0, "#\n": 0, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw": 0, "whsec_": 0, "whsec_c2hvcnQ=": 0, "whsec_%%%": 0, long: 0,
		newSecret + "\nsecret": 0,
	} {
		got, err := callback.ParseSecrets(text)
		if len(got) != want || (err == nil) != (want > 0) {
			t.Errorf("ParseSecrets(%q) = %d secrets, %v, want %d", text, len(got), err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret\n") {
			t.Errorf("ParseSecrets(%q) error quotes it: %v", text, err)
		}
	}
}

package api

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/execution"
)

func TestInvokeAnswersWithTheResultItself(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct{ action, output, media string }{
		{"demo.echo", `{"a":1}`, "application/json"},
		{"demo.say", "<script>alert(1)</script>\n", "text/plain; charset=utf-8"},
		{"demo.rows", "{\"a\":1}\n{\"a\":2}\n", "application/x-ndjson"},
	} {
		w.invoker.do(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
			return succeeded(r, []byte(test.output), test.media), nil
		})
		response, body := w.do(t, "POST", "/invoke/"+test.action, "")
		if response.StatusCode != http.StatusOK || body != test.output {
			t.Errorf("POST /invoke/%s = %d %q, want 200 %q", test.action, response.StatusCode, body, test.output)
		}
		seen := w.invoker.requests()
		want := map[string]string{
			"Content-Type":           test.media,
			"Attune-Execution-Id":    seen[len(seen)-1].ID,
			"Server-Timing":          "auth;dur=0, validate;dur=0.125, queue;dur=0.250, environment;dur=1.500, start;dur=0.000, run;dur=2.000",
			"Cache-Control":          "no-store",
			"X-Content-Type-Options": "nosniff",
		}
		for name, value := range want {
			got := response.Header.Get(name)
			if name == "Server-Timing" { // how long it took to find out that there are no keys
				got = regexp.MustCompile(`^auth;dur=\d+\.\d{3}`).ReplaceAllString(got, "auth;dur=0")
			}
			if got != value {
				t.Errorf("POST /invoke/%s: %s = %q, want %q", test.action, name, got, value)
			}
		}
	}
}

func TestInvokePassesTheBodyAsItIs(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, mediaType := range []string{
		"", "application/json", "application/json; charset=UTF-8", "application/vnd.demo+json", "application/x-www-form-urlencoded", "APPLICATION/JSON",
	} {
		body := `{ "name" : "` + mediaType + `" }`
		header := []string{"Content-Encoding", "identity"}
		if mediaType != "" {
			header = append(header, "Content-Type", mediaType)
		}
		response, answer := w.do(t, "POST", "/invoke/demo.echo", body, header...)
		if response.StatusCode != http.StatusOK {
			t.Errorf("Content-Type %q = %d %s, want 200", mediaType, response.StatusCode, answer)
		}
		seen := w.invoker.requests()
		got := seen[len(seen)-1]
		if string(got.Body) != body || got.Action != "demo.echo" || got.Timeout != 0 || got.Arrived.IsZero() || got.ID == "" {
			t.Errorf("request = %+v, want the body %s and no limit", got, body)
		}
	}
}

func TestInvokeRefusesBodiesOfOtherKinds(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	bomb := strings.Repeat("\x00", 1000)
	for _, test := range []struct{ header, slug string }{
		{"Content-Type: text/plain", "unsupported-media-type"},
		{"Content-Type: multipart/form-data; boundary=" + canary, "unsupported-media-type"},
		{"Content-Type: application/json; charset=utf-16", "unsupported-media-type"},
		{"Content-Type: application/json; charset=" + canary, "unsupported-media-type"},
		{"Content-Type: application/cloudevents-batch+json", "unsupported-media-type"},
		{"Content-Type: application/" + canary, "unsupported-media-type"},
		{"Content-Type: ;;" + canary, "unsupported-media-type"},
		{"Content-Encoding: gzip", "unsupported-encoding"},
		{"Content-Encoding: gzip, gzip", "unsupported-encoding"},
		{"Content-Encoding: " + canary, "unsupported-encoding"},
	} {
		a := w.raw(t, fmt.Sprintf("POST /invoke/demo.echo HTTP/1.1\r\n%s%s\r\nContent-Length: %d\r\n\r\n%s", host, test.header, len(bomb), bomb))
		t.Run(test.header, func(t *testing.T) { a.refused(t, 415, test.slug, true) })
	}
	w.works(t)
}

func TestInvokeRefusesHeadersThatItCanNotHonour(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		header string
		status int
		slug   string
		kept   bool
	}{
		{"Idempotency-Key: " + canary, 400, "invalid-header", true},
		{"Idempotency-Key:", 400, "invalid-header", true},
		{"idempotency-key: \xff", 400, "invalid-header", true},
		{"Callback-Url: http://" + canary, 400, "invalid-header", true},
		{"ce-specversion: 1.0", 400, "invalid-event", true},
		{"Prefer: wait=0", 400, "invalid-header", true},
		{"Prefer: wait=-1", 400, "invalid-header", true},
		{"Prefer: wait=" + canary, 400, "invalid-header", true},
		{"Prefer: wait", 400, "invalid-header", true},
		{"Prefer: wait=1e9", 400, "invalid-header", true},
		{"Content-Type: application/json\r\nContent-Type: text/" + canary, 400, "invalid-header", false},
		{"Authorization: a\r\nAuthorization: " + canary, 400, "invalid-header", false},
		{"Accept: text/html", 406, "not-acceptable", true},
		{"Accept: " + canary, 406, "not-acceptable", true},
		{"Accept: application/json;q=0", 406, "not-acceptable", true},
		{"Accept: application/json;q=0, */*", 406, "not-acceptable", true},
		{"Accept: application/json;q=" + canary, 406, "not-acceptable", true},
		{"Accept: text/event-stream;q=0", 406, "not-acceptable", true},
		{"Accept: text/*", 406, "not-acceptable", true},
		{"Sec-Fetch-Site: cross-site", 403, "forbidden", true},
		{"Sec-Fetch-Site: same-site", 403, "forbidden", true},
		{"Origin: https://" + canary, 403, "forbidden", true},
		{"Origin: null", 403, "forbidden", true},
		{"Sec-Fetch-Site: same-origin\r\nOrigin: https://" + canary, 403, "forbidden", true},
		// A name that a page has bound to the gateway's address.
		{"Sec-Fetch-Site: same-origin", 403, "forbidden", true},
		{"Origin: http://h", 403, "forbidden", true},
	} {
		a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+test.header+"\r\nContent-Length: 2\r\n\r\n{}")
		t.Run(test.header, func(t *testing.T) { a.refused(t, test.status, test.slug, test.kept) })
	}
	if got := len(w.invoker.requests()); got != 0 {
		t.Errorf("%d refused calls ran", got)
	}
	w.works(t)
}

func TestInvokeAcceptsWhatItCan(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, header := range []string{
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
		"Accept: application/*",
		"Accept: APPLICATION/JSON",
		"Accept: application/json;q=0.1, */*;q=0",
		"Accept: text/html\r\nAccept: application/json",
		"Prefer: handling=lenient\r\nRange: " + strings.Repeat("bytes=0-1,", 1000),
		"Sec-Fetch-Site: same-origin\r\nOrigin: http://127.0.0.1",
		"Sec-Fetch-Site: none",
		"Origin: http://127.0.0.1",
		"If-None-Match: *",
		"Upgrade: websocket",
	} {
		a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\nHost: 127.0.0.1\r\n"+header+"\r\nContent-Length: 2\r\n\r\n{}")
		if a.status != http.StatusOK || !a.kept {
			t.Errorf("%s = %d %s, want 200", header, a.status, a.body)
		}
	}
}

func TestCallersLimit(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		query string
		want  time.Duration
	}{
		{"", 0},
		{"?timeout=30", 30 * time.Second},
		{"?timeout=1.5", 1500 * time.Millisecond},
		{"?timeout=250ms", 250 * time.Millisecond},
		{"?timeout=999999999", 999999999 * time.Second}, // the runner knows the cap
	} {
		response, body := w.do(t, "POST", "/invoke/demo.echo"+test.query, "")
		seen := w.invoker.requests()
		if got := seen[len(seen)-1].Timeout; response.StatusCode != http.StatusOK || got != test.want {
			t.Errorf("%s: limit = %v, want %v\n%s", test.query, got, test.want, body)
		}
	}
	for _, bad := range []string{"0", "-1", "1e9", "abc", "", "0s", "-5s", "1000h1", "NaN", "inf", "%2B5", "5%00", "9999999999999999999", "3000000h", "1,5"} {
		a := w.raw(t, "POST /invoke/demo.echo?timeout="+bad+" HTTP/1.1\r\n"+host+"\r\n")
		t.Run("timeout="+bad, func(t *testing.T) { a.refused(t, 400, "invalid-query", true) })
	}
}

// Row 18, with the pack's own schema behind the invoker.
func TestInvokeBodies(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		name, body string
		status     int
		slug       string
	}{
		{"empty", "", 200, ""},
		{"empty object", "{}", 200, ""},
		{"truncated", `{"name":"` + canary, 400, "invalid-json"},
		{"trailing garbage", `{"name":"x"}` + canary, 400, "invalid-json"},
		{"two documents", `{"name":"x"}{"name":"` + canary + `"}`, 400, "invalid-json"},
		{"BOM", "\ufeff{}", 400, "invalid-json"},
		{"NUL", "{}\x00", 400, "invalid-json"},
		{"nested", strings.Repeat("[", 100_000), 400, "invalid-json"},
		{"wrong type", `{"name":["` + canary + `"]}`, 422, "invalid-parameters"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := w.raw(t, fmt.Sprintf("POST /invoke/demo.echo HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", host, len(test.body), test.body))
			if test.status == http.StatusOK {
				if a.status != http.StatusOK {
					t.Errorf("answer = %d %s, want 200", a.status, a.body)
				}
				return
			}
			a.refused(t, test.status, test.slug, true)
			if test.slug == "invalid-parameters" && (len(a.problem.Errors) != 1 || *a.problem.Errors[0].Pointer != "/name") {
				t.Errorf("errors = %+v, want one at /name", a.problem.Errors)
			}
		})
	}
	w.works(t)
}

// What is read from a request must not change when the next one reuses its
// buffers.
func TestRequestsDoNotShareMemory(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 16
	const workers, each = 16, 125
	var together sync.WaitGroup // all workers' first calls overlap
	together.Add(workers)
	var first atomic.Int64
	w.invoker.do(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		if first.Add(1) <= workers {
			together.Done()
			together.Wait()
		}
		return succeeded(r, r.Body, "application/json"), nil
	})
	want := map[string]string{}
	for i := range workers * each {
		want[fmt.Sprintf(`{"name":"%06d"}`, i)] = []string{"demo.echo", "demo.rows", "demo.say"}[i%3]
	}
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for n := range each {
				body := fmt.Sprintf(`{"name":"%06d"}`, worker*each+n)
				if _, got := w.do(t, "POST", "/invoke/"+want[body], body); got != body {
					t.Errorf("answer = %s, want %s", got, body)
				}
			}
		})
	}
	wg.Wait()
	got, ids := map[string]string{}, map[string]bool{}
	for _, r := range w.invoker.requests() {
		got[string(r.Body)] = r.Action
		ids[r.ID] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests kept until now (-sent +kept):\n%s", diff)
	}
	if len(ids) != workers*each {
		t.Errorf("%d different IDs, want %d", len(ids), workers*each)
	}
}

// Ensure the times are those that fmt would write.
func TestServerTiming(t *testing.T) {
	t.Parallel()
	for _, ms := range []float64{0, 0.001, 0.25, 1.5, 12.34, 999.999, 123456.789} {
		want := fmt.Sprintf("auth;dur=1.500, validate;dur=0.000, queue;dur=%.3f, environment;dur=0.000, start;dur=%.3f, run;dur=2.000", ms, ms)
		if got := serverTiming(1500*time.Microsecond, execution.Timing{Queue: ms, Start: ms, Run: 2}); got != want {
			t.Errorf("serverTiming(%v) = %q, want %q", ms, got, want)
		}
	}
}

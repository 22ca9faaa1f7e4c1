package api

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/execution"
)

func TestBrokenPackListsAllItsFaults(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	_, body := w.do(t, "GET", "/api/v1/packs/broken", "")
	var got packPayload
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if got.State != "broken" || len(got.Faults) < 2 {
		t.Errorf("GET /api/v1/packs/broken = %s, want state broken and its two faults", body)
	}
	if strings.Contains(body, t.TempDir()) || strings.Contains(body, "/tmp") {
		t.Errorf("GET /api/v1/packs/broken = %s, want no absolute path", body)
	}
}

func TestPackAndActionStates(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for target, want := range map[string]string{
		"/api/v1/packs/demo":         `"state":"ready"`,
		"/api/v1/packs/asleep":       `"state":"disabled"`,
		"/api/v1/actions/demo.off":   `"enabled":false`,
		"/api/v1/actions/asleep.nap": `"enabled":false`,
		"/api/v1/actions/demo.echo":  `"enabled":true`,
		"/api/v1/actions/demo.rows":  `"media_type":"application/x-ndjson"`,
		"/api/v1/actions/demo.say":   `"media_type":"text/plain; charset=utf-8"`,
	} {
		if _, body := w.do(t, "GET", target, ""); !strings.Contains(body, want) {
			t.Errorf("GET %s = %s, want it to have %s", target, body, want)
		}
	}
}

func TestExecutionsAreSelectedAndPaged(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	_, body := w.do(t, "GET", "/api/v1/executions?action=demo.echo&status=timed_out&since=2026-11-24T08:00:00%2B01:00&limit=200&cursor=second", "")
	if want := `{"items":[],"next":null}` + "\n"; body != want {
		t.Errorf("second page = %s, want %s", body, want)
	}
	want := execution.Query{
		Action: "demo.echo", Status: execution.StatusTimedOut, Cursor: "second", Limit: 200,
		Since: time.Date(2026, 11, 24, 7, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, w.store.query()); diff != "" {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	for _, query := range []string{
		"action=" + canary, "action=..", "action=", "status=" + canary, "status=", "since=yesterday", "since=2026-11-24",
		"limit=0", "limit=-1", "limit=201", "limit=" + canary, "limit=", "cursor=" + canary, "cursor=",
	} {
		a := w.raw(t, "GET /api/v1/executions?"+query+" HTTP/1.1\r\n"+host+"\r\n")
		t.Run(query, func(t *testing.T) { a.refused(t, 400, "invalid-query", true) })
	}
}

func TestStoreAwayIsRetryableAndQuiet(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.store.fail(errors.New("dial /var/run/" + canary))
	for _, target := range []string{"/api/v1/executions", "/api/v1/executions/" + knownExecution} {
		a := w.raw(t, "GET "+target+" HTTP/1.1\r\n"+host+"\r\n")
		a.refused(t, 503, "state-unavailable", true)
		if !a.problem.Retryable || a.header.Get("Retry-After") != "1" {
			t.Errorf("GET %s: retryable = %v, Retry-After = %q, want a retry after 1 s", target, a.problem.Retryable, a.header.Get("Retry-After"))
		}
	}
	if !strings.Contains(w.log.String(), "dial /var/run/"+canary) {
		t.Error("the log does not have the cause")
	}
	w.store.fail(nil)
	w.works(t)
}

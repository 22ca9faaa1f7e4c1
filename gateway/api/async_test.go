package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

const acceptedPath = "/api/v1/executions/"

func TestRespondAsync(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		query string
		want  queue.Job
		delay time.Duration
	}{
		{"", queue.Job{}, 0},
		{"?timeout=30", queue.Job{Timeout: 30 * time.Second}, 0},
		{"?priority=high&delay=90", queue.Job{Priority: queue.PriorityHigh}, 90 * time.Second},
		{"?priority=low&delay=1h", queue.Job{Priority: queue.PriorityLow}, time.Hour},
		{"?priority=normal", queue.Job{}, 0},
	} {
		response, body := w.do(t, "POST", "/invoke/demo.echo"+test.query, `{"name":"Ada"}`, "Prefer", "handling=lenient, Respond-Async; x=y")
		var x execution.Execution
		if err := json.Unmarshal([]byte(body), &x); err != nil {
			t.Fatalf("%s = %d %s", test.query, response.StatusCode, body)
		}
		header := response.Header
		if response.StatusCode != 202 || x.Status != execution.StatusQueued || header.Get("Location") != acceptedPath+x.ID ||
			header.Get("Attune-Execution-Id") != x.ID || header.Get("Preference-Applied") != "respond-async" || header.Get("Content-Type") != jsonMedia {
			t.Errorf("%s = %d %v %s, want 202 with where the execution is", test.query, response.StatusCode, header, body)
		}
		jobs := w.queue.submitted()
		j := jobs[len(jobs)-1]
		if j.ID != x.ID || j.Action != "demo.echo" || string(j.Parameters) != `{"name":"Ada"}` || j.Source != "http" ||
			j.Priority != test.want.Priority || j.Timeout != test.want.Timeout {
			t.Errorf("%s: job = %+v", test.query, j)
		}
		if wait := time.Until(j.NotBefore); test.delay > 0 && (wait > test.delay || wait < test.delay-time.Minute) || test.delay == 0 && !j.NotBefore.IsZero() {
			t.Errorf("%s: not before %v, want in %v", test.query, j.NotBefore, test.delay)
		}
	}
}

func TestWait(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.queue.takes = 5 * time.Second
	for _, test := range []struct {
		prefer, applied string
		status          int
	}{
		{"wait=10", "wait=10", 200},
		{`respond-async, wait="7"; x=y`, "respond-async, wait=7", 200},
		{"WAIT=9, wait=4", "wait=4", 202},
		{"respond-async, wait=1", "respond-async, wait=1", 202},
	} {
		response, body := w.do(t, "POST", "/invoke/demo.echo", `{"name":"Ada"}`, "Prefer", test.prefer)
		if response.StatusCode != test.status || response.Header.Get("Preference-Applied") != test.applied || response.Header.Get("Attune-Execution-Id") == "" {
			t.Errorf("Prefer: %s = %d %v, want %d", test.prefer, response.StatusCode, response.Header, test.status)
		}
		if want := map[int]string{200: `{"name":"Ada"}`, 202: `"status":"queued"`}[test.status]; !strings.Contains(body, want) {
			t.Errorf("Prefer: %s = %s, want %s", test.prefer, body, want)
		}
	}
	// A failure in time is the answer that the call would have had otherwise.
	w.queue.takes = 0
	w.invoker.do(func(_ context.Context, request execution.Request) (*execution.Outcome, error) {
		x := &execution.Execution{ID: request.ID, Action: request.Action, Status: execution.StatusFailed}
		return &execution.Outcome{Execution: x}, failure(execution.CodeActionFailed, "action", "run", "exit code 1")
	})
	response, body := w.do(t, "POST", "/invoke/demo.echo", "", "Prefer", "wait=10")
	if response.StatusCode != 502 || !strings.Contains(body, "action-failed") || response.Header.Get("Attune-Execution-Id") == "" {
		t.Errorf("a call that fails = %d %s", response.StatusCode, body)
	}
}

func TestAsyncRefusals(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for _, test := range []struct {
		target, header string
		status         int
		slug           string
	}{
		{"?delay=5", "", 400, "invalid-query"},
		{"?priority=high", "", 400, "invalid-query"},
		{"?delay=5", "Accept: text/event-stream\r\nPrefer: respond-async\r\n", 400, "invalid-query"},
		{"?delay=0", "Prefer: respond-async\r\n", 400, "invalid-query"},
		{"?delay=" + canary, "Prefer: respond-async\r\n", 400, "invalid-query"},
		{"?delay=31d", "Prefer: respond-async\r\n", 400, "invalid-query"},
		{"?delay=721h", "Prefer: respond-async\r\n", 400, "invalid-query"},
		{"?priority=" + canary, "Prefer: respond-async\r\n", 400, "invalid-query"},
		{"?priority=", "Prefer: respond-async\r\n", 400, "invalid-query"},
	} {
		a := w.raw(t, "POST /invoke/demo.echo"+test.target+" HTTP/1.1\r\n"+host+test.header+"Content-Length: 2\r\n\r\n{}")
		t.Run(test.target+test.header, func(t *testing.T) { a.refused(t, test.status, test.slug, true) })
	}
	if got := len(w.queue.submitted()); got != 0 {
		t.Errorf("%d refused calls were stored", got)
	}
	w.queue.fail(refuseForNow(execution.CodeStateUnavailable, "away", time.Second))
	response, body := w.do(t, "POST", "/invoke/demo.echo", "", "Prefer", "respond-async")
	if response.StatusCode != 503 || !strings.Contains(body, "state-unavailable") || response.Header.Get("Retry-After") != "1" {
		t.Errorf("with the store away = %d %s", response.StatusCode, body)
	}
}

func TestExecute(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	response, body := w.do(t, "POST", acceptedPath+"execute",
		`{"action_ref":"demo.echo","parameters":{"name":"Ada"},"timeout":"5","delay":"1h","priority":"low"}`, "Content-Type", jsonMedia)
	jobs := w.queue.submitted()
	if response.StatusCode != 201 || len(jobs) != 1 || response.Header.Get("Location") != acceptedPath+jobs[0].ID {
		t.Fatalf("execute = %d %s", response.StatusCode, body)
	}
	if j := jobs[0]; string(j.Parameters) != `{"name":"Ada"}` || j.Timeout != 5*time.Second || j.Priority != queue.PriorityLow || time.Until(j.NotBefore) < 50*time.Minute {
		t.Errorf("job = %+v", j)
	}
	for _, test := range []struct {
		body   string
		status int
		slug   string
	}{
		{`{}`, 422, "invalid-parameters"},
		{`{"action_ref":"` + canary + `"}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.echo","parameters":[]}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.echo","parameters":null}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.echo","timeout":"0"}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.echo","delay":"-1"}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.echo","priority":"` + canary + `"}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.echo","env_vars":{}}`, 422, "invalid-parameters"},
		{`{"action_ref":"demo.gone"}`, 404, "not-found"},
		{`{"action_ref":"demo.off"}`, 404, "not-found"},
		{`{"action_ref":`, 400, "invalid-json"},
	} {
		response, body := w.do(t, "POST", acceptedPath+"execute", test.body, "Content-Type", jsonMedia)
		if response.StatusCode != test.status || !strings.Contains(body, `"/problems/`+test.slug+`"`) || strings.Contains(body, canary) {
			t.Errorf("execute %s = %d %s, want %d %s", test.body, response.StatusCode, body, test.status, test.slug)
		}
	}
}

func TestCancelAndRetry(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	response, body := w.do(t, "POST", acceptedPath+waitingExecution+"/cancel", "")
	if response.StatusCode != 200 || !strings.Contains(body, `"status":"cancelled"`) {
		t.Errorf("cancel of a job that waits = %d %s", response.StatusCode, body)
	}
	response, body = w.do(t, "POST", acceptedPath+knownExecution+"/retry", "")
	if response.StatusCode != 409 || !strings.Contains(body, "/problems/execution-not-kept") {
		t.Errorf("retry of a call that was answered = %d %s", response.StatusCode, body)
	}
	response, _ = w.do(t, "POST", acceptedPath+unknownExecution+"/retry", "")
	if response.StatusCode != 404 {
		t.Errorf("retry of nothing = %d", response.StatusCode)
	}
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	response, body := w.do(t, "GET", "/api/v1/dead", "")
	var list struct {
		Items []letterPayload
		Next  string
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || response.StatusCode != 200 || len(list.Items) != 1 || list.Next == "" {
		t.Fatalf("list = %d %s", response.StatusCode, body)
	}
	letter := list.Items[0]
	if letter.ID != deadExecution || letter.Status != execution.StatusDead || letter.Source != "hook:demo.paid" || letter.Priority != "high" ||
		letter.Attempt != 3 || letter.Error.Code != execution.CodeActionFailed || letter.Parameters != nil {
		t.Errorf("letter in a list = %+v", letter)
	}
	_, body = w.do(t, "GET", "/api/v1/dead?cursor="+list.Next, "")
	if !strings.Contains(body, `{"items":[],"next":null}`) {
		t.Errorf("second page = %s, want none", body)
	}
	for _, query := range []string{"limit=0", "limit=201", "limit=x", "cursor=", "cursor=" + canary, "cursor=AAAA"} {
		a := w.raw(t, "GET /api/v1/dead?"+query+" HTTP/1.1\r\n"+host+"\r\n")
		t.Run(query, func(t *testing.T) { a.refused(t, 400, "invalid-query", true) })
	}
	for _, what := range []string{"GET ", "DELETE ", "POST /redrive"} {
		method, verb, _ := strings.Cut(what, " ")
		response, body := w.do(t, method, "/api/v1/dead/"+unknownExecution+verb, "")
		if response.StatusCode != http.StatusNotFound || !strings.Contains(body, "no such dead letter") {
			t.Errorf("%s of nothing = %d %s", what, response.StatusCode, body)
		}
	}
}

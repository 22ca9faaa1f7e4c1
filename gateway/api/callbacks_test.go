package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/callback"
	"attune/gateway/callback/callbacktest"
	"attune/gateway/execution"
	"attune/gateway/idempotency"
	"attune/gateway/idempotency/idempotencytest"
	"attune/gateway/queue"
)

// jobBox keeps a Submitter's contract in memory, and runs nothing.
type jobBox struct {
	Queue
	mu   sync.Mutex
	jobs map[string]queue.Job
	err  error // of the next call
	lose bool  // with err: the job is stored all the same
}

func (f *jobBox) Submit(_ context.Context, job queue.Job) (*execution.Execution, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.err
	f.err = nil
	if err != nil && !f.lose {
		return nil, err
	}
	if _, again := f.jobs[job.ID]; !again {
		f.jobs[job.ID] = job
	}
	if err != nil {
		return nil, err
	}
	return &execution.Execution{ID: job.ID, Action: job.Action, Status: execution.StatusQueued}, nil
}

func (f *jobBox) Call(ctx context.Context, job queue.Job, _ time.Duration) (*execution.Execution, *execution.Outcome, error) {
	x, err := f.Submit(ctx, job)
	return x, nil, err
}

func (f *jobBox) fail(err error, lose bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err, f.lose = err, lose
}

func (f *jobBox) stored() []queue.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	var jobs []queue.Job
	for _, job := range f.jobs {
		jobs = append(jobs, job)
	}
	return jobs
}

func withQueue(t *testing.T) (*world, *jobBox) {
	t.Helper()
	q := &jobBox{jobs: map[string]queue.Job{}}
	keys := &idempotency.Keys{Store: idempotencytest.NewMemory(), Lease: time.Hour, Keep: time.Hour, Bytes: 1 << 10}
	courier := callback.New(callback.Options{Store: callbacktest.NewMemory()})
	return serve(t, Limits{}, func(o *Options) {
		q.Queue = o.Queue
		o.Queue, o.Callbacks, o.Idempotency = q, courier, keys
	}), q
}

func TestCallbackMakesAJob(t *testing.T) {
	t.Parallel()
	w, q := withQueue(t)
	response, body := w.do(t, "POST", "/invoke/demo.say?timeout=7", `{"a":1}`, "Callback-Url", "https://example.org/done?x=1", "Accept", "application/json")
	jobs := q.stored()
	if response.StatusCode != http.StatusAccepted || len(jobs) != 1 {
		t.Fatalf("= %d %s, %d jobs", response.StatusCode, body, len(jobs))
	}
	job := jobs[0]
	if job.Action != "demo.say" || string(job.Parameters) != `{"a":1}` || job.Source != "http" || job.Timeout != 7*time.Second || job.Callback != "https://example.org/done?x=1" {
		t.Errorf("job = %+v", job)
	}
	var summary struct{ ID, Status string }
	if err := json.Unmarshal([]byte(body), &summary); err != nil || summary.ID != job.ID || summary.Status != "queued" {
		t.Errorf("body = %s, %v", body, err)
	}
	if got := response.Header; got.Get("Location") != "/api/v1/executions/"+job.ID || got.Get("Attune-Execution-Id") != job.ID || got.Get("Content-Type") != "application/json" {
		t.Errorf("header = %v", got)
	}
	if got := response.Header.Get("Preference-Applied"); got != "" {
		t.Errorf("Preference-Applied = %q, and nothing was preferred", got)
	}
	if n := len(w.invoker.requests()); n != 0 {
		t.Errorf("it ran %d times at once", n)
	}
}

func TestCallbackURLsThatAreRefused(t *testing.T) {
	t.Parallel()
	w, q := withQueue(t)
	for _, header := range []string{
		"Callback-Url:", "Callback-Url: " + canary, "Callback-Url: http://" + canary + ".example/", "Callback-Url: https://127.0.0.1/" + canary,
		"Callback-Url: https://169.254.169.254/" + canary, "Callback-Url: https://[::ffff:127.0.0.1]/", "Callback-Url: https://2130706433/",
		"Callback-Url: https://u:p@" + canary + ".example/",
		"Callback-Url: \xff", "Callback-Url: file:///etc/passwd",
	} {
		a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+header+"\r\nContent-Length: 2\r\n\r\n{}")
		t.Run(header, func(t *testing.T) { a.refused(t, 400, "invalid-header", true) })
	}
	twice := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"Callback-Url: https://a.example/\r\ncallback-url: https://b.example/\r\nContent-Length: 2\r\n\r\n{}")
	twice.refused(t, 400, "invalid-header", false)
	for _, test := range []struct {
		query, accept string
		status        int
		slug          string
	}{
		{"?stream=1", "*/*", 400, "invalid-header"}, {"", "text/event-stream", 400, "invalid-header"}, {"", "text/plain", 406, "not-acceptable"},
	} {
		a := w.raw(t, "POST /invoke/demo.say"+test.query+" HTTP/1.1\r\n"+host+"Accept: "+test.accept+"\r\nCallback-Url: https://a.example/\r\nContent-Length: 2\r\n\r\n{}")
		t.Run(test.query+test.accept, func(t *testing.T) { a.refused(t, test.status, test.slug, true) })
	}
	if jobs := q.stored(); len(jobs) != 0 {
		t.Errorf("jobs = %v", jobs)
	}
	w.works(t)
}

func TestRefusedJobs(t *testing.T) {
	t.Parallel()
	w, q := withQueue(t)
	q.fail(failure(execution.CodeInvalidParameters, "request", "validate", "no"), false)
	response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Callback-Url", "https://a.example/")
	if response.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "/problems/invalid-parameters") {
		t.Errorf("= %d %s", response.StatusCode, body)
	}
}

func TestCallbackUnderAKey(t *testing.T) {
	t.Parallel()
	call := func(w *world, key, body, url string) (*http.Response, string) {
		return w.do(t, "POST", "/invoke/demo.echo", body, "Callback-Url", url, "Idempotency-Key", key)
	}
	t.Run("is one job", func(t *testing.T) {
		t.Parallel()
		w, q := withQueue(t)
		first, body := call(w, "k", "{}", "https://a.example/")
		again, repeated := call(w, "k", "{}", "https://a.example/")
		if first.StatusCode != 202 || again.StatusCode != 202 || body != repeated || again.Header.Get("Location") != first.Header.Get("Location") ||
			again.Header.Get("Idempotency-Replayed") != "true" || len(q.stored()) != 1 {
			t.Errorf("= %d %s, then %d %s, %d jobs", first.StatusCode, body, again.StatusCode, repeated, len(q.stored()))
		}
		if other, body := call(w, "k", "{}", "https://b.example/"); other.StatusCode != 422 {
			t.Errorf("to another URL = %d %s", other.StatusCode, body)
		}
		if sync, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Idempotency-Key", "k"); sync.StatusCode != 422 {
			t.Errorf("to the caller = %d %s", sync.StatusCode, body)
		}
	})
	t.Run("waited for, likewise", func(t *testing.T) {
		t.Parallel()
		w, q := withQueue(t)
		for i, prefer := range []string{"respond-async", "wait=1", "respond-async, wait=1"} {
			response, body := w.do(t, "POST", "/invoke/demo.echo", "{}", "Prefer", prefer, "Idempotency-Key", "k")
			if response.StatusCode != 202 || len(q.stored()) != 1 || (response.Header.Get("Idempotency-Replayed") != "") != (i > 0) {
				t.Errorf("%s = %d %s, %d jobs", prefer, response.StatusCode, body, len(q.stored()))
			}
		}
	})
	t.Run("is free after a refusal", func(t *testing.T) {
		t.Parallel()
		w, q := withQueue(t)
		q.fail(failure(execution.CodeOverloaded, "gateway", "queue", "full"), false)
		call(w, "k", "{}", "https://a.example/")
		if again, body := call(w, "k", "{}", "https://a.example/"); again.StatusCode != 202 || again.Header.Get("Idempotency-Replayed") != "" {
			t.Errorf("= %d %s", again.StatusCode, body)
		}
	})
	t.Run("is the same job where nobody knows", func(t *testing.T) {
		t.Parallel()
		w, q := withQueue(t)
		q.fail(failure(execution.CodeStateUnavailable, "state", "queue", "away"), true)
		first, _ := call(w, "k", "{}", "https://a.example/")
		again, body := call(w, "k", "{}", "https://a.example/")
		if first.StatusCode != 503 || again.StatusCode != 202 || len(q.stored()) != 1 {
			t.Errorf("= %d, then %d %s, %d jobs", first.StatusCode, again.StatusCode, body, len(q.stored()))
		}
	})
}

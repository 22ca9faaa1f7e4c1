package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// forget makes the next question look again.
func (h *health) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = time.Time{}
}

func TestReadinessFollowsRequiredChecks(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.health.report(HealthCheck{Name: "redis", OK: false, Detail: "not configured"}, HealthCheck{Name: "engine", OK: true, Required: true})
	if response, body := w.do(t, "GET", "/readyz", ""); response.StatusCode != http.StatusOK || !strings.Contains(body, `"name":"redis"`) {
		t.Errorf("GET /readyz = %d %s, want 200 although something optional fails", response.StatusCode, body)
	}
	w.health.report(HealthCheck{Name: "engine", OK: false, Required: true, Detail: "does not answer"})
	w.Server.health.forget()
	a := w.raw(t, "GET /readyz HTTP/1.1\r\n"+host+"\r\n")
	a.refused(t, 503, "not-ready", true)
	want := []HealthCheck{{Name: "accepting", Required: true, OK: true}, {Name: "engine", Required: true, Detail: "does not answer"}}
	if diff := cmp.Diff(want, a.problem.Checks, cmpopts.IgnoreFields(HealthCheck{}, "Since")); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if response, _ := w.do(t, "GET", "/healthz", ""); response.StatusCode != http.StatusOK {
		t.Errorf("GET /healthz = %d, want 200: the program is alive", response.StatusCode)
	}
}

func TestChecksTellSinceWhen(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	engine := func() HealthCheck {
		w.Server.health.forget()
		for _, check := range w.Checks() {
			if check.Name == "engine" {
				return check
			}
		}
		t.Fatal("there is no check of the engine")
		return HealthCheck{}
	}
	begun := time.Now()
	w.health.report(HealthCheck{Name: "engine", OK: true})
	first := engine()
	if again := engine(); first.Since.Before(begun) || !again.Since.Equal(first.Since) {
		t.Errorf("since = %v, then %v, want one moment after %v", first.Since, again.Since, begun)
	}
	w.health.report(HealthCheck{Name: "engine", Detail: "gone"})
	if broken := engine(); !broken.Since.After(first.Since) {
		t.Errorf("since = %v, want a time after %v: it has changed", broken.Since, first.Since)
	}
}

// TestProbesDoNotLoadTheEngine: a hundred probes at once ask once.
func TestProbesDoNotLoadTheEngine(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.health.report(HealthCheck{Name: "engine", OK: true, Required: true})
	var probes sync.WaitGroup
	begun := time.Now()
	for range 100 {
		probes.Go(func() { w.Checks() })
	}
	probes.Wait()
	w.health.mu.Lock()
	defer w.health.mu.Unlock()
	if most := 1 + int(time.Since(begun)/healthFor); w.health.asked > most {
		t.Errorf("the engine was asked %d times, want at most %d", w.health.asked, most)
	}
}

func TestDrainingIsACheck(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.Drain()
	a := w.raw(t, "GET /readyz HTTP/1.1\r\n"+host+"\r\n")
	a.refused(t, 503, "draining", false)
	if len(a.problem.Checks) == 0 || a.problem.Checks[0].Name != "accepting" || a.problem.Checks[0].OK || a.problem.Checks[0].Since.IsZero() {
		t.Errorf("checks = %+v, want the one of the gate", a.problem.Checks)
	}
	if a.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}

// TestMetricsCountRequests: by pattern, and never by what a client makes up.
func TestMetricsCountRequests(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.works(t)
	w.do(t, "GET", "/"+canary, "")
	w.raw(t, canary+" / HTTP/1.1\r\n"+host+"\r\n")
	response, body := w.do(t, "GET", "/metrics", "")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics = %d %s", response.StatusCode, body)
	}
	for _, line := range []string{
		`attune_http_requests_total{method="POST",route="/invoke/:ref",status="200"} 1`,
		`attune_http_requests_total{method="GET",route="",status="404"} 1`,
		`attune_http_requests_total{method="?",route="",status="501"} 1`,
		`attune_http_request_duration_seconds_count{method="POST",route="/invoke/:ref"} 1`,
		`attune_build_info{goversion=`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("there is no line %s in\n%s", line, body)
		}
	}
	if strings.Contains(body, canary) {
		t.Error("the metrics have a client's own words")
	}
}

// TestGatewayWithoutMetrics has no /metrics, and answers all else.
func TestGatewayWithoutMetrics(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{}, func(o *Options) { o.Metrics, o.Health = nil, nil })
	w.raw(t, "GET /metrics HTTP/1.1\r\n"+host+"\r\n").refused(t, 404, "not-found", true)
	var ready healthPayload
	_, body := w.do(t, "GET", "/readyz", "")
	if err := json.Unmarshal([]byte(body), &ready); err != nil || len(ready.Checks) != 1 || !ready.Checks[0].OK {
		t.Errorf("GET /readyz = %s (%v)", body, err)
	}
	w.works(t)
}

package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"attune/gateway/trace/tracetest"
)

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersPlace = "00-" + callersTrace + "-00f067aa0ba902b7-01"
)

// tracedPack has an action that tells where in a trace it is, in each language and
// as a handler.
func tracedPack(t *testing.T, h home) {
	h.pack(t, "traced", map[string]string{
		"actions/place.yaml": "ref: traced.place\nentry_point: place.sh\n",
		"actions/place.sh":   `echo "$TRACEPARENT|$TRACESTATE"` + "\n",
		"actions/fail.yaml":  "ref: traced.fail\nentry_point: fail.sh\n", "actions/fail.sh": "exit 3\n",
		"actions/python.yaml":  "ref: traced.python\nentry_point: python.py\noutput_format: json\n",
		"actions/python.py":    "import json, os\nprint(json.dumps([os.environ.get('TRACEPARENT'), os.environ.get('TRACESTATE')]))\n",
		"actions/node.yaml":    "ref: traced.node\nentry_point: node.js\noutput_format: json\n",
		"actions/node.js":      "console.log(JSON.stringify([process.env.TRACEPARENT ?? null, process.env.TRACESTATE ?? null]))\n",
		"actions/handler.yaml": "ref: traced.handler\nentry_point: handler.py\nisolation: worker\noutput_format: json\n",
		"actions/handler.py":   "def main(params, context):\n    return [context.traceparent, context.tracestate]\n",
		"actions/served.yaml":  "ref: traced.served\nentry_point: served.js\nisolation: worker\noutput_format: json\n",
		"actions/served.js":    "module.exports = (params, context) => [context.traceparent, context.tracestate]\n",
	})
}

// traced calls an action with headers and parameters.
func (g *gateway) traced(t *testing.T, action, body string, header ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/invoke/"+action, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	return read(t, response, err)
}

// TestTraceReachesEveryLanguage: with nothing drawn here, a caller's place in its
// trace is passed on as it is, and what isn't valid isn't.
func TestTraceReachesEveryLanguage(t *testing.T) {
	h := newHome(t)
	tracedPack(t, h)
	g := h.start(t)
	want, none := `["`+callersPlace+`","vendor=1"]`, `[null,null]`
	for action, absent := range map[string]string{
		"traced.place": "|", "traced.python": none, "traced.node": none, "traced.handler": none, "traced.served": none,
	} {
		expected := want
		if action == "traced.place" {
			expected = callersPlace + "|vendor=1"
		}
		// A parameter of that name is a parameter.
		a := g.traced(t, action, `{"TRACEPARENT":"mine","traceparent":"mine"}`, "Traceparent", callersPlace, "Tracestate", "vendor=1")
		if got := strings.TrimSpace(a.body); a.status != 200 || got != expected {
			t.Errorf("POST /invoke/%s = %d %s, want %s", action, a.status, got, expected)
		}
		a = g.traced(t, action, "{}", "Traceparent", callersPlace[:54]+"x", "Tracestate", "vendor=1")
		if got := strings.TrimSpace(a.body); a.status != 200 || got != absent {
			t.Errorf("POST /invoke/%s with an invalid traceparent = %d %s, want %s", action, a.status, got, absent)
		}
	}
	if log := g.text(); !strings.Contains(log, `"trace":"`+callersTrace+`"`) || !strings.Contains(log, `"action":"traced.node"`) {
		t.Error("the access log has neither the trace nor the action")
	}
}

// TestTracesReachTheCollector: one span of the request, below it the execution,
// below that its phases; what the program gets is the place of its run.
func TestTracesReachTheCollector(t *testing.T) {
	receiver := tracetest.New(t)
	h := newHome(t)
	tracedPack(t, h)
	g := h.launch(t, "ATTUNE__ENGINE=process", "ATTUNE__TRACING__ENDPOINT="+receiver.URL)
	place := strings.TrimSpace(g.traced(t, "traced.place", "{}", "Traceparent", callersPlace).body)
	failed := g.traced(t, "traced.fail", "{}")
	g.stop(t) // sends what is left

	spans := receiver.Of(callersTrace)
	request, execution, run := spans["POST /invoke/:ref"], spans["execute traced.place"], spans["run"]
	if request.Parent != "00f067aa0ba902b7" || execution.Parent != request.ID || run.Parent != execution.ID {
		t.Fatalf("spans = %+v, want caller → request → execution → run", spans)
	}
	for _, phase := range []string{"queue", "start"} {
		if spans[phase].Parent != execution.ID || spans[phase].End.After(run.Start.Add(time.Millisecond)) {
			t.Errorf("%s = %+v, want it in the execution before the run", phase, spans[phase])
		}
	}
	if want := "00-" + callersTrace + "-" + run.ID + "-01|"; place != want {
		t.Errorf("the program is at %s, want %s", place, want)
	}
	if request.Attributes["http.response.status_code"] != "200" || execution.Attributes["attune.status"] != "succeeded" ||
		execution.Attributes["faas.coldstart"] != "true" || execution.Resource["service.instance.id"] != g.id {
		t.Errorf("request = %+v, execution = %+v", request.Attributes, execution.Attributes)
	}
	for _, span := range receiver.Spans() {
		if span.Name == "execute traced.fail" {
			if !span.Failed || span.Attributes["error.type"] != "action-failed" || span.Attributes["process.exit.code"] != "3" ||
				span.Attributes["faas.invocation_id"] != failed.header.Get("Attune-Execution-Id") {
				t.Errorf("the failed execution = %+v", span)
			}
			return
		}
	}
	t.Error("there is no span of the failed execution")
}

// freePort is one that nobody had a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// TestOperatorsSeeTheGateway: metrics on both listeners, profiles on one of them,
// and in the metrics whatever dashboard and alerts ask for.
func TestOperatorsSeeTheGateway(t *testing.T) {
	h := newHome(t, "shell_example")
	port := freePort(t)
	g := h.launch(t, "ATTUNE__ENGINE=process", "ATTUNE__ADMIN__PORT="+port)
	defer g.stop(t)
	for range 3 {
		g.mustInvoke(t, "shell_example.hello", "{}")
	}
	g.invoke(t, "shell_example.nosuch", "{}")
	body := g.get(t, "/metrics").body
	for _, line := range []string{
		`attune_executions_total{action="shell_example.hello",code="",status="succeeded"} 3`,
		`attune_execution_duration_seconds_count{action="shell_example.hello"} 3`,
		`attune_http_requests_total{method="POST",route="/invoke/:ref",status="200"} 3`,
		`attune_http_requests_total{method="POST",route="/invoke/:ref",status="404"} 1`,
		`attune_instances{pack="shell_example",runtime="shell",state="idle"} 1`,
		`attune_instance_starts_total{outcome="started"} 1`,
		`attune_up{part="engine"} 1`, `attune_up{part="environments"} 1`, `attune_up{part="state"} 1`, `attune_up{part="accepting"} 1`,
		`attune_executions_running{status="running"} 0`, `attune_recorder_lost_executions_total 0`,
		`attune_pool_budget_limit{resource="instances"} 512`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("GET /metrics has no line %s", line)
		}
	}
	if strings.Contains(body, "nosuch") {
		t.Error("the metrics have the name of an action that does not exist")
	}
	admin := "http://127.0.0.1:" + port
	for path, has := range map[string]string{"/metrics": "attune_build_info", "/debug/pprof/goroutine?debug=1": "goroutine profile:", "/debug/pprof/": "heap"} {
		response, err := http.Get(admin + path)
		if a := read(t, response, err); a.status != 200 || !strings.Contains(a.body, has) {
			t.Errorf("GET %s of the administrative listener = %d, want it to have %s", path, a.status, has)
		}
	}
	for name, header := range map[string][2]string{"another host": {"Host", "evil.example"}, "a page": {"Origin", "http://evil.example"}, "a site": {"Sec-Fetch-Site", "cross-site"}} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin+"/debug/pprof/heap", nil)
		if err != nil {
			t.Fatal(err)
		}
		if request.Header.Set(header[0], header[1]); header[0] == "Host" {
			request.Host = header[1]
		}
		response, err := http.DefaultClient.Do(request)
		if a := read(t, response, err); a.status != http.StatusForbidden {
			t.Errorf("%s asks for a profile: %d, want 403", name, a.status)
		}
	}
	if a := g.get(t, "/debug/pprof/"); a.status != http.StatusNotFound {
		t.Errorf("GET /debug/pprof/ of the main listener = %d, want 404", a.status)
	}
	asked := map[string]bool{}
	for _, file := range []string{"../docs/grafana/attune.json", "../docs/prometheus/alerts.yaml"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(attune|process|go)_[a-z0-9_]+`).FindAllString(string(content), -1) {
			asked[name] = true
		}
	}
	for name := range asked {
		// Nothing was built, and no lease of Redis's was asked for.
		if unseen := strings.Contains(name, "_build") || strings.Contains(name, "lease"); !unseen && !strings.Contains(body, "\n"+name) {
			t.Errorf("dashboard or alerts ask for %s, which this gateway does not have", name)
		}
	}
}

// TestReadinessNamesWhatIsWrong: the volume is taken away, and comes back.
func TestReadinessNamesWhatIsWrong(t *testing.T) {
	h := newHome(t)
	g := h.launch(t, "ATTUNE__ENGINE=process")
	defer g.stop(t)
	if err := os.Rename(filepath.Join(h.envs, ".store"), filepath.Join(h.envs, ".away")); err != nil {
		t.Fatal(err)
	}
	type check struct {
		Name, Detail string
		OK, Required bool
		Since        time.Time
	}
	find := func(body string) (found check) {
		var answer struct{ Checks []check }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		for _, c := range answer.Checks {
			if c.Since.IsZero() {
				t.Errorf("%s does not say since when", c.Name)
			}
			if c.Name == "environments" {
				found = c
			}
		}
		return found
	}
	var a answer
	eventually(t, 10*time.Second, "the gateway is not ready", func() bool { a = g.get(t, "/readyz"); return a.status == 503 })
	if c := find(a.body); c.OK || !c.Required || !strings.Contains(c.Detail, "gone") || a.problem(t).Type != "/problems/not-ready" {
		t.Errorf("GET /readyz = %s", a.body)
	}
	out, reason, code := attune(t, nil, "health", "--url", g.url)
	if code != 1 || !strings.Contains(out, "environments") || !strings.Contains(out, "missing") || !strings.Contains(reason, "503 not-ready") {
		t.Errorf("attune health = %d %s%s", code, out, reason)
	}
	if err := os.Rename(filepath.Join(h.envs, ".away"), filepath.Join(h.envs, ".store")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the gateway is ready", func() bool { a = g.get(t, "/readyz"); return a.status == 200 })
	if c := find(a.body); !c.OK {
		t.Errorf("GET /readyz = %s", a.body)
	}
	if left, err := filepath.Glob(filepath.Join(h.envs, ".probe-*")); err != nil || len(left) > 0 {
		t.Errorf("probes left %v (%v)", left, err)
	}
}

// TestDrainUnderLoad: eight clients that keep their connections call without a
// pause while the gateway is told to stop. Every call that it accepts is answered
// in full, every other one is told to come back, and none meets a broken connection.
func TestDrainUnderLoad(t *testing.T) {
	h := newHome(t)
	h.pack(t, "busy", map[string]string{
		"actions/quick.yaml": "ref: busy.quick\nentry_point: quick.sh\n", "actions/quick.sh": "echo done\n",
		"actions/slow.yaml": "ref: busy.slow\nentry_point: slow.sh\n", "actions/slow.sh": "sleep 0.5; echo done\n",
	})
	g := h.launch(t, "ATTUNE__ENGINE=process")
	const clients = 8
	type told struct {
		answered, refused int
		fault             string
	}
	results := make(chan told, clients)
	warm := make(chan struct{}, clients)
	for i := range clients {
		action := "busy.quick"
		if i%4 == 0 {
			action = "busy.slow"
		}
		go func() {
			// No second try of its own, and one connection.
			client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			var all told
			for all.refused == 0 && all.fault == "" {
				response, err := client.Post(g.url+"/invoke/"+action, "application/json", io.NopCloser(strings.NewReader("{}")))
				if err != nil {
					all.fault = err.Error()
					break
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				switch {
				case err != nil:
					all.fault = "an answer broke off: " + err.Error()
				case response.StatusCode == 200 && string(body) == "done\n":
					if all.answered++; all.answered == 2 {
						warm <- struct{}{}
					}
				case response.StatusCode == 503 && strings.Contains(string(body), "/problems/draining") && response.Header.Get("Retry-After") != "" && !strings.Contains(string(body), `"started":true`):
					all.refused++
				default:
					all.fault = fmt.Sprintf("%d %s", response.StatusCode, body)
				}
			}
			results <- all
		}()
	}
	for range clients {
		<-warm
	}
	g.stop(t)
	for range clients {
		if r := <-results; r.fault != "" || r.refused == 0 || r.answered < 2 {
			t.Errorf("a client got %d results, %d refusals, and: %s", r.answered, r.refused, r.fault)
		}
	}
}

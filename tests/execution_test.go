package tests

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// trouble is a pack of actions that go wrong, each in its own way.
func trouble(t *testing.T, h home) {
	files := map[string]string{}
	for name, action := range map[string]struct{ more, script string }{
		"fine":     {"", "echo fine"},
		"fail":     {"output_format: json\n", "echo half\necho why >&2\nexit 3"},
		"chatter":  {"", "for n in {1..2000}; do echo line $n; done >&2\nexit 1"},
		"crash":    {"", "kill -SEGV $$"},
		"stubborn": {"timeout: 1\n", "trap '' TERM\n(trap '' TERM; setsid sleep 1000) &\necho begun\nsleep 1000"},
		"slow":     {"timeout: 60\n", "echo begun >&2\nsleep 50"},
		"slowly":   {"", "sleep 1.5; echo slowly"},
		"garbage":  {"output_format: json\n", "echo '{not json'"},
		"nothing":  {"output_format: json\n", "true"},
		"shape":    {"output_format: json\noutput_schema: {n: {type: integer}}\n", `echo '{"n": "one"}'`},
		"lines":    {"output_format: jsonl\n", `printf '{"n":1}\n{n:2}\n'`},
		"much":     {"", "head -c 50000000 /dev/zero"},
		"hog":      {"", "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}"},
		"flat": {`output_format: json
parameters:
  name: {type: string, required: true, maxLength: 5}
  count: {type: integer, default: 2, minimum: 1}
  mode: {type: string, enum: [a, b], default: a}
`, "cat"},
		"schema": {`output_format: json
parameters:
  type: object
  required: [order]
  properties:
    order:
      type: object
      additionalProperties: false
      required: [id]
      properties: {id: {type: integer}, lines: {type: array, items: {type: string}}, rush: {type: boolean, default: false}}
`, "cat"},
	} {
		files["actions/"+name+".yaml"] = "ref: trouble." + name + "\nentry_point: " + name + ".sh\n" + action.more
		files["actions/"+name+".sh"] = action.script + "\n"
	}
	files["pack.yaml"] = "ref: trouble\nversion: 1.0.0\nlimits: {memory: 48MiB, tmp: 16MiB}\n"
	files["actions/unstartable.yaml"] = "ref: trouble.unstartable\nrunner_type: native\nentry_point: unstartable\n"
	files["actions/unstartable"] = "#!/nowhere/interpreter\n"
	h.pack(t, "trouble", files)
}

// TestFailuresSayWhatFailed: which part, why, and whether the action had begun.
func TestFailuresSayWhatFailed(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t, "ATTUNE__LIMITS__RESULT=1MiB", "ATTUNE__LIMITS__MAX_TIMEOUT=3s")
	g.mustInvoke(t, "trouble.fine", "{}") // a short timeout is not for starting an instance
	const went = `validation \d+ ms, environment \d+ ms, queue \d+ ms, start \d+ ms, run \d+ ms$`
	for call, want := range map[string]struct {
		status     int
		slug       string
		detail     string // a pattern
		exit       any
		record     string
		notStarted bool
	}{
		"fail":               {502, "action-failed", `exit code 3$`, 3.0, "failed", false},
		"crash":              {502, "action-failed", `exit code 139$`, 139.0, "failed", false},
		"unstartable":        {502, "action-failed", `can't be started by runtime native`, nil, "failed", true},
		"stubborn":           {504, "timed-out", `^timed out after 1s: ` + went, nil, "timed_out", false},
		"slow":               {504, "timed-out", `^timed out after 3s: ` + went, nil, "timed_out", false}, // the operator's cap
		"slow?timeout=300ms": {504, "timed-out", `^timed out after 300ms: ` + went, nil, "timed_out", false},
		"garbage":            {502, "bad-output", `not json`, 0.0, "failed", false},
		"nothing":            {502, "bad-output", `stdout is empty`, 0.0, "failed", false},
		"shape":              {502, "bad-output", `does not match its output_schema`, 0.0, "failed", false},
		"lines":              {502, "bad-output", `not jsonl.*line 2`, 0.0, "failed", false},
		"much":               {502, "result-too-large", `printed 50000000 bytes; a result may have 1048576 `, 0.0, "failed", false},
		"hog":                {502, "out-of-memory", `more memory than its 50331648 bytes`, nil, "failed", false},
	} {
		t.Run(call, func(t *testing.T) {
			a := g.invoke(t, "trouble."+call, "{}")
			p := a.problem(t)
			if a.status != want.status || p.Status != want.status || p.Type != "/problems/"+want.slug || p.Started == want.notStarted || p.Retryable {
				t.Errorf("POST /invoke/trouble.%s = %d %s", call, a.status, a.body)
			}
			if matched, err := regexp.MatchString(want.detail, p.Detail); err != nil || !matched {
				t.Errorf("POST /invoke/trouble.%s: detail = %q, want %s (%v)", call, p.Detail, want.detail, err)
			}
			x := record(t, g, a)
			failure, _ := x["error"].(map[string]any)
			if call != "hog" && x["exit_code"] != want.exit { // what memory's end does to the shell is its own affair
				t.Errorf("exit_code of %s = %v, want %v", call, x["exit_code"], want.exit)
			}
			if x["status"] != want.record || failure["code"] != want.slug || failure["reason"] != p.Detail || p.Execution != x["id"] {
				t.Errorf("record of trouble.%s = %v", call, x)
			}
			if got := g.mustInvoke(t, "trouble.fine", "{}").body; got != "fine\n" { // and the next call works
				t.Errorf("POST /invoke/trouble.fine after %s = %q", call, got)
			}
		})
	}
	t.Run("the end of stderr is told", func(t *testing.T) { endOfStderr(t, g) })
	t.Run("neighbours of one out of memory are unharmed", func(t *testing.T) {
		var neighbours sync.WaitGroup
		for range 2 {
			neighbours.Go(func() {
				if a := g.invoke(t, "trouble.slowly", "{}"); a.body != "slowly\n" {
					t.Errorf("POST /invoke/trouble.slowly beside trouble.hog = %d %s", a.status, a.body)
				}
			})
		}
		if a := g.invoke(t, "trouble.hog", "{}"); a.status != 502 {
			t.Errorf("POST /invoke/trouble.hog = %d %s", a.status, a.body)
		}
		neighbours.Wait()
	})
}

func endOfStderr(t *testing.T, g *gateway) {
	a := g.invoke(t, "trouble.fail", "{}")
	if p := a.problem(t); p.Log != "why\n" {
		t.Errorf("POST /invoke/trouble.fail: log = %q, want the end of stderr", p.Log)
	}
	if x := record(t, g, a); x["stdout"] != "half\n" || x["stderr"] != "why\n" {
		t.Errorf("record of trouble.fail = %v, want both streams", x)
	}
	if p := g.invoke(t, "trouble.chatter", "{}").problem(t); !strings.HasSuffix(p.Log, "line 2000\n") || len(p.Log) > 8<<10 {
		t.Errorf("POST /invoke/trouble.chatter: log = %d bytes, %q…, want a bounded end", len(p.Log), p.Log[:min(len(p.Log), 40)])
	}
	if x := record(t, g, g.invoke(t, "trouble.stubborn", "{}")); x["stdout"] != "begun\n" {
		t.Errorf("record of trouble.stubborn = %v, want what it printed before the end", x)
	}
}

// record reads the execution of an answer.
func record(t *testing.T, g *gateway, a answer) map[string]any {
	t.Helper()
	return g.get(t, "/api/v1/executions/"+a.header.Get("Attune-Execution-Id")).value(t)
}

// TestParametersAreCheckedAndCompleted: defaults before the script, pointers to
// every fault at once.
func TestParametersAreCheckedAndCompleted(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	for body, want := range map[string]string{
		`{"name":"Ada"}`:                      `{"count":2,"mode":"a","name":"Ada"}`,
		`{"name":"Ada","count":7,"mode":"b"}`: `{"count":7,"mode":"b","name":"Ada"}`,
	} {
		if got := g.mustInvoke(t, "trouble.flat", body).body; got != want+"\n" {
			t.Errorf("POST /invoke/trouble.flat %s arrived as %s, want %s", body, got, want)
		}
	}
	if got := g.mustInvoke(t, "trouble.schema", `{"order":{"id":1}}`).body; got != `{"order":{"id":1,"rush":false}}`+"\n" {
		t.Errorf("POST /invoke/trouble.schema arrived as %s, want the nested default", got)
	}
	for _, call := range []struct{ action, body, pointers string }{
		{"flat", `{"name":"longer than five","count":0,"mode":"c","extra":1}`, "/count /extra /mode /name"},
		{"flat", `{}`, "/name"},
		{"flat", ``, "/name"},
		{"flat", `{"name":null,"count":1.5}`, "/count /name"},
		{"flat", `{"name":"x","count":"2"}`, "/count"}, // no coercion
		{"schema", `{"order":{"id":"1","lines":["a",2],"extra":0}}`, "/order/extra /order/id /order/lines/1"},
	} {
		a := g.invoke(t, "trouble."+call.action, call.body)
		p := a.problem(t)
		var pointers []string
		for _, e := range p.Errors {
			pointers = append(pointers, e.Pointer)
			if e.Detail == "" {
				t.Errorf("POST /invoke/trouble.%s %s: no detail of %s", call.action, call.body, e.Pointer)
			}
		}
		if got := strings.Join(pointers, " "); a.status != 422 || p.Type != "/problems/invalid-parameters" || p.Started || got != call.pointers {
			t.Errorf("POST /invoke/trouble.%s %s = %d %s, want 422 and %s", call.action, call.body, a.status, a.body, call.pointers)
		}
	}
	for _, body := range []string{"{", "[]", "{} {}", `{"name":"a","name":"b"}`, `{"name":"\ud800"}`, "\xff", "nul", `{"name":"a"}x`, strings.Repeat("[", 100_000)} {
		if a := g.invoke(t, "trouble.flat", body); a.status != 400 && a.status != 422 {
			t.Errorf("POST /invoke/trouble.flat %.40q = %d %s", body, a.status, a.body)
		}
	}
}

func TestClientThatLeavesCancels(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	ctx, leave := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "POST", g.url+"/invoke/trouble.slow", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if response, err := http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			t.Error("the client got an answer before it left")
		}
	}()
	eventually(t, 10*time.Second, "the action runs", func() bool { return strings.Contains(top(t, g), "sleep 50") })
	leave()
	<-done
	var list struct {
		Items []struct {
			ID, Status string
			ExitCode   *int `json:"exit_code"`
			Error      struct{ Code string }
		}
	}
	eventually(t, 10*time.Second, "the execution has ended", func() bool {
		decode(t, g.get(t, "/api/v1/executions?action=trouble.slow").body, &list)
		return len(list.Items) == 1 && list.Items[0].Status != "running"
	})
	if x := list.Items[0]; x.Status != "cancelled" || x.Error.Code != "cancelled" || x.ExitCode != nil {
		t.Errorf("record of a call whose client left = %+v", x)
	}
	if left := top(t, g); strings.Contains(left, "sleep 50") {
		t.Errorf("the action outlives the call:\n%s", left)
	}
	if got := g.get(t, "/api/v1/executions/"+list.Items[0].ID+"/logs/stderr").body; got != "begun\n" {
		t.Errorf("stderr = %q, want what was printed before", got)
	}
}

func decode(t *testing.T, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

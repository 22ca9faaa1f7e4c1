package tests

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// trouble is a pack of actions that go wrong, each in its own way.
func trouble(t *testing.T, h home) {
	action := func(name, more, script string) (string, string, string, string) {
		return "actions/" + name + ".yaml", "ref: trouble." + name + "\nentry_point: " + name + ".sh\n" + more, "actions/" + name + ".sh", script
	}
	files := map[string]string{}
	add := func(yaml, document, path, script string) { files[yaml], files[path] = document, script }
	add(action("fail", "output_format: json\n", "echo half\necho why >&2\nexit 3"))
	add(action("stubborn", "timeout: 1\n", "trap '' TERM\n(trap '' TERM; setsid sleep 1000) &\necho begun\nsleep 1000"))
	add(action("garbage", "output_format: json\n", "echo '{not json'"))
	add(action("much", "", "head -c 3000000 /dev/zero | tr '\\0' x"))
	add(action("hog", "limits: {memory: 32MiB}\n", "x=$(head -c 100000000 /dev/zero | tr '\\0' x); echo ${#x}"))
	add(action("chatty", "", "head -c 5000 /dev/zero | tr '\\0' e >&2\necho done"))
	add(action("fine", "", "echo fine"))
	add(action("slow", "timeout: 60\n", "echo begun >&2\nsleep 50"))
	add(action("typed", `output_format: json
parameters:
  name: {type: string, required: true, maxLength: 5}
  count: {type: integer, default: 2, minimum: 1}
  mode: {type: string, enum: [a, b], default: a}
`, "cat"))
	h.pack(t, "trouble", files)
}

func TestFailuresSayWhatFailed(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t, "ATTUNE__LIMITS__RESULT=1MiB", "ATTUNE__LIMITS__LOG_BYTES=1KiB")
	for name, want := range map[string]struct {
		status      int
		slug, words string
		started     bool
	}{
		"fail":     {502, "action-failed", "exit code 3", true},
		"stubborn": {504, "timed-out", "timed out after 1s: environment", true},
		"garbage":  {502, "bad-output", "not json", true},
		"much":     {502, "result-too-large", "3000000 bytes", true},
		"hog":      {502, "out-of-memory", "33554432 bytes", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := g.invoke(t, "trouble."+name, "{}")
			p := a.problem(t)
			if a.status != want.status || p.Type != "/problems/"+want.slug || p.Started != want.started || !strings.Contains(p.Detail, want.words) {
				t.Errorf("POST /invoke/trouble.%s = %d %s", name, a.status, a.body)
			}
			// The neighbour is unharmed, and so is the next call.
			if got := g.mustInvoke(t, "trouble.fine", "{}").body; got != "fine\n" {
				t.Errorf("trouble.fine = %q", got)
			}
		})
	}
	failed := record(t, g, g.invoke(t, "trouble.fail", "{}"))
	if failed["exit_code"] != 3.0 || failed["stderr"] != "why\n" || failed["stdout"] != "half\n" || failed["status"] != "failed" {
		t.Errorf("record of trouble.fail = %v", failed)
	}
	if p := g.invoke(t, "trouble.fail", "{}").problem(t); p.Log != "why\n" {
		t.Errorf("log = %q, want the end of stderr", p.Log)
	}
	slow := record(t, g, g.invoke(t, "trouble.stubborn", "{}"))
	if slow["status"] != "timed_out" || slow["stdout"] != "begun\n" || slow["exit_code"] != nil {
		t.Errorf("record of trouble.stubborn = %v", slow)
	}
}

// record reads the execution of an answer.
func record(t *testing.T, g *gateway, a answer) map[string]any {
	t.Helper()
	return g.get(t, "/api/v1/executions/"+a.header.Get("Attune-Execution-Id")).value(t)
}

func TestLogsAreTruncatedWithANotice(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t, "ATTUNE__LIMITS__LOG_BYTES=1KiB")
	x := record(t, g, g.mustInvoke(t, "trouble.chatty", "{}"))
	stderr, _ := x["stderr"].(string)
	if x["stderr_truncated"] != true || x["stdout_truncated"] != false || x["bytes_truncated"] != 5000.0-1024 {
		t.Errorf("flags = %v %v %v", x["stderr_truncated"], x["stdout_truncated"], x["bytes_truncated"])
	}
	if strings.Count(stderr, "[OUTPUT TRUNCATED: stderr exceeded size limit]") != 1 || strings.Count(stderr, "e") < 1024 {
		t.Errorf("stderr = %q", stderr)
	}
}

func TestParametersAreCheckedAndCompleted(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	if got := g.mustInvoke(t, "trouble.typed", `{"name":"Ada"}`).body; got != `{"count":2,"mode":"a","name":"Ada"}`+"\n" {
		t.Errorf("parameters = %s", got)
	}
	a := g.invoke(t, "trouble.typed", `{"name":"longer than five","count":0,"mode":"c","extra":1}`)
	var pointers []string
	for _, e := range a.problem(t).Errors {
		pointers = append(pointers, e.Pointer)
	}
	if got := strings.Join(pointers, " "); a.status != 422 || got != "/count /extra /mode /name" {
		t.Errorf("answer = %d, pointers %q: %s", a.status, got, a.body)
	}
	for _, body := range []string{"{", "[]", "{} {}", `{"name":"a","name":"b"}`, "\xff"} {
		if a := g.invoke(t, "trouble.typed", body); a.status != 400 && a.status != 422 {
			t.Errorf("body %q = %d %s", body, a.status, a.body)
		}
	}
}

func TestClientThatLeavesCancels(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	g.mustInvoke(t, "trouble.fine", "{}")
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
		}
	}()
	// Nothing tells from outside that it runs; leaving earlier is as good a test.
	time.AfterFunc(500*time.Millisecond, leave)
	<-done
	eventually(t, 10*time.Second, "the execution is cancelled", func() bool {
		return strings.Contains(g.get(t, "/api/v1/executions?action=trouble.slow").body, `"cancelled"`)
	})
}

func TestExecutionsAreRecordedAndSurviveARestart(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	for range 5 {
		g.mustInvoke(t, "trouble.fine", "{}")
	}
	last := g.invoke(t, "trouble.fail", "{}")
	g.stop(t)
	g = h.start(t)
	var page struct {
		Items []struct{ ID, Action, Status string }
		Next  *string
	}
	decode(t, g.get(t, "/api/v1/executions?status=succeeded&action=trouble.fine&limit=3").body, &page)
	if len(page.Items) != 3 || page.Next == nil {
		t.Fatalf("page = %+v", page)
	}
	first := page.Items
	decode(t, g.get(t, "/api/v1/executions?status=succeeded&action=trouble.fine&limit=3&cursor="+*page.Next).body, &page)
	if len(page.Items) != 2 || page.Items[0].ID >= first[2].ID {
		t.Errorf("second page = %+v after %+v", page, first)
	}
	if got := record(t, g, last)["status"]; got != "failed" {
		t.Errorf("status of the failed one = %v", got)
	}
}

func decode(t *testing.T, body string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

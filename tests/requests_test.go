package tests

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCallersShortenTheDeadline, and never lengthen it.
func TestCallersShortenTheDeadline(t *testing.T) {
	g := examples(t)
	g.mustInvoke(t, "core.noop", "")
	started := time.Now()
	response, err := http.Post(g.url+"/invoke/core.sleep?timeout=1", "application/json", strings.NewReader(`{"seconds":30}`))
	a := read(t, response, err)
	if p := a.problem(t); a.status != 504 || p.Type != "/problems/timed-out" || time.Since(started) > 10*time.Second {
		t.Errorf("after %s: %d %s", time.Since(started), a.status, a.body)
	}
}

// TestTooManyCallsAreToldToComeBack instead of piling up.
func TestTooManyCallsAreToldToComeBack(t *testing.T) {
	h := newHome(t, "core")
	g := h.start(t, "ATTUNE__POOL__PER_POOL=1", "ATTUNE__POOL__QUEUE=2")
	g.mustInvoke(t, "core.noop", "")
	answers := make([]answer, 10)
	var calls sync.WaitGroup
	for i := range answers {
		calls.Go(func() { answers[i] = g.invoke(t, "core.sleep", `{"seconds":1}`) })
	}
	calls.Wait()
	served, refused := 0, 0
	for _, a := range answers {
		switch {
		case a.status == 200:
			served++
		case a.status == 503 && a.problem(t).Type == "/problems/overloaded" && !a.problem(t).Started && a.header.Get("Retry-After") != "":
			refused++
		default:
			t.Errorf("answer = %d %v %s", a.status, a.header, a.body)
		}
	}
	if served != 3 || refused != 7 {
		t.Errorf("%d served, %d refused; want the one that runs and the two in the queue", served, refused)
	}
}

// TestBodiesUpToTheLimit: the limit itself passes, one byte more is a 413, and
// neither harms the next call.
func TestBodiesUpToTheLimit(t *testing.T) {
	h := newHome(t)
	h.pack(t, "size", map[string]string{"actions/n.yaml": "ref: size.n\nentry_point: n.sh\n", "actions/n.sh": "wc -c\n"})
	g := h.start(t, "ATTUNE__SERVER__BODY_LIMIT=1MiB")
	body := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	if got := g.mustInvoke(t, "size.n", body(1<<20)).body; got != "1048577\n" { // and a newline
		t.Errorf("the script read %q bytes", got)
	}
	if a := g.invoke(t, "size.n", body(1<<20+1)); a.status != 413 {
		t.Errorf("one byte more = %d %s", a.status, a.body)
	}
	g.mustInvoke(t, "size.n", "{}")
}

// TestOutputThatIsNoText arrives as it was printed.
func TestOutputThatIsNoText(t *testing.T) {
	h := newHome(t)
	h.pack(t, "bytes", map[string]string{
		"actions/raw.yaml": "ref: bytes.raw\nentry_point: raw.sh\n", "actions/raw.sh": `printf 'a\000b\377\376c'` + "\n",
		"actions/none.yaml": "ref: bytes.none\nentry_point: none.sh\noutput_format: json\n", "actions/none.sh": "exit 0\n",
		"actions/line.yaml": "ref: bytes.line\nentry_point: line.sh\n", "actions/line.sh": "head -c 2000000 /dev/zero | tr '\\0' y\n",
	})
	g := h.start(t)
	if got := g.mustInvoke(t, "bytes.raw", "{}").body; got != "a\x00b\xff\xfec" {
		t.Errorf("raw bytes = %q", got)
	}
	if got := len(g.mustInvoke(t, "bytes.line", "{}").body); got != 2_000_000 {
		t.Errorf("a line of 2 MB came as %d bytes", got)
	}
	if a := g.invoke(t, "bytes.none", "{}"); a.status == 200 && strings.TrimSpace(a.body) != "null" || a.status >= 500 && a.problem(t).Type != "/problems/bad-output" {
		t.Errorf("no output of an action whose format is json = %d %q", a.status, a.body)
	}
	// The record of all these is JSON, whatever the bytes were.
	var list struct{ Items []map[string]any }
	decode(t, g.get(t, "/api/v1/executions").body, &list)
	if len(list.Items) != 3 {
		t.Errorf("%d executions recorded", len(list.Items))
	}
}

// TestMethodsAndPaths that are not there are problems, too.
func TestMethodsAndPaths(t *testing.T) {
	g := examples(t)
	for call, want := range map[string]struct {
		status int
		slug   string
	}{
		"GET /invoke/core.noop":          {405, "method-not-allowed"},
		"DELETE /api/v1/packs":           {405, "method-not-allowed"},
		"GET /nothing":                   {404, "not-found"},
		"GET /api/v1/executions/nothing": {400, "invalid-ref"},
		"GET /api/v1/actions/core.not":   {404, "not-found"},
		"GET /api/v1/packs/..%2f..":      {0, ""},
	} {
		method, path, _ := strings.Cut(call, " ")
		request, err := http.NewRequest(method, g.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		a := read(t, response, err)
		p := a.problem(t)
		if want.status != 0 && (a.status != want.status || p.Type != "/problems/"+want.slug) || a.status < 400 || a.status >= 500 {
			t.Errorf("%s = %d %s, want %d %s", call, a.status, a.body, want.status, want.slug)
		}
	}
}

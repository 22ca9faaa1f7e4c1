package tests

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/redis/redistest"
	"attune/runtimes/container/containertest"
)

// TestConflictingVersionsAtTheSameTime: two packs that pin different versions of
// one package are first called, built and served side by side.
func TestConflictingVersionsAtTheSameTime(t *testing.T) {
	h := newHome(t)
	want := map[string]string{"old_idna": "3.7", "new_idna": "3.10"}
	for ref, version := range want {
		h.pack(t, ref, map[string]string{
			"requirements.txt": "idna==" + version + "\n",
			"actions/v.yaml":   "ref: " + ref + ".v\nentry_point: v.py\n",
			"actions/v.py":     "import idna, time\ntime.sleep(0.2)\nprint(idna.__version__, idna.__file__)\n",
		})
	}
	g := h.start(t)
	const each = 5
	got := map[string][]answer{"old_idna": make([]answer, each), "new_idna": make([]answer, each)}
	var calls sync.WaitGroup
	for ref, answers := range got {
		for i := range answers {
			calls.Go(func() { answers[i] = g.invoke(t, ref+".v", "{}") })
		}
	}
	calls.Wait()
	for ref, answers := range got {
		prefix := want[ref] + " /opt/attune/runtime_envs/" + ref + "/python/"
		for i, a := range answers {
			if a.status != http.StatusOK || !strings.HasPrefix(a.body, prefix) {
				t.Errorf("call %d of POST /invoke/%s.v = %d %s, want %s…", i+1, ref, a.status, a.body, prefix)
			}
		}
	}
}

// TestCallsSideBySideDoNotMix: each gets its own parameters and its own answer,
// over more instances than one and fewer than calls.
func TestCallsSideBySideDoNotMix(t *testing.T) {
	g := examples(t)
	answers := make([]answer, 40)
	var calls sync.WaitGroup
	for i := range answers {
		calls.Go(func() { answers[i] = g.invoke(t, "shell_example.hello", fmt.Sprintf(`{"name":"Ada %d"}`, i)) })
	}
	calls.Wait()
	ids := map[string]bool{}
	for i, a := range answers {
		if want := fmt.Sprintf("Hello, Ada %d!", i); a.status != http.StatusOK || a.value(t)["greeting"] != want {
			t.Errorf("call %d = %d %s, want %s", i, a.status, a.body, want)
		}
		ids[a.header.Get("Attune-Execution-Id")] = true
	}
	if len(ids) != len(answers) {
		t.Errorf("%d calls have %d execution IDs", len(answers), len(ids))
	}
	if n := len(g.containers(t, "label=attune.role=instance", "label=attune.pack=shell_example")); n < 1 || n > 8 {
		t.Errorf("%d calls at once left %d instances, want 1 to 8, the bound of a pool", len(answers), n)
	}
}

// TestExecutionsInRedisSurviveEveryGateway: the record is Redis', not theirs.
func TestExecutionsInRedisSurviveEveryGateway(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t, "shell_example")
	url := "ATTUNE__REDIS__URL=" + redistest.URL(t)
	first := h.start(t, url)
	id := first.mustInvoke(t, "shell_example.hello", `{"name":"Ada"}`).header.Get("Attune-Execution-Id")
	first.stop(t) // records what it has before it ends
	second := h.beside("second").start(t, url)
	var x struct{ ID, Action, Status string }
	decode(t, second.get(t, "/api/v1/executions/"+id).body, &x)
	if x.ID != id || x.Action != "shell_example.hello" || x.Status != "succeeded" {
		t.Errorf("execution %s = %+v", id, x)
	}
	eventually(t, 5*time.Second, "it is listed as well", func() bool {
		return strings.Contains(second.get(t, "/api/v1/executions?action=shell_example.hello").body, id)
	})
}

package tests

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// executions is a page of the listing.
type executions struct {
	Items []struct {
		ID, Action, Pack, Status, Gateway string
		ExitCode                          *int      `json:"exit_code"`
		CreatedAt                         time.Time `json:"created_at"`
		Stdout                            *string
	}
	Next *string
}

// TestExecutionsAreRecordedAndSurviveARestart, newest first, in pages, by
// filters.
func TestExecutionsAreRecordedAndSurviveARestart(t *testing.T) {
	h := newHome(t)
	trouble(t, h)
	g := h.start(t)
	var want []string // IDs, newest first
	call := func(action string) {
		want = slices.Insert(want, 0, g.invoke(t, action, "{}").header.Get("Attune-Execution-Id"))
	}
	for range 5 {
		call("trouble.fine")
	}
	call("trouble.fail")
	between := time.Now()
	call("trouble.fine")
	g.invoke(t, "trouble.flat", "{}") // 422: nothing ran, nothing is recorded
	before := record(t, g, answer{header: map[string][]string{"Attune-Execution-Id": {want[1]}}})
	list := func(t *testing.T, query string) executions {
		t.Helper()
		a := g.get(t, "/api/v1/executions"+query)
		if a.status != 200 {
			t.Fatalf("GET /api/v1/executions%s = %d %s", query, a.status, a.body)
		}
		var page executions
		decode(t, a.body, &page)
		return page
	}
	g.stop(t)
	g = h.start(t)

	t.Run("a restart keeps them", func(t *testing.T) {
		if diff := cmp.Diff(before, g.get(t, "/api/v1/executions/"+want[1]).value(t)); diff != "" {
			t.Errorf("GET /api/v1/executions/%s (-before +after the restart):\n%s", want[1], diff)
		}
		if got := g.get(t, "/api/v1/executions/"+want[1]+"/logs/stderr"); got.body != "why\n" {
			t.Errorf("stderr after the restart = %d %q", got.status, got.body)
		}
	})
	t.Run("filters", func(t *testing.T) {
		since := "since=" + url.QueryEscape(between.Format(time.RFC3339Nano))
		for query, ids := range map[string][]string{
			"":                                      want,
			"?status=failed":                        want[1:2],
			"?action=trouble.fail":                  want[1:2],
			"?action=trouble.fine&status=failed":    nil,
			"?status=succeeded&action=trouble.fine": slices.Delete(slices.Clone(want), 1, 2),
			"?limit=2":                              want[:2],
			"?status=timed_out":                     nil,
			"?" + since:                             want[:1],
			"?since=2999-01-01T00:00:00Z":           nil,
			"?since=2000-01-01T00:00:00Z&limit=200": want,
			"?action=trouble.never":                 nil,
			"?action=trouble.fail&status=failed&" + since: nil,
		} {
			page := list(t, query)
			if diff := cmp.Diff(ids, idsOf(page)); diff != "" {
				t.Errorf("GET /api/v1/executions%s (-want +got):\n%s", query, diff)
			}
			for _, x := range page.Items {
				if x.Pack != "trouble" || x.Gateway != g.id || x.Stdout != nil || x.CreatedAt.IsZero() {
					t.Errorf("GET /api/v1/executions%s has %+v", query, x)
				}
			}
		}
	})
	t.Run("pages", func(t *testing.T) {
		var got []string
		for query := "?limit=2"; ; {
			page := list(t, query)
			got = append(got, idsOf(page)...)
			if page.Next == nil {
				break
			}
			g.invoke(t, "trouble.fine", "{}") // newer ones move no page
			query = "?limit=2&cursor=" + url.QueryEscape(*page.Next)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("all pages (-want +got):\n%s", diff)
		}
	})
	t.Run("bad questions", func(t *testing.T) {
		for path, status := range map[string]int{
			"?status=great": 400, "?limit=0": 400, "?limit=201": 400, "?limit=x": 400, "?since=yesterday": 400, "?action=..": 400, "?cursor=forged": 400,
			"?cursor=": 400, "?colour=red": 400, "?limit=1&limit=2": 400, "?%zz": 400, "/nonsense": 400, "/..%2f": 400, "/" + want[0] + "/logs/both": 404,
			"/01HZZZZZZZZZZZZZZZZZZZZZZZ": 404, "/01HZZZZZZZZZZZZZZZZZZZZZZZ/logs/stdout": 404,
		} {
			if a := g.get(t, "/api/v1/executions"+path); a.status != status || a.problem(t).Status != status {
				t.Errorf("GET /api/v1/executions%s = %d %s, want %d", path, a.status, a.body, status)
			}
		}
	})
}

func idsOf(page executions) []string {
	var ids []string
	for _, x := range page.Items {
		ids = append(ids, x.ID)
	}
	return ids
}

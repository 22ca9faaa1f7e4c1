package api

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/execution"
	"attune/gateway/key"
	"attune/gateway/key/keytest"
)

// callers are the columns of the matrix, with the scopes of their keys.
var callers = map[string][]key.Scope{
	"no key":       nil,
	"unknown":      {key.Admin},
	"expired":      {key.Admin},
	"invoke-only":  {"invoke:demo.*"},
	"other pack":   {"invoke:snake.*", "read:snake", "operate:snake"},
	"read-only":    {"read:demo"},
	"operator":     {"operate:demo"},
	"read-all":     {"read:*"},
	"operate-all":  {"operate:*"},
	"everything":   {"invoke:*", "operate:*"},
	"admin":        {key.Admin},
	"other action": {"invoke:demo.say"},
}

// keyed is a server whose keys are those of callers, and their tokens.
func keyed(t *testing.T, change ...func(*Options)) (*world, map[string]string) {
	t.Helper()
	tokens := map[string]string{}
	var keys []key.Key
	for name, scopes := range callers {
		if scopes == nil {
			continue
		}
		order, now := key.Order{Name: name, Scopes: scopes}, time.Now()
		if name == "expired" {
			now = now.Add(-2 * time.Hour)
			order.ExpiresAt = now.Add(time.Hour)
		}
		k, token, err := key.New(order, now)
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = token
		if name != "unknown" {
			keys = append(keys, k)
		}
	}
	// What POST and DELETE of keys need.
	keys = append(keys, key.Key{ID: knownKey, Name: "to revoke", Scopes: []key.Scope{"read:demo"}, Hash: make([]byte, 32)})
	w := serve(t, Limits{}, append(change, func(o *Options) { o.Keys = mustKeep(t, keytest.NewMemory(keys...)) })...)
	return w, tokens
}

func mustKeep(t *testing.T, store key.Store) *key.Keeper {
	t.Helper()
	keeper := key.NewKeeper(store, slog.New(slog.DiscardHandler))
	if err := keeper.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return keeper
}

// What a caller may be answered, beside what a good request is.
const (
	open   = 0
	absent = http.StatusNotFound // like what isn't there
	barred = http.StatusForbidden
)

// matrixRow is what a route answers whom. Nobody without a valid key gets
// anywhere but to open routes.
type matrixRow map[string]int

// verbRow is the row of a route about the pack demo whose verb is this.
func verbRow(verb string) matrixRow {
	switch verb {
	case key.Invoke:
		return matrixRow{"invoke-only": open, "other pack": absent, "other action": absent, "read-only": barred, "operator": barred,
			"read-all": barred, "operate-all": barred, "everything": open, "admin": open}
	case key.Read:
		return matrixRow{"invoke-only": barred, "other pack": absent, "other action": barred, "read-only": open, "operator": open,
			"read-all": open, "operate-all": open, "everything": open, "admin": open}
	case key.Operate:
		return matrixRow{"invoke-only": barred, "other pack": absent, "other action": barred, "read-only": barred, "operator": open,
			"read-all": barred, "operate-all": open, "everything": open, "admin": open}
	case key.AdminVerb:
		return matrixRow{"invoke-only": barred, "other pack": barred, "other action": barred, "read-only": barred, "operator": barred,
			"read-all": barred, "operate-all": barred, "everything": barred, "admin": open}
	}
	return matrixRow{"invoke-only": open, "other pack": open, "other action": open, "read-only": open, "operator": open,
		"read-all": open, "operate-all": open, "everything": open, "admin": open}
}

// allRow is that of a route which shows something of every pack.
func allRow() matrixRow {
	row := verbRow(key.Read)
	row["other pack"], row["read-only"], row["operator"] = barred, barred, barred
	return row
}

// listRow is that of a listing: what isn't the caller's is left out.
func listRow() matrixRow {
	row := verbRow(key.Read)
	row["other pack"] = open
	return row
}

// matrix has a row for every route; one without fails the test.
var matrix = map[string]matrixRow{
	"GET /":                                             verbRow(""),
	"GET /healthz":                                      verbRow(""),
	"GET /readyz":                                       verbRow(""),
	"GET /metrics":                                      allRow(),
	"GET /problems":                                     verbRow(""),
	"GET /problems/:slug":                               verbRow(""),
	"POST /invoke/:ref":                                 verbRow(key.Invoke),
	"GET /p/:pack/*":                                    verbRow(key.Invoke),
	"POST /p/:pack/*":                                   verbRow(key.Invoke),
	"PUT /p/:pack/*":                                    verbRow(key.Invoke),
	"PATCH /p/:pack/*":                                  verbRow(key.Invoke),
	"DELETE /p/:pack/*":                                 verbRow(key.Invoke),
	"POST /mcp":                                         anyInvokeRow(),
	"GET /openapi.json":                                 documentRow(),
	"GET /docs":                                         verbRow(""),
	"GET /docs/:file":                                   verbRow(""),
	"GET /api/v1/packs":                                 listRow(),
	"POST /api/v1/packs/register":                       verbRow(key.Operate),
	"GET /api/v1/packs/:ref":                            verbRow(key.Read),
	"GET /api/v1/packs/:ref/actions":                    verbRow(key.Read),
	"GET /api/v1/packs/:ref/secrets":                    verbRow(key.Operate),
	"PUT /api/v1/packs/:ref/secrets/:name":              verbRow(key.Operate),
	"DELETE /api/v1/packs/:ref/secrets/:name":           verbRow(key.Operate),
	"GET /api/v1/actions":                               listRow(),
	"GET /api/v1/actions/:ref":                          verbRow(key.Read),
	"GET /api/v1/environments":                          listRow(),
	"POST /api/v1/environments/prune":                   pruneRow(),
	"GET /api/v1/environments/:pack/:runtime":           verbRow(key.Read),
	"DELETE /api/v1/environments/:pack/:runtime":        verbRow(key.Operate),
	"GET /api/v1/environments/:pack/:runtime/log":       verbRow(key.Read),
	"GET /api/v1/environments/:pack/:runtime/events":    verbRow(key.Read),
	"POST /api/v1/environments/:pack/:runtime/build":    verbRow(key.Operate),
	"POST /api/v1/environments/:pack/:runtime/rebuild":  verbRow(key.Operate),
	"POST /api/v1/environments/:pack/:runtime/rollback": verbRow(key.Operate),
	"POST /api/v1/environments/:pack/:runtime/verify":   verbRow(key.Operate),
	"GET /api/v1/keys":                                  verbRow(key.AdminVerb),
	"POST /api/v1/keys":                                 verbRow(key.AdminVerb),
	"DELETE /api/v1/keys/:id":                           verbRow(key.AdminVerb),
	"POST /hooks/:key":                                  verbRow(""),
	"GET /hooks/:key":                                   verbRow(""),
	"GET /api/v1/hooks":                                 listRow(),
	"GET /api/v1/hooks/:ref":                            verbRow(key.Read),
	"POST /api/v1/hooks/:ref/rotate":                    verbRow(key.Operate),
	"POST /api/v1/hooks/:ref/test":                      verbRow(key.Operate),
	"GET /api/v1/hooks/:ref/deliveries":                 verbRow(key.Read),
	"GET /api/v1/hooks/:ref/deliveries/:id":             verbRow(key.Operate),
	"POST /api/v1/hooks/:ref/deliveries/:id/replay":     verbRow(key.Operate),
	"GET /api/v1/executions":                            listRow(),
	"GET /api/v1/executions/:id":                        executionRow(key.Read),
	"GET /api/v1/executions/:id/logs/stdout":            executionRow(key.Read),
	"GET /api/v1/executions/:id/logs/stderr":            executionRow(key.Read),
	"POST /api/v1/executions/:id/cancel":                executionRow(key.Operate),
	"GET /api/v1/schedules":                             listRow(),
	"POST /api/v1/schedules":                            verbRow(key.Operate),
	"GET /api/v1/schedules/:ref":                        verbRow(key.Read),
	"DELETE /api/v1/schedules/:ref":                     verbRow(key.Operate),
	"POST /api/v1/schedules/:ref/run":                   verbRow(key.Operate),
	"POST /api/v1/schedules/:ref/pause":                 verbRow(key.Operate),
	"POST /api/v1/schedules/:ref/resume":                verbRow(key.Operate),
	"POST /api/v1/executions/execute":                   verbRow(key.Invoke),
	"POST /api/v1/executions/:id/retry":                 retryRow(),
	"GET /api/v1/dead":                                  listRow(),
	"GET /api/v1/dead/:id":                              verbRow(key.Read),
	"DELETE /api/v1/dead/:id":                           verbRow(key.Operate),
	"POST /api/v1/dead/:id/redrive":                     verbRow(key.Operate),
}

// executionRow: a key that calls actions has executions of its own, and can't
// tell those of others from none.
func executionRow(verb string) matrixRow {
	row := verbRow(verb)
	row["invoke-only"], row["other action"] = absent, absent
	return row
}

// anyInvokeRow: whoever may call something may ask what.
func anyInvokeRow() matrixRow {
	row := verbRow(key.Invoke)
	row["other pack"], row["other action"] = open, open
	return row
}

// documentRow: it is open to all, but a key that is sent must be one.
func documentRow() matrixRow {
	row := verbRow("")
	row["unknown"], row["expired"] = http.StatusUnauthorized, http.StatusUnauthorized
	return row
}

// retryRow: who may see an execution and call its action.
func retryRow() matrixRow {
	row := executionRow(key.Read)
	for _, caller := range []string{"read-only", "operator", "read-all", "operate-all"} {
		row[caller] = barred
	}
	return row
}

// pruneRow: it is about all packs.
func pruneRow() matrixRow {
	row := verbRow(key.Operate)
	row["operator"], row["other pack"] = barred, barred
	return row
}

func TestEveryRouteForEveryCaller(t *testing.T) {
	t.Parallel()
	probe := serve(t, Limits{})
	for _, r := range probe.routes() {
		name := r.method + " " + r.pattern
		expected, ok := matrix[name]
		if !ok {
			t.Errorf("%s has no row: who may ask for it?", name)
			continue
		}
		row := routeRows[name]
		for caller := range callers {
			t.Run(name+"/"+caller, func(t *testing.T) {
				t.Parallel()
				w, tokens := keyed(t)
				want, known := expected[caller]
				if !known && r.verb != "" {
					want = http.StatusUnauthorized
				}
				target := row.target
				if row.asks {
					target += "?" + row.query
				}
				status, body := w.status(t, r.method, target, row.body, tokens[caller])
				if want == open && status != cmp.Or(row.status, http.StatusOK) || want != open && status != want {
					t.Errorf("%d %s, want %d", status, body, cmp.Or(want, row.status, http.StatusOK))
				}
				if want == absent {
					w.likeMissing(t, r, tokens[caller], body)
				}
			})
		}
	}
	if len(matrix) != len(probe.routes()) {
		t.Errorf("%d rows for %d routes", len(matrix), len(probe.routes()))
	}
}

// status asks and answers without reading on: some answers have no end.
func (w *world) status(t *testing.T, method, target, body, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.Addr().String()+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := w.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if challenge := response.Header.Get("WWW-Authenticate"); (challenge == "Bearer") != (response.StatusCode == http.StatusUnauthorized) {
		t.Errorf("%d with WWW-Authenticate %q", response.StatusCode, challenge)
	}
	if response.StatusCode < 300 {
		return response.StatusCode, ""
	}
	var problem Problem
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
		t.Fatal(err)
	}
	problem.Instance = ""
	encoded, err := json.Marshal(problem)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(encoded)
}

// likeMissing: what a key may not see is answered, word for word, like what
// isn't there, to that key and to an administrator's.
func (w *world) likeMissing(t *testing.T, r route, token, body string) {
	t.Helper()
	gone := strings.NewReplacer(
		"/invoke/demo.echo", "/invoke/gone.echo", "packs/demo", "packs/gone", "actions/demo.echo", "actions/gone.echo",
		"environments/demo", "environments/gone", knownExecution, unknownExecution, cancelledExecution, unknownExecution, deadExecution, unknownExecution, "schedules/demo", "schedules/gone", "hooks/demo", "hooks/gone",
		waitingExecution, unknownExecution, "/p/demo/", "/p/gone/",
	).Replace(routeRows[r.method+" "+r.pattern].target)
	sent := strings.ReplaceAll(routeRows[r.method+" "+r.pattern].body, "/packs/demo", "/packs/gone")
	sent = strings.ReplaceAll(sent, `"demo.`, `"gone.`)
	if status, got := w.status(t, r.method, gone, sent, token); status != absent || got != body {
		t.Errorf("what is missing = %d %s, what is another's = %s", status, got, body)
	}
	if strings.Contains(r.pattern, "register") || strings.Contains(r.pattern, "/secrets/:name") && r.method == "DELETE" || r.pattern == "/api/v1/schedules" {
		return // an administrator is told what is wrong with the directory or schedule, and that there is no such secret
	}
	if status, got := w.status(t, r.method, gone, sent, w.token(t, key.Admin)); status != absent || got != body {
		t.Errorf("what is missing, for an administrator = %d %s, what is another's = %s", status, got, body)
	}
}

// token makes a further key.
func (w *world) token(t *testing.T, scopes ...key.Scope) string {
	t.Helper()
	_, token, err := w.Keys.Create(t.Context(), key.Order{Name: "further", Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Whoever has asked for an execution may follow and cancel it, and nobody else who
// only calls actions.
func TestExecutionsOfOnesOwn(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t)
	mine := storedExecution()
	mine.ID, mine.Caller, mine.Status = liveExecution, tokens["invoke-only"][len("attune_"):][:26], execution.StatusCancelled
	w.store.ended[mine.ID] = mine // before the first request
	for _, route := range []string{"GET ", "GET /logs/stdout", "GET /logs/stderr", "POST /cancel"} {
		method, path, _ := strings.Cut(route, " ")
		target := "/api/v1/executions/" + mine.ID + path
		for caller, want := range map[string]int{"invoke-only": 200, "other action": 404, "other pack": 404, "no key": 401, "operator": 200} {
			if status, body := w.status(t, method, target, "", tokens[caller]); status != want {
				t.Errorf("%s: %s %s = %d %s, want %d", caller, method, target, status, body, want)
			}
		}
	}
	if status, _ := w.status(t, "GET", "/api/v1/executions", "", tokens["invoke-only"]); status != barred {
		t.Errorf("all executions = %d, want 403", status)
	}
}

// Listings have what the key may see, and nothing else.
func TestListingsAreTheKeys(t *testing.T) {
	t.Parallel()
	w, _ := keyed(t)
	refs := func(target, token string) (found []string) {
		response, body := w.do(t, "GET", target, "", "Authorization", "Bearer "+token)
		var list struct {
			Items []struct{ Ref, Pack, Action string }
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("GET %s = %d %s", target, response.StatusCode, body)
		}
		for _, item := range list.Items {
			found = append(found, cmp.Or(item.Ref, item.Action, item.Pack))
		}
		slices.Sort(found)
		return found
	}
	for scope, want := range map[key.Scope]map[string][]string{
		"read:snake":    {"packs": {"snake"}, "actions": {"snake.run"}, "environments": nil, "executions": nil},
		"operate:demo":  {"packs": {"demo"}, "actions": {"demo.echo", "demo.off", "demo.order", "demo.page", "demo.raw", "demo.rows", "demo.say"}, "environments": {"demo"}, "executions": {"demo.echo"}},
		"read:broken":   {"packs": {"broken"}, "actions": nil, "environments": nil, "executions": nil},
		"read:nobodys":  {"packs": nil, "actions": nil, "environments": nil, "executions": nil},
		"read:*":        {"packs": {"asleep", "broken", "demo", "snake"}, "environments": {"demo"}, "executions": {"demo.echo"}},
		key.Admin:       {"packs": {"asleep", "broken", "demo", "snake"}, "environments": {"demo"}, "executions": {"demo.echo"}},
		"operate:snake": {"executions?action=demo.echo": nil, "executions?action=snake.run": {"demo.echo"}}, // the fake has but one
	} {
		token := w.token(t, scope)
		for list, refsWanted := range want {
			if diff := gocmp.Diff(refsWanted, refs("/api/v1/"+list, token)); diff != "" {
				t.Errorf("%s of a key with %s (-want +got):\n%s", list, scope, diff)
			}
		}
	}
}

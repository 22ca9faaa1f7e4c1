package api

import (
	"encoding/json"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// audited are the audit records of a log, without what differs each time.
func (w *world) audited(t *testing.T) (records []map[string]any) {
	t.Helper()
	for line := range strings.Lines(w.log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record["msg"] != "audit" {
			continue
		}
		if record["request"] == "" || record["client"] != "127.0.0.1" || record["level"] != "INFO" {
			t.Errorf("record = %v", record)
		}
		for _, name := range []string{"time", "level", "msg", "request", "client"} {
			delete(record, name)
		}
		records = append(records, record)
	}
	return records
}

func TestAudit(t *testing.T) {
	t.Parallel()
	w, tokens := keyed(t)
	ask := func(method, target, body, caller string) { w.status(t, method, target, body, tokens[caller]) }
	ask("GET", "/api/v1/packs", "", "admin")        // looking is not recorded
	ask("POST", "/invoke/demo.echo", "{}", "admin") // calls are in the access log
	ask("PUT", "/api/v1/packs/demo/secrets/token", `{"value":"hush"}`, "operator")
	ask("POST", demoEnv+"/build", "", "operator")
	ask("POST", demoEnv+"/build", "", "other pack")
	ask("POST", demoEnv+"/build", "", "read-only")
	ask("DELETE", "/api/v1/keys/"+knownKey, "", "admin")
	ask("GET", "/api/v1/packs", "", "no key")
	ask("POST", "/invoke/demo.echo", "{}", "unknown")
	ask("GET", "/api/v1/packs", "", "expired")
	ask("DELETE", "/api/v1/keys/"+canary, "", "invoke-only")
	ask("DELETE", "/api/v1/keys/%0a"+canary, "", "read-only")
	id := func(caller string) string { return tokens[caller][len("attune_"):][:26] }
	build := "/api/v1/environments/:pack/:runtime/build"
	want := []map[string]any{
		{"method": "PUT", "route": "/api/v1/packs/:ref/secrets/:name", "status": 204.0, "key": id("operator"), "key_name": "operator",
			"resource": "demo", "path": "/api/v1/packs/demo/secrets/token"},
		{"method": "POST", "route": build, "status": 202.0, "key": id("operator"), "key_name": "operator", "resource": "demo", "path": demoEnv + "/build"},
		{"method": "POST", "route": build, "status": 404.0, "key": id("other pack"), "key_name": "other pack"},
		{"method": "POST", "route": build, "status": 403.0, "key": id("read-only"), "key_name": "read-only"},
		{"method": "DELETE", "route": "/api/v1/keys/:id", "status": 204.0, "key": id("admin"), "key_name": "admin",
			"resource": knownKey, "path": "/api/v1/keys/" + knownKey},
		{"method": "GET", "route": "/api/v1/packs", "status": 401.0, "denied": "missing"},
		{"method": "POST", "route": "/invoke/:ref", "status": 401.0, "denied": "unknown"},
		{"method": "GET", "route": "/api/v1/packs", "status": 401.0, "denied": "expired", "key": id("expired"), "key_name": "expired"},
		{"method": "DELETE", "route": "/api/v1/keys/:id", "status": 403.0, "key": id("invoke-only"), "key_name": "invoke-only"},
		{"method": "DELETE", "route": "/api/v1/keys/:id", "status": 403.0, "key": id("read-only"), "key_name": "read-only"},
	}
	if diff := gocmp.Diff(want, w.audited(t)); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	for _, forbidden := range []string{"hush", canary} {
		if strings.Contains(w.log.String(), forbidden) {
			t.Errorf("the log has %q", forbidden)
		}
	}
}

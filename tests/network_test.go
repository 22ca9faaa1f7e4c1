package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"attune/runtimes/container/containertest"
)

// hostServer is an HTTP server of this machine with pages that containers can ask
// for.
func hostServer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Method", r.Method)
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-Word"), body)
	})
	mux.Handle("/moved", http.RedirectHandler("/echo", http.StatusFound))
	return serveContainers(t, mux)
}

// serveContainers serves on an address that containers on the engine's default
// bridge can reach, and returns its URL. Where the engine is a virtual
// machine's, the bridge is not here, and the test is skipped.
func serveContainers(t *testing.T, handler http.Handler) string {
	t.Helper()
	containertest.RequireDocker(t)
	out, err := exec.Command("docker", "network", "inspect", "bridge", "--format", "{{range .IPAM.Config}}{{println .Gateway}}{{end}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	for _, address := range strings.Fields(string(out)) {
		if ip := net.ParseIP(address); ip != nil && ip.To4() != nil {
			listener, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		}
	}
	if listener == nil {
		t.Skipf("the engine's bridge (%s) is not on this machine, so containers can't reach a server here: %v", out, err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// TestExamplesThatUseTheNetwork runs the examples with `network: outbound`.
func TestExamplesThatUseTheNetwork(t *testing.T) {
	url := hostServer(t)
	g := examples(t).beside("network").start(t) // the shared one has instances without network only

	page := g.mustInvoke(t, "python_example.http_example", `{"url":"`+url+`/echo"}`).value(t)
	if page["status_code"] != 200.0 || page["size"] != "1 Byte" || page["url"] != url+"/echo" {
		t.Errorf("python_example.http_example = %v", page)
	}
	type response struct {
		StatusCode int    `json:"status_code"`
		Success    bool   `json:"success"`
		URL        string `json:"url"`
		Headers    map[string]string
		Body       string
	}
	for name, test := range map[string]struct {
		request map[string]any
		want    response
		method  string
	}{
		"post":         {map[string]any{"url": "/echo", "method": "POST", "headers": map[string]string{"X-Word": "--evil"}, "body": "@/etc/passwd"}, response{200, true, "/echo", nil, "--evil @/etc/passwd"}, "POST"},
		"redirect":     {map[string]any{"url": "/moved"}, response{200, true, "/echo", nil, " "}, "GET"},
		"not followed": {map[string]any{"url": "/moved", "follow_redirects": false}, response{302, false, "/moved", nil, "<a href=\"/echo\">Found</a>.\n\n"}, ""},
		"head":         {map[string]any{"url": "/echo", "method": "HEAD"}, response{200, true, "/echo", nil, ""}, "HEAD"},
		"not found":    {map[string]any{"url": "/nothing"}, response{404, false, "/nothing", nil, "404 page not found\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.request["url"] = url + test.request["url"].(string)
			body, err := json.Marshal(test.request)
			if err != nil {
				t.Fatal(err)
			}
			var got response
			decode(t, g.mustInvoke(t, "core.http_request", string(body)).body, &got)
			if method := got.Headers["x-method"]; method != test.method {
				t.Errorf("core.http_request %s: the server saw the method %q, want %q", body, method, test.method)
			}
			got.Headers, got.URL = nil, strings.TrimPrefix(got.URL, url)
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("core.http_request %s = %+v, want %+v", body, got, test.want)
			}
		})
	}
	if p := g.invoke(t, "core.http_request", `{"url":"file:///etc/passwd"}`).problem(t); p.Status != 422 {
		t.Errorf("core.http_request of a file = %+v", p)
	}
}

// TestNetworkNeedsAskingAndGranting: the pack asks, the operator grants, and
// without both there is none.
func TestNetworkNeedsAskingAndGranting(t *testing.T) {
	url := hostServer(t)
	h := newHome(t)
	connect := "exec 2>&1; echo >/dev/tcp/" + strings.Replace(strings.TrimPrefix(url, "http://"), ":", "/", 1) + " && echo connected || echo refused\n"
	for _, pack := range []string{"granted", "denied"} {
		h.pack(t, pack, map[string]string{
			"actions/asks.yaml":  "ref: " + pack + ".asks\nentry_point: c.sh\nnetwork: outbound\n",
			"actions/quiet.yaml": "ref: " + pack + ".quiet\nentry_point: c.sh\n",
			"actions/c.sh":       connect,
		})
	}
	g := h.start(t, "ATTUNE__NETWORK__OUTBOUND=granted")
	if got := g.mustInvoke(t, "granted.asks", "{}").body; got != "connected\n" {
		t.Errorf("asked and granted: %q", got)
	}
	for _, action := range []string{"granted.quiet", "denied.quiet"} {
		if got := g.mustInvoke(t, action, "{}").body; !strings.HasSuffix(got, "refused\n") || strings.Contains(got, "connected") {
			t.Errorf("%s did not ask: %q", action, got)
		}
	}
	a := g.invoke(t, "denied.asks", "{}")
	if p := a.problem(t); a.status != 403 || p.Type != "/problems/forbidden" || p.Component != "pack" || p.Started {
		t.Errorf("asked and not granted = %d %s", a.status, a.body)
	}
}

package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ran is what a command has left behind.
type ran struct {
	Code           int
	Stdout, Stderr string
}

// runProgram runs the whole command line in-process, without a terminal.
func runProgram(t *testing.T, p *program, args ...string) ran {
	t.Helper()
	var stdout, stderr strings.Builder
	p.Stdout, p.Stderr = &stdout, &stderr
	if p.Stdin == nil {
		p.Stdin = strings.NewReader("")
	}
	code := p.run(t.Context(), args)
	return ran{code, stdout.String(), stderr.String()}
}

// canned is an answer of a fake gateway.
type canned struct {
	status int
	body   string
	header map[string]string
}

// fakeGateway answers each "METHOD /path?query" in turn with the canned
// answers, and records the bodies it was sent.
type fakeGateway struct {
	*httptest.Server
	bodies []string
}

func newFakeGateway(t *testing.T, answers map[string][]canned) *fakeGateway {
	t.Helper()
	gateway := &fakeGateway{}
	gateway.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		gateway.bodies = append(gateway.bodies, string(body))
		call := r.Method + " " + r.URL.RequestURI()
		left := answers[call]
		if len(left) == 0 {
			t.Errorf("the fake gateway has no answer to %s", call)
			return
		}
		answers[call] = left[1:]
		for name, value := range left[0].header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(left[0].status)
		io.WriteString(w, left[0].body)
	}))
	t.Cleanup(gateway.Close)
	return gateway
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, `attune: expected one of "serve", "invoke", "pack", "env", "secret", ...; see attune --help`},
		{[]string{"frob"}, "attune: unexpected argument frob; see attune --help"},
		{[]string{"invoke"}, `attune: expected "<ref>"; see attune --help`},
		{[]string{"invoke", "../x"}, `attune: invalid ref "../x": an action's ref is pack.action, each a lower-case letter and up to 62 of a-z, 0-9, _ and -`},
		{[]string{"invoke", "a.b", "x"}, `attune: parameter "x" is neither key=text nor key:=JSON`},
		{[]string{"invoke", "a.b", "x=1", "x:=2"}, `attune: parameter "x" is given twice: keep one`},
		{[]string{"invoke", "a.b", "x:=yes"}, `attune: parameter "x": "yes" is not JSON; for text write x=…`},
		{[]string{"invoke", "a.b", "x=1", "-d", "{}"}, "attune: give parameters by --data or as key=value, not both"},
		{[]string{"invoke", "a.b", "-d", "{"}, `attune: --data is not JSON: write {"key": "value"}, @FILE, or - for stdin`},
		{[]string{"invoke", "a.b", "-d", "@/nowhere"}, "attune: --data: open /nowhere: no such file or directory"},
		{[]string{"invoke", "a.b", "--timeout=-1s"}, "attune: --timeout -1s is negative: give a duration like 30s"},
		{[]string{"health", "--url", "localhost:1"}, `attune: --url "localhost:1" is no address of a gateway: write http://host:port`},
		{[]string{"pack", "list", "-o", "xml"}, `attune: --output must be one of "table","json" but got "xml"; see attune --help`},
	} {
		got := runProgram(t, &program{}, test.args...)
		if want := (ran{exitUsage, "", test.want + "\n"}); got != want {
			t.Errorf("attune %q (-want +got):\n%s", test.args, cmp.Diff(want, got))
		}
	}
}

func TestHelpIsNoError(t *testing.T) {
	t.Parallel()
	got := runProgram(t, &program{}, "--help")
	if got.Code != exitOK || !strings.Contains(got.Stdout, "config check") || got.Stderr != "" {
		t.Errorf("attune --help = %+v", got)
	}
}

// Ensure a gateway without keys never listens where others can reach it, unless
// it is told to.
func TestServeRefusesExposure(t *testing.T) {
	t.Parallel()
	port := 0
	for _, test := range []struct {
		cmd     ServeCmd
		environ []string
		want    string
	}{
		{cmd: ServeCmd{Port: &port}},
		{cmd: ServeCmd{Host: "localhost"}},
		{cmd: ServeCmd{Host: "0.0.0.0", Insecure: true}},
		{cmd: ServeCmd{Host: "0.0.0.0"}, want: "server.host (--host): 0.0.0.0 can be reached from other machines, and there is no API key: make one (attune key create --local --scope admin NAME), listen on 127.0.0.1, or allow it with --insecure"},
		{environ: []string{"ATTUNE__SERVER__HOST=::"}, want: "server.host (ATTUNE__SERVER__HOST): :: can be reached from other machines, and there is no API key: make one (attune key create --local --scope admin NAME), listen on 127.0.0.1, or allow it with --insecure"},
		{environ: []string{"ATTUNE__SERVER__HOST=example"}, want: "server.host (ATTUNE__SERVER__HOST): example can be reached from other machines, and there is no API key: make one (attune key create --local --scope admin NAME), listen on 127.0.0.1, or allow it with --insecure"},
		{environ: []string{"ATTUNE__ADMIN__HOST=0.0.0.0"}},
		{environ: []string{"ATTUNE__ADMIN__HOST=0.0.0.0", "ATTUNE__ADMIN__PORT=9"}, want: "admin.host (ATTUNE__ADMIN__HOST): 0.0.0.0 can be reached from other machines, and the administrative listener asks for no key: listen on 127.0.0.1, or allow it with --insecure"},
		{cmd: ServeCmd{Insecure: true}, environ: []string{"ATTUNE__ADMIN__HOST=0.0.0.0", "ATTUNE__ADMIN__PORT=9"}},
	} {
		_, err := test.cmd.load(t.Context(), &program{Environ: test.environ})
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%+v with %q: error = %q; want %q", test.cmd, test.environ, got, test.want)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	got := runProgram(t, &program{Environ: []string{"ATTUNE__REDIS__URL=redis://u:s3cret@r:6379/0?password=s3cret", "ATTUNE__RUNTIME_ENVS_DIR=envs"}}, "config", "check")
	want := ran{exitOK, `ok
listens on    http://127.0.0.1:8080
engine        docker
packs         /opt/attune/packs
environments  volume envs
state         Redis at redis://u:***@r:6379/0?***
network for   no pack
changed       2 of 79 settings
`, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config check (-want +got):\n%s", diff)
	}
	got = runProgram(t, &program{Environ: []string{"ATTUNE__ENGINE=x"}}, "config", "check")
	want = ran{exitUsage, "", "attune: the configuration has 1 fault:\n  - engine (ATTUNE__ENGINE): \"x\" is unknown: write docker or process\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config check with a fault (-want +got):\n%s", diff)
	}
}

func TestConfigShowMasksSecrets(t *testing.T) {
	t.Parallel()
	got := runProgram(t, &program{Environ: []string{"ATTUNE__REDIS__URL=redis://:s3cret@r:6379"}}, "config", "show")
	if !strings.Contains(got.Stdout, `  url: "redis://:***@r:6379"  # ATTUNE__REDIS__URL`) || strings.Contains(got.Stdout, "s3cret") {
		t.Errorf("config show = %+v", got)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	got := describe(&debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}}})
	if got.Commit != "abc" || !got.Modified || got.API != "v1" || got.Version != version {
		t.Errorf("describe = %+v", got)
	}
	var shown build
	if err := json.Unmarshal([]byte(runProgram(t, &program{}, "version", "-o", "json").Stdout), &shown); err != nil || shown.Version != version {
		t.Errorf("version -o json = %+v, %v", shown, err)
	}
	if text := runProgram(t, &program{}, "version").Stdout; !strings.HasPrefix(text, "attune "+version+" (api v1, commit ") {
		t.Errorf("version = %q", text)
	}
}

// Ensure an interrupted command ends, and says so.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gateway := newFakeGateway(t, nil)
	var stderr strings.Builder
	p := &program{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &stderr}
	code := p.run(ctx, []string{"invoke", "a.b", "--url", gateway.URL})
	if want := "attune: gave up on " + gateway.URL + ": context canceled\n"; code != exitGateway || stderr.String() != want {
		t.Errorf("interrupted invoke = %d, %q; want %d, %q", code, stderr.String(), exitGateway, want)
	}
}

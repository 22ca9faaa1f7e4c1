package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const digestOne, digestTwo = "0123456789abcdef0123456789abcdef", "fedcba98765432100123456789abcdef"

// onTerminal is a program whose stderr is a terminal.
func onTerminal() *program {
	return &program{StderrWidth: func() int { return 60 }, Environ: []string{"NO_COLOR=1"}}
}

// sse is an answer of server-sent events: name, data, name, data …
func sse(parts ...string) canned {
	var b strings.Builder
	for i := 0; i < len(parts); i += 2 {
		b.WriteString(": heartbeat\n\nid: 1\nevent: " + parts[i] + "\ndata: " + parts[i+1] + "\n\n")
	}
	return canned{status: 200, body: b.String(), header: map[string]string{"Content-Type": "text/event-stream"}}
}

const (
	stateBuilding = `{"pack":"a","runtime":"python","state":"building","digest":"` + digestOne + `"}`
	stateReady    = `{"pack":"a","runtime":"python","state":"ready","digest":"` + digestOne + `","serving":"` + digestOne + `","build_ms":3100,"bytes":35651584,` +
		`"packages":[{"name":"idna","version":"3.7"},{"name":"six","version":"1.17.0"}]}`
	stateDegraded = `{"pack":"a","runtime":"python","state":"degraded","digest":"` + digestOne + `","serving":"` + digestTwo + `","reason":"exit code 1"}`
	stateAbsent   = `{"pack":"a","runtime":"python","state":"absent","digest":"` + digestOne + `"}`

	phaseInstall   = `{"pack":"a","runtime":"python","digest":"` + digestOne + `","phase":"install","elapsed_ms":100}`
	lineInstall    = `{"pack":"a","runtime":"python","digest":"` + digestOne + `","phase":"install","line":"Collecting \u001b[31midna","elapsed_ms":110}`
	phasePublished = `{"pack":"a","runtime":"python","digest":"` + digestOne + `","phase":"published","elapsed_ms":3100}`
	phaseFailed    = `{"pack":"a","runtime":"python","digest":"` + digestOne + `","phase":"failed","elapsed_ms":700,"reason":"no room"}`
	otherFailed    = `{"pack":"a","runtime":"python","digest":"` + digestTwo + `","phase":"failed","elapsed_ms":9,"reason":"of another build"}`

	builtLines = "a/python: install after 0.1 s\n  | Collecting [31midna\na/python: published after 3.1 s\n"
	envA       = "/api/v1/environments/a/python"
)

func TestEnvBuild(t *testing.T) {
	t.Parallel()
	events, log := "GET "+envA+"/events", "GET "+envA+"/log"
	done := []canned{sse("state", stateBuilding, "phase", phaseInstall, "log", lineInstall, "phase", phasePublished, "state", stateReady)}
	for name, test := range map[string]struct {
		args    []string
		started string
		answers map[string][]canned
		want    ran
	}{
		"followed": {
			started: stateBuilding, answers: map[string][]canned{events: done},
			want: ran{exitOK, "ready in 3.1 s, 2 packages, 34.0 MiB\n", builtLines},
		},
		"ready already": {started: stateReady, want: ran{exitOK, "ready in 3.1 s, 2 packages, 34.0 MiB\n", ""}},
		"not waited for": {
			args: []string{"--no-wait"}, started: stateBuilding, want: ran{exitOK, "a/python: building\n", ""},
		},
		"begun a moment later": {
			started: stateAbsent, answers: map[string][]canned{events: {sse("state", stateAbsent, "phase", phaseInstall, "log", lineInstall, "phase", phasePublished, "state", stateReady)}},
			want: ran{exitOK, "ready in 3.1 s, 2 packages, 34.0 MiB\n", builtLines},
		},
		// The connection breaks off in the middle, and what is told again is not shown again.
		"over two connections": {
			started: stateBuilding, answers: map[string][]canned{events: {
				sse("state", stateBuilding, "phase", phaseInstall),
				{status: 503, body: `{"type":"/problems/draining","title":"The gateway is stopping","retryable":true}`},
				sse("state", stateBuilding, "phase", phaseInstall, "log", lineInstall, "phase", phasePublished, "state", stateReady),
			}},
			want: ran{exitOK, "ready in 3.1 s, 2 packages, 34.0 MiB\n", builtLines},
		},
		"failed beside what serves": {
			started: stateBuilding, answers: map[string][]canned{
				events: {sse("state", stateBuilding, "phase", otherFailed, "phase", phaseFailed, "state", stateDegraded)},
				log:    {{status: 200, body: strings.Repeat("line\n", 30) + "the \x1b[31mlast\n"}},
			},
			want: ran{exitFailed, "", "a/python: failed after 0.7 s\n" +
				"attune: the build of a/python has failed: exit code 1; generation fedcba987654 goes on serving\n  log:\n" +
				strings.Repeat("  | line\n", 19) + "  | the [31mlast\n"},
		},
		"no trace in the state": {
			started: stateAbsent, answers: map[string][]canned{
				events: {sse("state", stateAbsent, "phase", phaseFailed, "state", stateAbsent)},
				log:    {{status: 404, body: `{"type":"/problems/not-found","title":"none"}`}},
			},
			want: ran{exitFailed, "", "a/python: failed after 0.7 s\nattune: the build of a/python has failed: no room\n"},
		},
		"removed meanwhile": {
			started: stateBuilding, answers: map[string][]canned{events: {sse("state", stateBuilding, "state", stateAbsent)}},
			want: ran{exitFailed, "", "attune: a/python was removed meanwhile\n"},
		},
		"gone meanwhile": {
			started: stateBuilding, answers: map[string][]canned{events: {{status: 404, body: `{"type":"/problems/not-found","title":"There is no such resource"}`}}},
			want: ran{exitUsage, "", "attune: There is no such resource (404 not-found)\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"build", "rebuild"} {
				answers := map[string][]canned{"POST " + envA + "/" + verb: {{status: 202, body: test.started}}}
				for call, canned := range test.answers {
					answers[call] = canned
				}
				gateway := newFakeGateway(t, answers)
				got := runProgram(t, &program{}, append([]string{"env", verb, "a", "python", "--url", gateway.URL}, test.args...)...)
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("env %s (-want +got):\n%s", verb, diff)
				}
			}
		})
	}
}

func TestEnvBuildAsJSON(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{
		"POST " + envA + "/build": {{status: 202, body: stateReady}, {status: 202, body: stateDegraded}},
		"GET " + envA + "/log":    {{status: 200, body: "no such package"}},
		"GET " + envA + "/events": {sse("state", stateDegraded)},
	})
	got := runProgram(t, &program{}, "env", "build", "a", "python", "-o", "json", "--url", gateway.URL)
	if got.Code != exitOK || !strings.HasPrefix(got.Stdout, "{\n  \"pack\": \"a\"") || got.Stderr != "" {
		t.Errorf("env build -o json = %+v", got)
	}
	got = runProgram(t, &program{}, "env", "build", "a", "python", "-o", "json", "--url", gateway.URL)
	if got.Code != exitFailed || !strings.Contains(got.Stdout, `"state": "degraded"`) || !strings.Contains(got.Stderr, "no such package") {
		t.Errorf("env build -o json of what fails = %+v", got)
	}
}

// Ensure Ctrl-C says that the build goes on.
func TestEnvBuildInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			io.WriteString(w, stateBuilding)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "event: state\ndata: "+stateBuilding+"\n\n")
		w.(http.Flusher).Flush()
		interrupt()
		<-r.Context().Done()
	}))
	defer server.Close()
	var stderr strings.Builder
	p := &program{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &stderr}
	code := p.run(ctx, []string{"env", "build", "a", "python", "--url", server.URL})
	want := "attune: stopped watching; the build goes on, and attune env show a python tells how it ends\n"
	if code != exitGateway || stderr.String() != want {
		t.Errorf("interrupted env build = %d, %q; want %d, %q", code, stderr.String(), exitGateway, want)
	}
}

// Ensure a runtime may be left out where there is one, and that names are
// checked before they become part of a URL.
func TestEnvironmentNames(t *testing.T) {
	t.Parallel()
	list := canned{status: 200, body: `{"items":[{"pack":"a","runtime":"python"},{"pack":"b","runtime":"node"},{"pack":"b","runtime":"python"}]}`}
	gateway := newFakeGateway(t, map[string][]canned{
		"GET /api/v1/environments": {list, list, list},
		"GET " + envA + "/log":     {{status: 200, body: "it \x1b[31mworked\n"}},
	})
	for _, test := range []struct {
		args []string
		want ran
	}{
		{[]string{"log", "a"}, ran{exitOK, "it \x1b[31mworked\n", ""}},
		{[]string{"log", "b"}, ran{exitUsage, "", "attune: pack b has several environments: add one of node, python\n"}},
		{[]string{"log", "c"}, ran{exitUsage, "", "attune: pack c has no environment: attune env list shows those that there are\n"}},
		{[]string{"log", "../x"}, ran{exitUsage, "", `attune: invalid ref "../x": a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -` + "\n"}},
		{[]string{"show", "a", "X"}, ran{exitUsage, "", `attune: invalid ref "X": a pack's ref is a lower-case letter and up to 62 of a-z, 0-9, _ and -` + "\n"}},
	} {
		got := runProgram(t, &program{}, append(append([]string{"env"}, test.args...), "--url", gateway.URL)...)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("env %q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestEnvListShowsWhatServes(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{"GET /api/v1/environments": {{status: 200, body: `{"items":[` + stateReady + `,` + stateDegraded + `,
{"pack":"q","runtime":"node","state":"queued"},{"pack":"r","runtime":"node","state":"ready","digest":"` + digestOne + `","serving":"` + digestTwo + `","rolled_back":true}]}`}}})
	got := runProgram(t, &program{}, "env", "list", "--url", gateway.URL)
	want := ran{exitOK, `PACK  RUNTIME  STATE     DIGEST        SERVING       SIZE      BUILT  DETAIL
a     python   ready     0123456789ab                34.0 MiB
a     python   degraded  0123456789ab  fedcba987654                   exit code 1
q     node     queued                                                 waits for a slot or another gateway
r     node     ready     0123456789ab  fedcba987654                   rolled back
`, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("env list (-want +got):\n%s", diff)
	}
}

func TestEnvShow(t *testing.T) {
	t.Parallel()
	answer := canned{status: 200, body: `{"pack":"a","runtime":"python","state":"degraded","digest":"` + digestOne + `","serving":"` + digestTwo + `","path":"/e/a/python",
"phase":"queued","reason":"exit code 1","attempt":2,"image":"sha256:aabbccddeeff0011","built_by":"g1","build_ms":3100,"bytes":1024,"files":3,
"shared_from":{"digest":"` + digestOne + `","pack":"b","resolved_at":"2026-11-24T08:00:00Z"},
"packages":[{"name":"idna","version":"3.7"}],"generations":[{"digest":"` + digestTwo + `","serving":true,"bytes":1024,"files":3,"image":"sha256:aabbccddeeff0011","built_at":"2026-11-24T08:00:00Z"}]}`}
	gateway := newFakeGateway(t, map[string][]canned{"GET " + envA: {answer, answer, {status: 404, body: `{"type":"/problems/not-found","title":"There is no such resource","component":"gateway"}`}}})
	got := runProgram(t, &program{}, "env", "show", "a", "python", "--url", gateway.URL)
	for _, part := range []string{
		"environment  a/python\nstate        degraded\nphase        queued\nreason       exit code 1\nattempts     2 failed\ndigest       " + digestOne +
			"\nserving      " + digestTwo + "\npath         /e/a/python\nimage        sha256:aabbccddeeff0011\nbuilt         in 3.1 s by gateway g1\ncopied from  environment " + digestOne +
			" of pack b, versions chosen " + time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Local().Format("2006-01-02 15:04") + "\nsize         1.0 KiB in 3 files\n\n",
		"GENERATION                        BUILT             SIZE     FILES  IMAGE         SERVING\n" + digestTwo + "  2026-11-24 ",
		"  1.0 KiB  3      aabbccddeeff  yes\n\nPACKAGE  VERSION\nidna     3.7\n",
	} {
		if !strings.Contains(got.Stdout, part) {
			t.Errorf("env show lacks\n%s\nin\n%s", part, got.Stdout)
		}
	}
	if got := runProgram(t, &program{}, "env", "show", "a", "python", "-o", "json", "--url", gateway.URL); !strings.Contains(got.Stdout, `"built_by": "g1"`) {
		t.Errorf("env show -o json = %+v", got)
	}
	want := ran{exitUsage, "", "attune: There is no such resource (404 not-found)\n  failed in: gateway\n"}
	if diff := cmp.Diff(want, runProgram(t, &program{}, "env", "show", "a", "python", "--url", gateway.URL)); diff != "" {
		t.Errorf("env show of none (-want +got):\n%s", diff)
	}
}

func TestEnvRollback(t *testing.T) {
	t.Parallel()
	shown := canned{status: 200, body: `{"generations":[{"digest":"` + digestOne + `"},{"digest":"` + digestTwo + `"}]}`}
	rolled := canned{status: 200, body: `{"state":"ready","serving":"` + digestTwo + `"}`}
	gateway := newFakeGateway(t, map[string][]canned{
		"POST " + envA + "/rollback": {rolled, rolled, {status: 409, body: `{"type":"/problems/no-generation","title":"The environment has no such generation"}`}},
		"GET " + envA:                {shown, shown},
	})
	for _, test := range []struct {
		args []string
		want ran
	}{
		{nil, ran{exitOK, "a/python: generation fedcba987654 serves\n", ""}},
		{[]string{"--to", "fedc"}, ran{exitOK, "a/python: generation fedcba987654 serves\n", ""}},
		{[]string{"--to", "beef"}, ran{exitUsage, "", "attune: 0 generations of a/python begin with \"beef\": attune env show a python lists them\n"}},
		{nil, ran{exitUsage, "", "attune: The environment has no such generation (409 no-generation)\n"}},
	} {
		got := runProgram(t, &program{}, append([]string{"env", "rollback", "a", "python", "--url", gateway.URL}, test.args...)...)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("env rollback %q (-want +got):\n%s", test.args, diff)
		}
	}
	if diff := cmp.Diff([]string{"{}", "", `{"digest":"` + digestTwo + `"}`, "", "{}"}, gateway.bodies); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

func TestEnvVerify(t *testing.T) {
	t.Parallel()
	good := canned{status: 200, body: `{"digest":"` + digestOne + `","ok":true,"faults":[],"files":7,"bytes":1024}`}
	bad := canned{status: 200, body: `{"digest":"` + digestOne + `","ok":false,"faults":["lib/x.py has changed","lib/\u001b[31my is gone"],"files":7,"bytes":1024}`}
	none := canned{status: 409, body: `{"type":"/problems/no-generation","title":"none"}`}
	list := canned{status: 200, body: `{"items":[{"pack":"a","runtime":"python"},{"pack":"b","runtime":"node"}]}`}
	gateway := newFakeGateway(t, map[string][]canned{
		"GET /api/v1/environments":                {list, list, list},
		"POST " + envA + "/verify":                {bad, good, good},
		"POST /api/v1/environments/b/node/verify": {none},
	})
	for _, test := range []struct {
		args []string
		want ran
	}{
		{nil, ran{exitFailed, `PACK  RUNTIME  STATE    DIGEST        FILES  SIZE
a     python   changed  0123456789ab  7      1.0 KiB
b     node     absent

a/python: lib/x.py has changed
a/python: lib/[31my is gone
`, ""}},
		{[]string{"a"}, ran{exitOK, "PACK  RUNTIME  STATE  DIGEST        FILES  SIZE\na     python   ok     0123456789ab  7      1.0 KiB\n", ""}},
		{[]string{"a", "python"}, ran{exitOK, "PACK  RUNTIME  STATE  DIGEST        FILES  SIZE\na     python   ok     0123456789ab  7      1.0 KiB\n", ""}},
		{[]string{"c"}, ran{exitUsage, "", "attune: pack c has no environment: attune env list shows those that there are\n"}},
	} {
		got := runProgram(t, &program{}, append([]string{"env", "verify", "--url", gateway.URL}, test.args...)...)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("env verify %q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestEnvPruneAndRemove(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{
		"POST /api/v1/environments/prune": {{status: 200, body: `{"items":[]}`}, {status: 200, body: `{"items":[{"pack":"a","runtime":"python","digest":"` + digestOne + `","bytes":1024}]}`}},
		"DELETE " + envA:                  {{status: 204}},
	})
	for _, test := range []struct {
		args []string
		want ran
	}{
		{[]string{"prune"}, ran{exitOK, "nothing to delete\n", ""}},
		{[]string{"prune", "--all"}, ran{exitOK, "PACK  RUNTIME  DIGEST        SIZE\na     python   0123456789ab  1.0 KiB\n\n1 generation deleted, 1.0 KiB\n", ""}},
		{[]string{"remove", "a", "python"}, ran{exitOK, "a/python: forgotten\n", ""}},
	} {
		got := runProgram(t, &program{}, append(append([]string{"env"}, test.args...), "--url", gateway.URL)...)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("env %q (-want +got):\n%s", test.args, diff)
		}
	}
	if diff := cmp.Diff([]string{`{"all":false}`, `{"all":true}`, ""}, gateway.bodies); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

func TestPackRegister(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	gateway := newFakeGateway(t, map[string][]canned{"POST /api/v1/packs/register": {
		{status: 201, body: `{"pack":{"ref":"demo","version":"1.0.0","state":"ready","actions":["demo.x"]},"created":true,"environments":[{"pack":"demo","runtime":"python","state":"queued"}]}`},
		{status: 200, body: `{"pack":{"ref":"demo","version":"1.0.1","state":"ready","actions":[]},"created":false,"environments":[]}`},
		{status: 422, body: `{"type":"/problems/invalid-pack","title":"The pack is not valid","detail":"the pack has faults",
"errors":[{"file":"pack.yaml","line":2,"detail":"unknown key"},{"file":"actions/a.yaml","detail":"is empty"},{"detail":"can't be read"}]}`},
	}})
	for _, test := range []struct {
		args []string
		want ran
	}{
		{[]string{dir}, ran{exitOK, "demo 1.0.0: registered, 1 action\n\nPACK  RUNTIME  STATE   DIGEST  SIZE  BUILT  DETAIL\ndemo  python   queued                       waits for a slot or another gateway\n", ""}},
		{[]string{"demo", "--force"}, ran{exitOK, "demo 1.0.1: read again, 0 actions\n", ""}},
		{[]string{dir}, ran{exitUsage, "", "attune: The pack is not valid: the pack has faults (422 invalid-pack)\n  pack.yaml:2: unknown key\n  actions/a.yaml: is empty\n  can't be read\n"}},
	} {
		got := runProgram(t, &program{}, append([]string{"pack", "register", "--url", gateway.URL}, test.args...)...)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("pack register %q (-want +got):\n%s", test.args, diff)
		}
	}
	// A name that is no directory here is one that the gateway knows.
	want := []string{`{"force":false,"path":"` + dir + `"}`, `{"force":true,"path":"demo"}`, `{"force":false,"path":"` + dir + `"}`}
	if diff := cmp.Diff(want, gateway.bodies); diff != "" {
		t.Errorf("bodies (-want +got):\n%s", diff)
	}
}

// Ensure invoke on a terminal shows the build, leaves nothing of it, and prints
// what it prints elsewhere.
func TestInvokeShowsTheBuild(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  []string
		want ran
	}{
		"json":   {[]string{"result", `{"media_type":"application/json","result":{"a":"<b>","n":1.0}}`}, ran{exitOK, "{\"a\":\"<b>\",\"n\":1.0}\n", ""}},
		"text":   {[]string{"result", `{"media_type":"text/plain; charset=utf-8","result":"one\ntwo"}`}, ran{exitOK, "one\ntwo", ""}},
		"binary": {[]string{"result", `{"media_type":"text/plain; charset=utf-8","result":"/w==","encoding":"base64"}`}, ran{exitOK, "\xff", ""}},
		"failure": {[]string{"problem", `{"type":"/problems/environment-failed","title":"The environment could not be built","status":503,"retryable":true,"log":"no such package"}`},
			ran{exitGateway, "", "attune: The environment could not be built (503 environment-failed)\n  a retry is safe\n  log:\n  | no such package\n"}},
		"a result that is none": {[]string{"result", `{"media_type":"text/plain","result":5}`}, ran{exitGateway, "", "a result that is no JSON must come as a string\n"}},
		"cut off":               {nil, ran{exitGateway, "", "broke off: EOF\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answer := sse(append([]string{"environment", phaseInstall, "environment", lineInstall, "unknown", "x"}, test.end...)...)
			gateway := newFakeGateway(t, map[string][]canned{"POST /invoke/a.b": {answer}})
			got := runProgram(t, onTerminal(), "invoke", "a.b", "--url", gateway.URL)
			shown := "  building a/python  0s  install  \n" + eraseOne + "  building a/python  0s  install  Collecting [31midna\n" + eraseOne
			rest, ok := strings.CutPrefix(got.Stderr, shown)
			if !ok || got.Code != test.want.Code || got.Stdout != test.want.Stdout || !strings.HasSuffix(rest, test.want.Stderr) || (test.want.Stderr == "") != (rest == "") {
				t.Errorf("invoke = %+v; want %+v after %q", got, test.want, shown)
			}
		})
	}
}

// Ensure an answer without events is understood on a terminal, too, and that a
// build at the deadline is waited for as elsewhere.
func TestInvokeOnATerminalWithoutEvents(t *testing.T) {
	t.Parallel()
	building := sse("problem", `{"type":"/problems/environment-building","title":"The environment is being built","status":503,"retry_after":1}`)
	gateway := newFakeGateway(t, map[string][]canned{"POST /invoke/a.b": {
		building, {status: 200, body: "1\n", header: map[string]string{"Content-Type": "application/json"}},
		{status: 404, body: `{"type":"/problems/not-found","title":"There is no such resource"}`},
	}})
	got := runProgram(t, onTerminal(), "invoke", "a.b", "--url", gateway.URL)
	want := ran{exitOK, "1\n", "attune: the environment of a.b is being built; asking again in 1s\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("invoke (-want +got):\n%s", diff)
	}
	want = ran{exitUsage, "", "attune: There is no such resource (404 not-found)\n"}
	if diff := cmp.Diff(want, runProgram(t, onTerminal(), "invoke", "a.b", "--url", gateway.URL)); diff != "" {
		t.Errorf("invoke of none (-want +got):\n%s", diff)
	}
}

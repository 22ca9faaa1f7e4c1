package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const actionFailed = `{"type":"/problems/action-failed","title":"The action failed","status":502,"detail":"exit code 3",
"component":"action","phase":"run","started":true,"execution":"01X","log":"Traceback\u001b[31m:\n  boom\n"}`

func TestInvoke(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "params.json", `{"from":"file"}`)
	tests := map[string]struct {
		args   []string
		stdin  string
		call   string // Defaults to POST /invoke/a.b.
		answer canned
		body   string // what the gateway is sent
		want   ran
	}{
		"the result is printed as it is": {
			args: []string{"name=Ada", "n:=-1", "list:=[1]", "empty="}, body: `{"empty":"","list":[1],"n":-1,"name":"Ada"}`,
			answer: canned{status: 200, body: "no newline"}, want: ran{exitOK, "no newline", ""},
		},
		"no parameters": {body: "{}", answer: canned{status: 200}},
		"data":          {args: []string{"-d", `{"x":1}`}, body: `{"x":1}`, answer: canned{status: 200}},
		"data of a file": {
			args: []string{"--data", "@" + file}, body: `{"from":"file"}`, answer: canned{status: 200},
		},
		"data of stdin": {args: []string{"-d", "-"}, stdin: "[]", body: "[]", answer: canned{status: 200}},
		"timeout": {
			args: []string{"--timeout", "1500ms"}, call: "POST /invoke/a.b?timeout=1.5s", body: "{}", answer: canned{status: 200},
		},
		"a failing action": {
			body: "{}", answer: canned{status: 502, body: actionFailed},
			want: ran{exitFailed, "", `attune: The action failed: exit code 3 (502 action-failed)
  failed in: action, phase: run, execution: 01X, the action may have run
  log:
  | Traceback[31m:
  |   boom
`},
		},
		"bad parameters": {
			body: "{}", answer: canned{status: 422, body: `{"type":"/problems/invalid-parameters","title":"The parameters are not valid","status":422,
"errors":[{"pointer":"/name","detail":"is required"},{"pointer":"","detail":"is odd"}]}`},
			want: ran{exitUsage, "", `attune: The parameters are not valid (422 invalid-parameters)
  /name: is required
  (the whole): is odd
`},
		},
		"a failing environment": {
			body: "{}", answer: canned{status: 503, body: `{"type":"/problems/environment-failed","title":"The environment could not be built","status":503,
"detail":"the installer failed","component":"environment","phase":"install","retryable":true,"log":"no such package"}`},
			want: ran{exitGateway, "", `attune: The environment could not be built: the installer failed (503 environment-failed)
  failed in: environment, phase: install, a retry is safe
  log:
  | no such package
`},
		},
		"too late while it ran": {
			body: "{}", answer: canned{status: 504, body: `{"type":"/problems/timed-out","title":"The call took too long","started":true}`},
			want: ran{exitFailed, "", "attune: The call took too long (504 timed-out)\n  the action may have run\n"},
		},
		"too late before it ran": {
			body: "{}", answer: canned{status: 504, body: `{"type":"/problems/timed-out","title":"The call took too long","retryable":true}`},
			want: ran{exitGateway, "", "attune: The call took too long (504 timed-out)\n  a retry is safe\n"},
		},
		"something else answers": {
			body: "{}", answer: canned{status: 502, body: "<html>"},
			want: ran{exitGateway, "", "attune: the gateway answered bad gateway (502)\n"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call := "POST /invoke/a.b"
			if test.call != "" {
				call = test.call
			}
			gateway := newFakeGateway(t, map[string][]canned{call: {test.answer}})
			args := append([]string{"invoke", "a.b", "--url", gateway.URL + "/"}, test.args...)
			got := runProgram(t, &program{Stdin: strings.NewReader(test.stdin)}, args...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("invoke (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{test.body}, gateway.bodies); diff != "" {
				t.Errorf("bodies (-want +got):\n%s", diff)
			}
		})
	}
}

// Ensure invoke comes back while an environment is being built, and stops when
// it was told to wait no longer.
func TestInvokeWaitsForTheEnvironment(t *testing.T) {
	t.Parallel()
	building := canned{status: 503, header: map[string]string{"Retry-After": "1"},
		body: `{"type":"/problems/environment-building","title":"The environment is being built","retryable":true}`}
	gateway := newFakeGateway(t, map[string][]canned{"POST /invoke/a.b": {building, {status: 200, body: "1\n"}, building}})
	got := runProgram(t, &program{}, "invoke", "a.b", "--url", gateway.URL)
	want := ran{exitOK, "1\n", "attune: the environment of a.b is being built; asking again in 1s\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("invoke (-want +got):\n%s", diff)
	}
	got = runProgram(t, &program{}, "invoke", "a.b", "--wait=0s", "--url", gateway.URL)
	want = ran{exitGateway, "", "attune: The environment is being built (503 environment-building)\n  a retry is safe\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("invoke --wait=0s (-want +got):\n%s", diff)
	}
}

// Ensure results end with a newline on a terminal, where the prompt follows.
func TestInvokeOnATerminal(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{"POST /invoke/a.b": {{status: 200, body: "1"}, {status: 200, body: "1\n"}}})
	for range 2 {
		if got := runProgram(t, &program{StdoutTerminal: true}, "invoke", "a.b", "--url", gateway.URL); got.Stdout != "1\n" {
			t.Errorf("invoke on a terminal = %+v", got)
		}
	}
}

func TestNoGateway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	if err := listener.Close(); err != nil { // nobody listens there now
		t.Fatal(err)
	}
	environ := []string{"ATTUNE__SERVER__PORT=" + port, "ATTUNE__SERVER__HOST=0.0.0.0"}
	text := "attune: no gateway answers at http://127.0.0.1:" + port + " (dial tcp 127.0.0.1:" + port +
		": connect: connection refused): start one with attune serve, or name another with --url\n"
	for _, test := range []struct {
		args []string
		code int
	}{{[]string{"pack", "list"}, exitGateway}, {[]string{"env", "list"}, exitGateway}, {[]string{"invoke", "a.b"}, exitGateway}, {[]string{"health"}, exitFailed}} {
		got := runProgram(t, &program{Environ: environ}, test.args...)
		if diff := cmp.Diff(ran{test.code, "", text}, got); diff != "" {
			t.Errorf("attune %q (-want +got):\n%s", test.args, diff)
		}
	}
}

func TestPackList(t *testing.T) {
	t.Parallel()
	answer := canned{status: 200, body: `{"items":[{"ref":"core","version":"1.0.0","state":"ready","actions":["core.echo","core.sleep"]},
{"ref":"shop","state":"broken","faults":["pack.yaml:2: no \u001b[31mversion"]}],"next":null}`}
	gateway := newFakeGateway(t, map[string][]canned{"GET /api/v1/packs": {answer, answer, answer}})
	got := runProgram(t, &program{}, "pack", "list", "--url", gateway.URL)
	want := ran{exitOK, `PACK  VERSION  STATE   ACTIONS
core  1.0.0    ready   2
shop           broken  0

shop: pack.yaml:2: no [31mversion
`, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pack list (-want +got):\n%s", diff)
	}
	if got := runProgram(t, &program{StdoutTerminal: true}, "pack", "list", "--url", gateway.URL); !strings.Contains(got.Stdout, "\x1b[32mready\x1b[0m   2\n") {
		t.Errorf("pack list on a terminal = %q", got.Stdout)
	}
	if got := runProgram(t, &program{}, "pack", "list", "-o", "json", "--url", gateway.URL); !strings.HasPrefix(got.Stdout, "[\n  {\n    \"ref\": \"core\",") {
		t.Errorf("pack list -o json = %q", got.Stdout)
	}
}

func TestEnvList(t *testing.T) {
	t.Parallel()
	answer := canned{status: 200, body: `{"items":[
{"pack":"a","runtime":"python","state":"ready","digest":"0123456789abcdef","bytes":12900000},
{"pack":"b","runtime":"node","state":"building","phase":"install"},
{"pack":"c","runtime":"node","state":"failed","reason":"npm failed"}],"next":null}`}
	gateway := newFakeGateway(t, map[string][]canned{"GET /api/v1/environments": {answer, {status: 503, body: `{"title":"The gateway is stopping","type":"/problems/draining"}`}, {status: 200, body: "x"}}})
	got := runProgram(t, &program{}, "env", "list", "--url", gateway.URL)
	want := ran{exitOK, `PACK  RUNTIME  STATE     DIGEST        SIZE      BUILT  DETAIL
a     python   ready     0123456789ab  12.3 MiB
b     node     building                                 install
c     node     failed                                   npm failed
`, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("env list (-want +got):\n%s", diff)
	}
	for _, want := range []string{
		"attune: The gateway is stopping (503 draining)\n",
		"attune: " + gateway.URL + "/api/v1/environments is not the API of a gateway: invalid character 'x' looking for beginning of value\n",
	} {
		if got := runProgram(t, &program{}, "env", "list", "--url", gateway.URL); got.Code != exitGateway || got.Stderr != want {
			t.Errorf("env list = %+v; want %q", got, want)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	gateway := newFakeGateway(t, map[string][]canned{"GET /readyz": {
		{status: 200, body: `{"status":"ready","checks":[{"name":"engine","ok":true,"required":true,"since":"2026-11-24T08:00:00Z"},{"name":"redis","ok":false,"detail":"refused"}]}`},
		{status: 503, body: `{"type":"/problems/not-ready","title":"The gateway is not ready","checks":[{"name":"engine","ok":false,"required":true,"detail":"gone"}]}`},
		{status: 200, body: `{}`},
	}})
	since := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC).Local().Format(time.DateTime)
	for _, want := range []ran{
		{exitOK, "PART    STATE  SINCE                DETAIL\nengine  ok     " + since + "\nredis   away                        refused\nready\n", ""},
		{exitFailed, "PART    STATE    SINCE  DETAIL\nengine  missing         gone\n", "attune: not ready: The gateway is not ready (503 not-ready)\n"},
		{exitOK, "ready\n", ""},
	} {
		got := runProgram(t, &program{}, "health", "--url", gateway.URL)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("health (-want +got):\n%s", diff)
		}
	}
}

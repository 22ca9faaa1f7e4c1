package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDeadCommands(t *testing.T) {
	t.Setenv("TZ", "UTC")
	const path = "/api/v1/dead/" + executionOne
	for name, test := range map[string]struct {
		args    []string
		answers map[string][]canned
		code    int
		has     string
	}{
		"list": {
			args: []string{"dead", "list", "-n", "5"},
			answers: map[string][]canned{"GET /api/v1/dead?limit=5": {{status: 200, body: `{"items":[{"id":"` + executionOne +
				`","action":"a.b","source":"hook:a.paid","attempt":3,"created_at":"2026-11-24T08:00:00Z","error":{"reason":"exit\u001b code 3"}}]}`}}},
			has: executionOne + "  a.b     hook:a.paid  3",
		},
		"list as JSON": {
			args: []string{"dead", "list", "-o", "json"}, answers: map[string][]canned{"GET /api/v1/dead?limit=20": {{status: 200, body: `{"items":[]}`}}}, has: "[]\n",
		},
		"show": {
			args: []string{"dead", "show", executionOne}, answers: map[string][]canned{"GET " + path: {{status: 200, body: `{"parameters":{"n":1}}`}}}, has: `"n": 1`,
		},
		"redrive": {
			args: []string{"dead", "redrive", executionOne}, answers: map[string][]canned{"POST " + path + "/redrive": {{status: 201, body: `{"id":"NEW"}`}}}, has: "NEW\n",
		},
		"rm":       {args: []string{"dead", "rm", executionOne}, answers: map[string][]canned{"DELETE " + path: {{status: 204}}}},
		"no ID":    {args: []string{"dead", "rm", "../x"}, code: exitUsage, has: `"../x" is no dead letter`},
		"no retry": {args: []string{"execution", "retry", "x"}, code: exitUsage, has: "is no execution"},
		"retry": {
			args:    []string{"execution", "retry", executionOne},
			answers: map[string][]canned{"POST " + executionPath + "/retry": {{status: 201, body: `{"id":"NEW"}`}}}, has: "NEW\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := newFakeGateway(t, test.answers)
			got := runProgram(t, &program{}, append(test.args, "--url", gateway.URL)...)
			if got.Code != test.code || !strings.Contains(got.Stdout+got.Stderr, test.has) || strings.Contains(got.Stdout, "\x1b") {
				t.Errorf("attune %v = %+v, want %d and %q", test.args, got, test.code, test.has)
			}
		})
	}
}

func TestInvokeAsync(t *testing.T) {
	t.Parallel()
	var asked string
	answer := canned{status: 202, body: `{"id":"` + executionOne + `"}`}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String() + " " + r.Header.Get("Prefer")
		w.WriteHeader(answer.status)
		_, _ = io.WriteString(w, answer.body) // the client tells
	}))
	defer gateway.Close()
	for _, test := range []struct {
		args   []string
		answer canned
		asked  string
		want   ran
	}{
		{[]string{"--async"}, answer, "POST /invoke/a.b respond-async", ran{exitOK, executionOne + "\n", ""}},
		{
			[]string{"--async", "--wait", "1500ms", "--delay", "1m", "--priority", "low", "--timeout", "5s"}, answer,
			"POST /invoke/a.b?delay=1m0s&priority=low&timeout=5s respond-async, wait=2", ran{exitOK, executionOne + "\n", ""},
		},
		{[]string{"--async", "--wait", "3s"}, canned{status: 200, body: "result\n"}, "POST /invoke/a.b respond-async, wait=3", ran{exitOK, "result\n", ""}},
		{
			[]string{"--async"}, canned{status: 503, body: `{"type":"/problems/overloaded","title":"The gateway is overloaded"}`},
			"POST /invoke/a.b respond-async", ran{exitGateway, "", "attune: The gateway is overloaded (503 overloaded)\n"},
		},
		{[]string{"--delay", "1m"}, answer, "", ran{exitFailed, "", "attune: --delay and --priority are for calls with --async\n"}},
	} {
		asked, answer = "", test.answer
		got := runProgram(t, &program{}, append([]string{"invoke", "a.b", "--url", gateway.URL}, test.args...)...)
		if test.asked == "" {
			test.want.Code = got.Code // as of every refused argument
		}
		if diff := cmp.Diff(test.want, got); diff != "" || asked != test.asked {
			t.Errorf("attune invoke %v asked %q, want %q (-want +got):\n%s", test.args, asked, test.asked, diff)
		}
	}
}

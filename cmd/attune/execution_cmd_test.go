package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	executionOne  = "01HZX3V7Q8R9S0T1V2W3X4Y5Z6"
	executionPath = "/api/v1/executions/" + executionOne
	ranExecution  = `{"id":"` + executionOne + `","action":"a.b","gateway":"gw","status":"failed","exit_code":3,"created_at":"2026-11-24T08:00:00Z",` +
		`"duration_ms":1234.5,"stdout":"half\n","stderr":"why\n","bytes_truncated":2048,"result":null,` +
		`"error":{"code":"action-failed","component":"action","phase":"run","reason":"exit code\u001b 3"},"timing":{"run_ms":1000}}`
)

func TestExecutionCommands(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for name, test := range map[string]struct {
		args    []string
		answers map[string][]canned
		want    ran
		has     string // of stdout, where want has none
	}{
		"list": {
			args:    []string{"list", "--action", "a.b", "--status", "failed", "--since", "2026-11-24T00:00:00Z", "-n", "5"},
			answers: map[string][]canned{"GET /api/v1/executions?action=a.b&limit=5&since=2026-11-24T00%3A00%3A00Z&status=failed": {{status: 200, body: `{"items":[` + ranExecution + `]}`}}},
			has:     executionOne + "  a.b     failed  3",
		},
		"list as JSON": {
			args: []string{"list", "-o", "json"}, answers: map[string][]canned{"GET /api/v1/executions?limit=20": {{status: 200, body: `{"items":[]}`}}}, has: "[]\n",
		},
		"list since nonsense": {
			args: []string{"list", "--since", "noon"},
			want: ran{exitUsage, "", "attune: --since \"noon\" is neither a time of RFC 3339 nor a duration like 15m\n"},
		},
		"show": {
			args: []string{"show", executionOne}, answers: map[string][]canned{"GET " + executionPath: {{status: 200, body: ranExecution}}},
			has: "5 B of stdout, 4 B of stderr; 2.0 KiB more were not kept",
		},
		"no execution": {
			args: []string{"show", "../x"}, want: ran{exitUsage, "", "attune: \"../x\" is no execution: attune execution list shows their IDs\n"},
		},
		"cancel": {
			args:    []string{"cancel", executionOne, "--output", "json"},
			answers: map[string][]canned{"POST " + executionPath + "/cancel": {{status: 200, body: `{"status":"cancelled"}`}}}, has: `"cancelled"`,
		},
		"cancel too late": {
			args:    []string{"cancel", executionOne},
			answers: map[string][]canned{"POST " + executionPath + "/cancel": {{status: 409, body: `{"type":"/problems/execution-ended","title":"The execution has ended"}`}}},
			want:    ran{exitUsage, "", "attune: The execution has ended (409 execution-ended)\n"},
		},
		"logs": {
			args: []string{"logs", executionOne},
			answers: map[string][]canned{
				"GET " + executionPath + "/logs/stdout": {{status: 200, body: "out"}}, "GET " + executionPath + "/logs/stderr": {{status: 200, body: "err\n"}},
			},
			want: ran{exitOK, "out", "err\n"},
		},
		"logs followed": {
			args: []string{"logs", executionOne, "-f", "--stream", "stdout"},
			answers: map[string][]canned{"GET " + executionPath + "/logs/stdout?follow=true": {
				sse("stdout", `{"text":"o"}`, "stdout", `{"text":"ut\n"}`, "ended", `{"status":"failed"}`),
			}},
			want: ran{exitOK, "out\n", ""},
		},
		"logs that break off": {
			args:    []string{"logs", executionOne, "-f", "--stream", "stderr"},
			answers: map[string][]canned{"GET " + executionPath + "/logs/stderr?follow=true": {sse("stderr", `{"text":"err"}`)}},
			want:    ran{exitGateway, "", "errattune: the log broke off before the execution had ended: EOF\n"},
		},
		"logs of another gateway's": {
			args: []string{"logs", executionOne, "-f", "--stream", "stderr"},
			answers: map[string][]canned{"GET " + executionPath + "/logs/stderr?follow=true": {
				{status: 409, body: `{"type":"/problems/execution-elsewhere","title":"The execution runs on another gateway"}`},
			}},
			want: ran{exitUsage, "", "attune: The execution runs on another gateway (409 execution-elsewhere)\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := newFakeGateway(t, test.answers)
			got := runProgram(t, &program{}, append([]string{"execution", test.args[0], "--url", gateway.URL}, test.args[1:]...)...)
			if test.has != "" {
				if got.Code != exitOK || !strings.Contains(got.Stdout, test.has) || strings.Contains(got.Stdout, "\x1b") {
					t.Errorf("attune execution %v = %+v, want it to print %q", test.args, got, test.has)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("attune execution %v (-want +got):\n%s", test.args, diff)
			}
		})
	}
}

// Ensure stderr comes while the action runs, once, and stdout stays the result.
func TestInvokePrintsStderrLive(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		last canned
		want ran
	}{
		"succeeds": {
			sse("started", `{}`, "stdout", `{"text":"result"}`, "stderr", `{"text":"one\ntw"}`, "stderr", `{"text":"o \u001b[31m"}`, "result", `{"media_type":"text/plain","result":"result"}`),
			ran{exitOK, "result", "one\ntwo [31m\n"},
		},
		"fails": {
			sse("stderr", `{"text":"why\n"}`, "problem", `{"type":"/problems/action-failed","title":"The action failed","status":502,"log":"why\n"}`),
			ran{exitFailed, "", "why\nattune: The action failed (502 action-failed)\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := newFakeGateway(t, map[string][]canned{"POST /invoke/a.b": {test.last}})
			got := runProgram(t, &program{}, "invoke", "a.b", "--url", gateway.URL, "--stream")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("invoke --stream (-want +got):\n%s", diff)
			}
		})
	}
}

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/tests/kit"
)

func TestProblemKindsAreAsDocumented(t *testing.T) {
	t.Parallel()
	var lines []string
	for _, code := range slices.Sorted(maps.Keys(kinds)) {
		lines = append(lines, fmt.Sprintf("%d %s: %s", kinds[code].status, code, kinds[code].title))
	}
	kit.Golden(t, "problems.txt", []byte(strings.Join(lines, "\n")+"\n"))
}

func TestProblemsOfAFailedExecution(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.NewID = func() string { return knownExecution } // before the first request
	failed := failure(execution.CodeEnvironmentFailed, "environment", "environment", "the installer failed")
	failed.Retryable, failed.RetryAfter = true, 1200*time.Millisecond
	failed.Parameters = []pack.Problem{{Pointer: "/a~1b", Detail: "must be a string"}}
	failed.Log = "ERROR: No matching distribution found for nosuch\n\xff"
	w.invoker.do(func(_ context.Context, r execution.Request) (*execution.Outcome, error) {
		return &execution.Outcome{Execution: &execution.Execution{ID: r.ID, Status: execution.StatusFailed, Timing: execution.Timing{Environment: 3}}}, failed
	})
	response, body := w.do(t, "POST", "/invoke/demo.echo", "")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") != "2" || response.Header.Get("Attune-Execution-Id") != knownExecution ||
		!strings.Contains(response.Header.Get("Server-Timing"), "environment;dur=3.000") {
		t.Errorf("answer = %d %v, want 503, Retry-After 2, the execution's ID and its timing", response.StatusCode, response.Header)
	}
	var indented strings.Builder
	encoder := json.NewEncoder(&indented)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(json.RawMessage(body)); err != nil {
		t.Fatal(err)
	}
	kit.Golden(t, "problem.json", []byte(indented.String()))
}

func TestEveryCodeOfAnExecutionHasAStatus(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for code, status := range map[string]int{
		execution.CodeInvalidRef: 400, execution.CodeInvalidJSON: 400, execution.CodeNotFound: 404,
		execution.CodeInvalidParameters: 422, execution.CodeLimitExceeded: 422, execution.CodeCancelled: 499,
		execution.CodeInternal: 500, execution.CodeActionFailed: 502, execution.CodeBadOutput: 502,
		execution.CodeResultTooLarge: 502, execution.CodeOutOfMemory: 502, execution.CodeInstanceLost: 502,
		execution.CodeEnvironmentBuild: 503, execution.CodeEnvironmentFailed: 503, execution.CodeOverloaded: 503,
		execution.CodeEngineUnavailable: 503, execution.CodeStateUnavailable: 503, execution.CodeDraining: 503,
		execution.CodeTimedOut: 504, execution.CodeEnvironmentStorage: 507,
	} {
		w.invoker.do(func(context.Context, execution.Request) (*execution.Outcome, error) {
			return nil, fmt.Errorf("wrapped: %w", failure(code, "engine", "start", "it is so"))
		})
		w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n").refused(t, status, code, true)
	}
	w.invoker.do(nil)
	w.works(t)
}

func TestFaultsOfOurOwnAreLoggedAndNotShown(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	for name, behave := range map[string]func(context.Context, execution.Request) (*execution.Outcome, error){
		"foreign error": func(context.Context, execution.Request) (*execution.Outcome, error) {
			return nil, errors.New("open /etc/" + canary)
		},
		"unknown code": func(context.Context, execution.Request) (*execution.Outcome, error) {
			return nil, failure(canary, "x", "x", canary)
		},
		"neither outcome nor error": func(context.Context, execution.Request) (*execution.Outcome, error) { return nil, nil },
	} {
		w.invoker.do(behave)
		a := w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n")
		t.Run(name, func(t *testing.T) { a.refused(t, 500, "internal", true) })
		if !strings.Contains(w.log.String(), a.problem.Instance) {
			t.Errorf("%s: the log does not have the request's ID %s", name, a.problem.Instance)
		}
	}
	if !strings.Contains(w.log.String(), "open /etc/"+canary) {
		t.Error("the log does not have the cause")
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.invoker.do(func(context.Context, execution.Request) (*execution.Outcome, error) { panic(canary) })
	w.raw(t, "POST /invoke/demo.echo HTTP/1.1\r\n"+host+"\r\n").refused(t, 500, "internal", false)
	if log := w.log.String(); !strings.Contains(log, canary) || !strings.Contains(log, "invoke.go") {
		t.Errorf("log = %s, want the panic and its stack", log)
	}
	w.invoker.do(nil)
	w.works(t)
	if w.gate.running() != 0 {
		t.Errorf("%d requests inside after a panic, want 0", w.gate.running())
	}
}

func TestAccessLogHasOneLinePerRequest(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	response, _ := w.do(t, "POST", "/invoke/demo.echo?timeout=3", `{"name":"`+canary+`"}`)
	w.do(t, "GET", "/healthz", "")
	w.do(t, "GET", "/"+canary, "")
	type line struct {
		Level, Msg, Method, Route, Request, Execution string
		Status, Bytes                                 int
	}
	var got []line
	for text := range strings.Lines(w.log.String()) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		if l.Msg == "request" {
			if l.Request == "" {
				t.Errorf("line has no request ID: %s", text)
			}
			l.Request = ""
			got = append(got, l)
		}
	}
	got[2].Bytes = 0 // a problem's, whose ID varies
	want := []line{
		{"INFO", "request", "POST", "/invoke/:ref", "", response.Header.Get("Attune-Execution-Id"), http.StatusOK, 20},
		{"DEBUG", "request", "GET", "/healthz", "", "", http.StatusOK, 34},
		{"INFO", "request", "GET", "", "", "", http.StatusNotFound, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if strings.Contains(w.log.String(), canary) {
		t.Errorf("the log echoes the request:\n%s", w.log)
	}
}

package tests

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what a call came back with.
type answer struct {
	status int
	header http.Header
	body   string
}

// problem is an answer's problem+json.
type problem struct {
	Type, Detail, Component, Phase, Execution, Log string
	Status                                         int
	Retryable, Started                             bool
	Errors                                         []struct{ Pointer, Detail string }
}

func (a answer) problem(t testing.TB) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("answer %d is no problem: %s", a.status, a.body)
	}
	return p
}

// value decodes a JSON answer.
func (a answer) value(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("answer %d is no JSON object: %s", a.status, a.body)
	}
	return v
}

// invoke calls an action as `curl -d` does, form content type and all.
func (g *gateway) invoke(t testing.TB, action, body string) answer {
	t.Helper()
	response, err := http.Post(g.url+"/invoke/"+action, "application/x-www-form-urlencoded", strings.NewReader(body))
	return read(t, response, err)
}

// mustInvoke is invoke for a call that has to succeed.
func (g *gateway) mustInvoke(t testing.TB, action, body string) answer {
	t.Helper()
	a := g.invoke(t, action, body)
	if a.status != http.StatusOK {
		t.Fatalf("POST /invoke/%s %s = %d %s\n%s", action, body, a.status, a.body, g.text())
	}
	return a
}

func (g *gateway) get(t testing.TB, path string) answer {
	t.Helper()
	response, err := http.Get(g.url + path)
	return read(t, response, err)
}

func read(t testing.TB, response *http.Response, err error) answer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// eventually waits for something that another process does.
func eventually(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for tick := time.NewTicker(20 * time.Millisecond); ; <-tick.C {
		if holds() {
			tick.Stop()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

package tests

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// isolations are the modes in which what is shown of an execution must be the
// same.
var isolations = []string{"process"}

// livePack has an action in each language that prints, waits to be let go, and
// prints again.
func livePack(t *testing.T, h home, isolation string) {
	more := "timeout: 60\n"
	if isolation != "process" {
		more += "isolation: " + isolation + "\n"
	}
	h.pack(t, "live", map[string]string{
		"actions/shell.yaml":  "ref: live.shell\nentry_point: shell.sh\n" + more,
		"actions/shell.sh":    "echo one; echo why >&2; sleep 2; echo two\n",
		"actions/python.yaml": "ref: live.python\nentry_point: python.py\n" + more,
		"actions/python.py":   "import sys, time\nprint('one', flush=True)\nprint('why', file=sys.stderr)\ntime.sleep(2)\nprint('two')\n",
		"actions/rows.yaml":   "ref: live.rows\nentry_point: rows.py\noutput_format: jsonl\n" + more,
		"actions/rows.py":     "import time\nprint('{\"n\": 1}', flush=True)\ntime.sleep(2)\nprint('{\"n\": 2}')\n",
		"actions/break.yaml":  "ref: live.break\nentry_point: break.sh\noutput_format: jsonl\n" + more,
		"actions/break.sh":    "echo '{}'; sleep 1; exit 3\n",
		"actions/long.yaml":   "ref: live.long\nentry_point: long.sh\n" + more,
		"actions/long.sh":     "trap '' TERM; echo begun; (setsid sleep 3333 &); sleep 50\n",
	})
}

type liveEvent struct {
	Event, Text, Status, Stream string
	Item                        json.RawMessage
	at                          time.Time
}

// told calls an action and reads all events.
func told(t *testing.T, g *gateway, method, path string) []liveEvent {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, g.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/x-ndjson;q=0.5, text/event-stream;q=0.1")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var events []liveEvent
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		e := liveEvent{at: time.Now()}
		decode(t, lines.Text(), &e)
		if e.Event != "environment" && e.Event != "heartbeat" {
			events = append(events, e)
		}
	}
	return events
}

func TestOutputIsStreamedWhileAnActionRuns(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(isolation, func(t *testing.T) {
			h := newHome(t)
			livePack(t, h, isolation)
			g := h.start(t)
			for _, action := range []string{"shell", "python"} {
				events := told(t, g, "POST", "/invoke/live."+action)
				stdout, stderr := "", ""
				var first, last time.Time
				for _, e := range events {
					switch e.Event {
					case "stdout":
						if stdout += e.Text; first.IsZero() {
							first = e.at
						}
					case "stderr":
						stderr += e.Text
					case "result":
						last = e.at
					}
				}
				if stdout != "one\ntwo\n" || stderr != "why\n" || events[0].Event != "started" || events[len(events)-1].Status != "succeeded" {
					t.Errorf("POST /invoke/live.%s: %+v", action, events)
				}
				if last.Sub(first) < time.Second { // it sleeps for two
					t.Errorf("POST /invoke/live.%s: the first line came %s before the result", action, last.Sub(first))
				}
			}
		})
	}
}

func TestBodyIsStreamed(t *testing.T) {
	h := newHome(t)
	livePack(t, h, "process")
	g := h.start(t)
	for action, want := range map[string]struct {
		body   string
		broken bool
	}{"rows": {"{\"n\": 1}\n{\"n\": 2}\n", false}, "shell": {"one\ntwo\n", false}, "break": {"{}\n", true}} {
		out, err := exec.Command("curl", "-sS", "--no-buffer", "-X", "POST", g.url+"/invoke/live."+action+"?stream=1").Output()
		if string(out) != want.body || (err != nil) != want.broken {
			t.Errorf("curl /invoke/live.%s?stream=1 = %q, %v", action, out, err)
		}
	}
}

func TestRunningExecutionsAreListedFollowedAndCancelled(t *testing.T) {
	for _, isolation := range isolations {
		t.Run(isolation, func(t *testing.T) {
			h := newHome(t)
			livePack(t, h, isolation)
			g := h.start(t)
			answered := make(chan answer, 1)
			go func() { answered <- g.invoke(t, "live.long", "{}") }()
			var page executions
			eventually(t, 20*time.Second, "the execution is listed as running", func() bool {
				page = executions{}
				decode(t, g.get(t, "/api/v1/executions?status=running&action=live.long").body, &page)
				return len(page.Items) == 1
			})
			id := page.Items[0].ID
			logs := make(chan []liveEvent, 2)
			for range 2 {
				go func() { logs <- told(t, g, "GET", "/api/v1/executions/"+id+"/logs/stdout?follow=true") }()
			}
			eventually(t, 20*time.Second, "its output so far is shown", func() bool {
				return g.get(t, "/api/v1/executions/"+id+"/logs/stdout").body == "begun\n"
			})
			cli := exec.Command(program("attune"), "execution", "cancel", id, "--url", g.url, "--output", "json")
			out, err := cli.CombinedOutput()
			if err != nil || !strings.Contains(string(out), `"cancelled"`) {
				t.Errorf("attune execution cancel = %v\n%s", err, out)
			}
			if left := top(t, g); strings.Contains(left, "sleep") { // killed and answered
				t.Errorf("what the action started outlives it:\n%s", left)
			}
			a := <-answered
			if p := a.problem(t); a.status != 499 || p.Type != "/problems/cancelled" || !p.Started || p.Execution != id {
				t.Errorf("the caller was told %d %s", a.status, a.body)
			}
			for range 2 {
				if events := <-logs; len(events) != 2 || events[0].Text != "begun\n" || events[1].Event != "ended" || events[1].Status != "cancelled" {
					t.Errorf("a follower saw %+v", events)
				}
			}
			for path, status := range map[string]int{"/" + id: 200, "/01HZZZZZZZZZZZZZZZZZZZZZZZ": 404} {
				response, err := http.Post(g.url+"/api/v1/executions"+path+"/cancel", "", nil)
				if a := read(t, response, err); a.status != status {
					t.Errorf("POST /api/v1/executions%s/cancel = %d %s, want %d", path, a.status, a.body, status)
				}
			}
			done := g.mustInvoke(t, "live.shell", "{}").header.Get("Attune-Execution-Id")
			response, err := http.Post(g.url+"/api/v1/executions/"+done+"/cancel", "", nil)
			if a := read(t, response, err); a.status != 409 || a.problem(t).Type != "/problems/execution-ended" {
				t.Errorf("cancel of one that has ended = %d %s", a.status, a.body)
			}
			out, err = exec.Command(program("attune"), "execution", "logs", done, "--url", g.url).Output()
			if err != nil || string(out) != "one\ntwo\n" {
				t.Errorf("attune execution logs = %q, %v", out, err)
			}
		})
	}
}

// TestExecutionsOfAGatewayThatDiedAreEnded: what nobody runs is not shown as
// running for ever.
func TestExecutionsOfAGatewayThatDiedAreEnded(t *testing.T) {
	h := newHome(t)
	livePack(t, h, "process")
	g := h.start(t)
	go http.Post(g.url+"/invoke/live.long", "", nil) // it gets no answer
	var page executions
	eventually(t, 20*time.Second, "the execution runs", func() bool {
		decode(t, g.get(t, "/api/v1/executions?status=running").body, &page)
		return len(page.Items) == 1 && time.Since(page.Items[0].CreatedAt) > 2*time.Second // and was saved
	})
	g.kill(t)
	g = h.start(t)
	id := page.Items[0].ID
	eventually(t, 20*time.Second, "the execution has ended", func() bool {
		x := g.get(t, "/api/v1/executions/"+id).value(t)
		failure, _ := x["error"].(map[string]any)
		return x["status"] == "failed" && failure["code"] == "instance-lost" && failure["started"] == true
	})
}

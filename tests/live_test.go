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
var isolations = []string{"process", "worker", "container"}

// livePack has actions that print, wait to be let go, and print again. It returns
// those that print one and two.
func livePack(t *testing.T, h home, isolation string) (actions []string) {
	files := map[string]string{}
	add := func(name, extension, code, more string) {
		files["actions/"+name+".yaml"] = "ref: live_" + isolation + "." + name + "\nentry_point: " + name + extension + "\nisolation: " + isolation + "\ntimeout: 60\n" + more
		files["actions/"+name+extension] = code
	}
	const jsonl = "output_format: jsonl\n"
	if isolation == "worker" {
		add("python", ".py", python("import sys, time\nprint('one')\nprint('why', file=sys.stderr)\ntime.sleep(2)\nprint('two')", "").code, "")
		add("node", ".js", "module.exports = async () => { console.log('one'); console.error('why'); await new Promise(r => setTimeout(r, 2000)); console.log('two') }\n", "")
		add("rows", ".py", python("import time\nyield {'n': 1}\ntime.sleep(2)\nyield {'n': 2}", "").code, jsonl)
		add("break", ".py", python("import time\nyield {}\ntime.sleep(1)\nraise ValueError", "").code, jsonl)
		add("long", ".py", python("import signal, subprocess\nsignal.signal(15, signal.SIG_IGN)\nprint('begun')\nsubprocess.Popen(['sleep', '3333'], start_new_session=True)\nsubprocess.run(['sleep', '50'])", "").code, "")
		actions = []string{"python", "node"}
	} else {
		add("shell", ".sh", "echo one; echo why >&2; sleep 2; echo two\n", "")
		add("python", ".py", "import sys, time\nprint('one', flush=True)\nprint('why', file=sys.stderr)\ntime.sleep(2)\nprint('two')\n", "")
		add("rows", ".py", "import time\nprint('{\"n\": 1}', flush=True)\ntime.sleep(2)\nprint('{\"n\": 2}')\n", jsonl)
		add("break", ".sh", "echo '{}'; sleep 1; exit 3\n", jsonl)
		add("long", ".sh", "trap '' TERM; echo begun; (setsid sleep 3333 &); sleep 50\n", "")
		actions = []string{"shell", "python"}
	}
	h.pack(t, "live_"+isolation, files)
	return actions
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

// livePacks makes the pack of every isolation and calls f for each action, of all
// at the same time.
func livePacks(t *testing.T, actions func(isolation string, printing []string) []string, f func(t *testing.T, g *gateway, isolation, action string)) {
	h := newHome(t)
	called := map[string][]string{}
	for _, isolation := range isolations {
		called[isolation] = actions(isolation, livePack(t, h, isolation))
	}
	g := h.start(t)
	for isolation, actions := range called {
		for _, action := range actions {
			t.Run(isolation+"/"+action, func(t *testing.T) {
				t.Parallel()
				f(t, g, isolation, action)
			})
		}
	}
}

func TestOutputIsStreamedWhileAnActionRuns(t *testing.T) {
	printing := func(_ string, printing []string) []string { return printing }
	livePacks(t, printing, func(t *testing.T, g *gateway, isolation, action string) {
		path := "/invoke/live_" + isolation + "." + action
		events := told(t, g, "POST", path)
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
			t.Errorf("POST %s: %+v", path, events)
		}
		if last.Sub(first) < time.Second { // it sleeps for two
			t.Errorf("POST %s: the first line came %s before the result", path, last.Sub(first))
		}
	})
}

func TestBodyIsStreamed(t *testing.T) {
	streamed := func(isolation string, _ []string) []string {
		if isolation == "worker" {
			return []string{"rows", "break"} // a handler's text is its result, not what it prints
		}
		return []string{"rows", "break", "shell"}
	}
	livePacks(t, streamed, func(t *testing.T, g *gateway, isolation, action string) {
		want := map[string]string{"rows": "{\"n\": 1}\n{\"n\": 2}\n", "shell": "one\ntwo\n", "break": "{}\n"}[action]
		if isolation == "worker" {
			want = strings.ReplaceAll(want, ": ", ":")
		}
		path := "/invoke/live_" + isolation + "." + action + "?stream=1"
		out, err := exec.Command("curl", "-sS", "--no-buffer", "-X", "POST", g.url+path).Output()
		if string(out) != want || (err != nil) != (action == "break") {
			t.Errorf("curl %s = %q, %v", path, out, err)
		}
	})
}

func TestRunningExecutionsAreListedFollowedAndCancelled(t *testing.T) {
	h := newHome(t)
	printing := map[string]string{}
	for _, isolation := range isolations {
		printing[isolation] = livePack(t, h, isolation)[0]
	}
	g := h.start(t)
	for _, isolation := range isolations {
		t.Run(isolation, func(t *testing.T) {
			ref := "live_" + isolation
			answered := make(chan answer, 1)
			go func() { answered <- g.invoke(t, ref+".long", "{}") }()
			var page executions
			eventually(t, 20*time.Second, "the execution is listed as running", func() bool {
				page = executions{}
				decode(t, g.get(t, "/api/v1/executions?status=running&action="+ref+".long").body, &page)
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
			done := g.mustInvoke(t, ref+"."+printing[isolation], "{}").header.Get("Attune-Execution-Id")
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
	go http.Post(g.url+"/invoke/live_process.long", "", nil) // it gets no answer
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

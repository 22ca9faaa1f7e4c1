package main

import (
	"net/http"
	"strings"
	"testing"
)

const nightly = `{"ref":"shop.nightly","action":"shop.report","cron":"30 2 * * 1-5","timezone":"Europe/Berlin","jitter":"5m",
	"parameters":{"day":"yesterday"},"pack":"shop","origin":"pack","state":"active",
	"next":["2026-11-25T02:30:00+01:00","2026-11-26T02:30:00+01:00"],
	"last":{"slot":"2026-11-24T02:30:00+01:00","at":"2026-11-24T01:33:00Z","outcome":"started","execution":"01KAS6XQ4RZZZZZZZZZZZZZZZZ"}}`

func TestSchedules(t *testing.T) {
	t.Parallel()
	const at = "/api/v1/schedules/shop.nightly"
	for name, test := range map[string]struct {
		args    []string
		answers map[string][]canned
		want    ran
		sent    string
	}{
		"list": {
			args: []string{"list"},
			answers: map[string][]canned{"GET /api/v1/schedules": {{status: 200, body: `{"items":[` + nightly + `,
				{"ref":"shop.tick","action":"shop.report","every":"1m","state":"paused","next":[],"last":null}]}`}}},
			want: ran{exitOK, strings.Join([]string{
				"SCHEDULE      ACTION       WHEN                        STATE   LAST                       OUTCOME  NEXT",
				"shop.nightly  shop.report  30 2 * * 1-5 Europe/Berlin  active  2026-11-24T02:30:00+01:00  started  2026-11-25T02:30:00+01:00",
				"shop.tick     shop.report  every 1m                    paused\n",
			}, "\n"), ""},
		},
		"list as JSON": {
			args:    []string{"list", "-o", "json"},
			answers: map[string][]canned{"GET /api/v1/schedules": {{status: 200, body: `{"items":[]}`}}},
			want:    ran{exitOK, "{\n  \"items\": []\n}\n", ""},
		},
		"show": {
			args: []string{"show", "shop.nightly"}, answers: map[string][]canned{"GET " + at: {{status: 200, body: nightly}}},
			want: ran{exitOK, strings.Join([]string{
				"schedule    shop.nightly", "action      shop.report", "when        30 2 * * 1-5 Europe/Berlin", "jitter      5m",
				`parameters  {"day":"yesterday"}`, "from        a file of its pack", "state       active", "last        2026-11-24T02:30:00+01:00",
				"outcome     started", "execution   01KAS6XQ4RZZZZZZZZZZZZZZZZ", "next        2026-11-25T02:30:00+01:00", "next        2026-11-26T02:30:00+01:00\n",
			}, "\n"), ""},
		},
		"show none": {
			args: []string{"show", "shop"},
			want: ran{exitUsage, "", "attune: \"shop\" is no schedule: attune schedule list shows their refs\n"},
		},
		"run": {
			args:    []string{"run", "shop.nightly"},
			answers: map[string][]canned{"POST " + at + "/run": {{status: 202, body: `{"id":"01KAS6XQ4RZZZZZZZZZZZZZZZZ","status":"queued"}`}}},
			want:    ran{exitOK, "01KAS6XQ4RZZZZZZZZZZZZZZZZ\n", ""},
		},
		"pause":  {args: []string{"pause", "shop.nightly"}, answers: map[string][]canned{"POST " + at + "/pause": {{status: 200, body: nightly}}}},
		"resume": {args: []string{"resume", "shop.nightly"}, answers: map[string][]canned{"POST " + at + "/resume": {{status: 200, body: nightly}}}},
		"rm":     {args: []string{"rm", "shop.nightly"}, answers: map[string][]canned{"DELETE " + at: {{status: http.StatusNoContent}}}},
		"rm of a file": {
			args:    []string{"rm", "shop.nightly"},
			answers: map[string][]canned{"DELETE " + at: {{status: 409, body: `{"type":"/problems/in-pack","title":"The resource is a file of its pack"}`}}},
			want:    ran{exitUsage, "", "attune: The resource is a file of its pack (409 in-pack)\n"},
		},
		"create": {
			args: []string{"create", "shop.tick", "shop.report", "day=today", "n:=3", "--every", "5m", "--overlap", "skip"},
			answers: map[string][]canned{"POST /api/v1/schedules": {{status: 201, body: `{"ref":"shop.tick","action":"shop.report","every":"5m",
				"overlap":"skip","origin":"api","state":"active","next":[],"last":null}`}}},
			sent: `{"ref":"shop.tick","action":"shop.report","every":"5m","overlap":"skip","parameters":{"day":"today","n":3}}`,
			want: ran{exitOK, "schedule  shop.tick\naction    shop.report\nwhen      every 5m\noverlap   skip\nfrom      the API\nstate     active\n", ""},
		},
		"create what is wrong": {
			args: []string{"create", "shop.tick", "shop.report", "--cron", "61 * * * *", "-d", `{"day":1}`},
			answers: map[string][]canned{"POST /api/v1/schedules": {{status: 422, body: `{"type":"/problems/invalid-parameters","title":"The parameters are not valid",
				"errors":[{"pointer":"/cron","detail":"must be five fields"},{"pointer":"/parameters/day","detail":"must be of type string"}]}`}}},
			sent: `{"ref":"shop.tick","action":"shop.report","cron":"61 * * * *","parameters":{"day":1}}`,
			want: ran{exitUsage, "", "attune: The parameters are not valid (422 invalid-parameters)\n  /cron: must be five fields\n  /parameters/day: must be of type string\n"},
		},
		"create with two kinds of parameters": {
			args: []string{"create", "shop.tick", "shop.report", "a=1", "-d", "{}"},
			want: ran{exitUsage, "", "attune: give parameters by --data or as key=value, not both\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway := newFakeGateway(t, test.answers)
			got := runProgram(t, &program{}, append([]string{"schedule", test.args[0], "--url", gateway.URL}, test.args[1:]...)...)
			if got != test.want {
				t.Errorf("schedule %v =\n%+v, want\n%+v", test.args, got, test.want)
			}
			if sent := strings.Join(gateway.bodies, ""); sent != test.sent {
				t.Errorf("the gateway was sent %s, want %s", sent, test.sent)
			}
		})
	}
}

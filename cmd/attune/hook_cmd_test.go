package main

import (
	"strings"
	"testing"
)

const (
	hookPath = "/api/v1/hooks/shop.paid"
	hookJSON = `{"ref":"shop.paid","label":"Paid","action":"shop.record","enabled":true,"verify":"stripe","secrets":["stripe_hook"],` +
		`"parameters":{"order":"/body/data/object"},"response":"async","url":"http://h/hooks/K1","previous_url":"http://h/hooks/K0",` +
		`"previous_until":"2026-11-24T08:00:00Z","unready":"the hook's secret is not stored"}`
	accepted = `{"execution_id":"` + executionOne + `","duplicate":false}`
)

func TestHookCommands(t *testing.T) {
	t.Setenv("TZ", "UTC")
	for name, test := range map[string]struct {
		args    []string
		answers map[string][]canned
		body    string // that the gateway was sent
		want    ran
		has     string // of stdout, where want has none
	}{
		"list": {
			args: []string{"list"}, answers: map[string][]canned{"GET /api/v1/hooks": {{status: 200, body: `{"items":[` + hookJSON + `]}`}}},
			want: ran{exitOK, "HOOK       ACTION       VERIFY  STATE    URL\nshop.paid  shop.record  stripe  unready  http://h/hooks/K1\n", ""},
		},
		"list as JSON": {args: []string{"list", "-o", "json"}, answers: map[string][]canned{"GET /api/v1/hooks": {{status: 200, body: `{"items":[]}`}}}, has: "[]\n"},
		"show": {
			args: []string{"show", "shop.paid"}, answers: map[string][]canned{"GET " + hookPath: {{status: 200, body: hookJSON}}},
			has: "before     http://h/hooks/K0 (until 2026-11-24 08:00)\nsecret     stripe_hook\nparameter  order = /body/data/object\nunready    the hook's secret is not stored\n",
		},
		"rotate": {
			args: []string{"rotate", "shop.paid", "--grace", "24h"}, answers: map[string][]canned{"POST " + hookPath + "/rotate": {{status: 200, body: hookJSON}}},
			body: `{"grace":"24h0m0s"}`, has: "url        http://h/hooks/K1\n",
		},
		"test": {
			args: []string{"test", "shop.paid"}, answers: map[string][]canned{"POST " + hookPath + "/test": {{status: 202, body: accepted}}},
			want: ran{exitOK, "accepted as execution " + executionOne + ": attune execution show " + executionOne + "\n", ""},
		},
		"test without a secret": {
			args:    []string{"test", "shop.paid"},
			answers: map[string][]canned{"POST " + hookPath + "/test": {{status: 503, body: `{"type":"/problems/secrets-unreadable","title":"A stored secret can't be read","detail":"the hook's secret is not stored: attune secret set","status":503}`}}},
			want:    ran{exitGateway, "", "attune: A stored secret can't be read: the hook's secret is not stored: attune secret set (503 secrets-unreadable)\n"},
		},
		"deliveries": {
			args: []string{"deliveries", "shop.paid", "-n", "2"},
			answers: map[string][]canned{"GET " + hookPath + "/deliveries?limit=2": {{status: 200, body: `{"items":[{"id":"` + executionOne + `","at":"2026-11-24T08:00:00Z",` +
				`"delivery":"evt_1\u001b","outcome":"accepted","status":202,"size":2048,"duration_ms":3,"execution":"E1","replay_of":"R1"},` +
				`{"id":"X","at":"2026-11-24T08:00:00Z","outcome":"refused","status":401,"code":"invalid-signature","size":5}]}`}}},
			has: executionOne + "  2026-11-24 08:00  accepted  202     2KiB  3ms   evt_1     execution E1 (replay of R1)\nX ",
		},
		"replay": {
			args: []string{"replay", "shop.paid", executionOne}, answers: map[string][]canned{"POST " + hookPath + "/deliveries/" + executionOne + "/replay": {{status: 202, body: accepted}}},
			has: "accepted as execution " + executionOne,
		},
		"no hook":     {args: []string{"show", "../x"}, want: ran{exitUsage, "", "attune: \"../x\" is no hook: attune hook list shows their refs\n"}},
		"no delivery": {args: []string{"replay", "shop.paid", "x"}, want: ran{exitUsage, "", "attune: \"x\" is no delivery: attune hook deliveries shop.paid shows their IDs\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			gateway := newFakeGateway(t, test.answers)
			got := runProgram(t, &program{}, append([]string{"hook", test.args[0], "--url", gateway.URL}, test.args[1:]...)...)
			if test.has != "" && (got.Code != exitOK || !strings.Contains(got.Stdout, test.has)) {
				t.Errorf("hook %v = %+v, want %q", test.args, got, test.has)
			}
			if test.has == "" && got != test.want {
				t.Errorf("hook %v = %+v, want %+v", test.args, got, test.want)
			}
			if sent := strings.Join(gateway.bodies, ""); test.body != "" && sent != test.body {
				t.Errorf("hook %v sent %s, want %s", test.args, sent, test.body)
			}
		})
	}
}

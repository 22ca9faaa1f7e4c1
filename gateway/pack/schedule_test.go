package pack

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/runtimes"
)

// order is an action with parameters of every kind that a schedule has to do with.
const order = `
ref: demo.order
entry_point: a.sh
parameters:
  n: {type: integer, required: true}
  note: {type: string, default: x}
  token: {type: string, secret: true, required: true}
`

func TestSchedules(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "demo")
	write(t, dir, map[string]string{
		"actions/order.yaml":      order,
		"actions/off.yaml":        "ref: demo.off\nentry_point: a.sh\nenabled: false\n",
		"schedules/b.yml":         "ref: demo.z\naction: demo.a\nevery: 90\n",
		"schedules/off.yaml":      "ref: demo.off\naction: demo.off\nevery: 1h\n",
		"schedules/disabled.yaml": "ref: demo.disabled\naction: demo.a\nevery: 1h\nenabled: false\n",
		"schedules/README.md":     "not one",
		"schedules/nightly.yaml": `
ref: demo.nightly
action: demo.order
cron: 30 2 * * 1-5
timezone: Europe/Berlin
jitter: 5m
misfire: once
overlap: replace
parameters: {n: 12345678901234567890}
`,
	})
	pack, err := Load(dir, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pack.Schedules) != 4 {
		t.Fatalf("%d schedules", len(pack.Schedules))
	}
	nightly, other := pack.Schedules[1], pack.Schedules[3]
	next := nightly.Calendar.Next(time.Date(2026, 7, 4, 0, 0, 0, 0, time.UTC)).Format(time.RFC3339)
	if nightly.Ref.String() != "demo.nightly" || nightly.Action.Ref.String() != "demo.order" || next != "2026-07-06T02:30:00+02:00" ||
		nightly.Jitter != 5*time.Minute || nightly.Misfire != MisfireOnce || nightly.Overlap != OverlapReplace ||
		string(nightly.Parameters) != `{"n":12345678901234567890}` || !nightly.Enabled {
		t.Errorf("schedule %+v, next %s", nightly, next)
	}
	if other.Ref.String() != "demo.z" || other.Calendar.Interval() != 90*time.Second || other.Jitter != 0 || other.Misfire != MisfireSkip ||
		other.Overlap != OverlapAllow || string(other.Parameters) != "{}" || !other.Enabled {
		t.Errorf("schedule that says nothing: %+v", other)
	}
	for _, off := range []*Schedule{pack.Schedules[0], pack.Schedules[2]} {
		if off.Enabled {
			t.Errorf("%s is enabled", off.Ref)
		}
	}
}

func TestScheduleFaults(t *testing.T) {
	t.Parallel()
	const file = "schedules/s.yaml"
	const head = "ref: demo.s\naction: demo.a\n"
	for name, test := range map[string]struct {
		yaml string
		want []string
	}{
		"empty":   {"", []string{": is empty"}},
		"nothing": {"enabled: true\n", []string{": ref is missing: it must be pack.name, each a lower-case letter and up to 62 of a-z, 0-9, _ and -", ": needs cron or every, one of them", ": action is missing: it must be pack.action"}},
		"both":    {head + "cron: '@daily'\nevery: 1h\n", []string{": needs cron or every, one of them"}},
		"unknown": {head + "every: 1h\ncrn: x\n", []string{`:4: unknown key "crn": did you mean "cron"?`}},
		"cron":    {head + "cron: 61 * * * *\n", []string{":3: cron must be five fields, minute hour day month weekday, or @hourly, @daily, @weekly, @monthly, @yearly"}},
		"zone in cron": {head + "cron: TZ=Europe/Berlin 1 * * * *\n", []string{
			":3: cron must be five fields, minute hour day month weekday, or @hourly, @daily, @weekly, @monthly, @yearly",
		}},
		"never":         {head + "cron: 0 0 31 2 *\n", []string{":3: cron names a day that never comes"}},
		"zone":          {head + "cron: '@daily'\ntimezone: Berlin\n", []string{":4: timezone must be a name of the time zone database, for example Europe/Berlin"}},
		"zone of every": {head + "every: 1h\ntimezone: Europe/Berlin\n", []string{":4: timezone is for cron: every counts from the beginning of 1970, UTC"}},
		"every":         {head + "every: 100ms\n", []string{":3: every must be whole seconds, from 1s to 8784h"}},
		"every, word":   {head + "every: day\n", []string{":3: every must be whole seconds, from 1s to 8784h"}},
		"jitter":        {head + "every: 1h\njitter: 2h\n", []string{":4: jitter must be seconds or a duration up to 1h0m0s, for example 30 or 5m"}},
		"long jitter":   {head + "every: 1m\njitter: 61\n", []string{":4: jitter is longer than the time between two runs"}},
		"long jitter of cron": {head + "cron: 0,10 * * * *\njitter: 11m\n", []string{
			":4: jitter is longer than the time between two runs",
		}},
		"words": {head + "every: 1h\nmisfire: all\noverlap: queue\n", []string{
			":4: misfire must be one of skip, once", ":5: overlap must be one of allow, skip, replace",
		}},
		"other pack's action": {"ref: demo.s\naction: core.echo\nevery: 1h\n", []string{":2: action must be an action of the schedule's own pack"}},
		"no such action":      {"ref: demo.s\naction: demo.x\nevery: 1h\n", []string{":2: action is not an action of this pack"}},
		"other pack's ref":    {"ref: core.s\naction: demo.a\nevery: 1h\n", []string{":2: action must be an action of the schedule's own pack", ":1: ref core.s isn't in this pack: it must begin with demo."}},
		"parameters": {"ref: demo.s\naction: demo.order\nevery: 1h\nparameters:\n  n: x\n  note: 1\n", []string{
			":5: parameters.n must be of type integer", ":6: parameters.note must be of type string",
		}},
		"missing parameter": {"ref: demo.s\naction: demo.order\nevery: 1h\n", []string{": parameters.n is required"}},
		"secret":            {"ref: demo.s\naction: demo.order\nevery: 1h\nparameters: {n: 1, token: t}\n", []string{":4: parameters.token is a secret, which everybody could see here: store it (attune secret set)"}},
		"no object":         {head + "every: 1h\nparameters: [1]\n", []string{":4: parameters must be a mapping, but is a list"}},
		"twice":             {"ref: demo.other\naction: demo.a\nevery: 1h\n", []string{": ref demo.other is also that of schedules/other.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "demo")
			write(t, dir, map[string]string{
				"actions/order.yaml": order, file: test.yaml, "schedules/other.yaml": "ref: demo.other\naction: demo.a\nevery: 1h\n",
			})
			want := []string{}
			for _, text := range test.want {
				want = append(want, file+text)
			}
			if diff := cmp.Diff(want, faultsOf(t, dir, LoadOptions{})); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduleOfADocument(t *testing.T) {
	t.Parallel()
	packs := t.TempDir()
	write(t, filepath.Join(packs, "demo"), map[string]string{"actions/order.yaml": order})
	catalog, err := LoadCatalog(packs, runtimes.Builtin(), LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		document string
		want     []Problem
	}{
		"good": {`{"ref":"demo.s","action":"demo.order","cron":"@daily","timezone":"Asia/Tokyo","parameters":{"n":1},"enabled":false}`, nil},
		"types": {`{"ref":1,"action":"demo.a","every":60,"enabled":"yes","who":1}`, []Problem{
			{"", "has a member that a schedule does not have"}, {"/enabled", "must be true or false"}, {"/every", "must be a string"}, {"/ref", "must be a string"},
		}},
		"list": {`[]`, []Problem{{"", "must be an object"}}},
		"values": {`{"ref":"demo.s","action":"demo.order","every":"1h","parameters":{"n":1.5,"no/te":1},"misfire":"x"}`, []Problem{
			{"/misfire", "must be one of skip, once"}, {"/parameters/n", "must be of type integer"}, {"/parameters/no~1te", "is not known here"},
		}},
		"parameters are no object": {`{"ref":"demo.s","action":"demo.a","every":"1h","parameters":null}`, []Problem{{"/parameters", "must be an object"}}},
	} {
		spec, problems, err := ParseScheduleSpec([]byte(test.document))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var schedule *Schedule
		if len(problems) == 0 {
			schedule, problems = catalog.Schedule(spec)
		}
		if diff := cmp.Diff(test.want, problems); diff != "" || (schedule == nil) != (len(problems) > 0) {
			t.Errorf("%s: %+v, problems (-want +got):\n%s", name, schedule, diff)
		}
	}
	if _, _, err := ParseScheduleSpec([]byte(`{"ref":"a","ref":"b"}`)); !errors.Is(err, ErrInvalidJSON) {
		t.Errorf("duplicate keys: %v", err)
	}
}

package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/schedule"
)

// fakeSchedules has demo.nightly and demo.other, of files, and demo.stored,
// which comes back however often it is deleted. What is created is checked by
// the catalog, and demo.new never stays. err, if any, is what everything answers.
type fakeSchedules struct {
	catalog *pack.Catalog
	mu      sync.Mutex
	created map[string]schedule.Entry
	paused  map[string]bool
	ran     []string // ref, ID and caller
	err     error
}

var _ Schedules = (*fakeSchedules)(nil)

func newFakeSchedules(catalog *pack.Catalog) *fakeSchedules {
	return &fakeSchedules{catalog: catalog, created: map[string]schedule.Entry{}, paused: map[string]bool{}}
}

func (f *fakeSchedules) entry(ref, origin string) schedule.Entry {
	e := schedule.Entry{
		ScheduleSpec: pack.ScheduleSpec{Ref: ref, Action: "demo.echo", Cron: "30 2 * * *", Timezone: "Europe/Berlin"},
		Pack:         "demo", Origin: origin, State: schedule.Active, Next: []time.Time{time.Unix(0, 0).UTC()},
	}
	if f.paused[ref] {
		e.State, e.Next = schedule.Paused, []time.Time{}
	}
	return e
}

func (f *fakeSchedules) all() []schedule.Entry {
	all := []schedule.Entry{
		f.entry("demo.nightly", schedule.OriginPack), f.entry("demo.other", schedule.OriginPack), f.entry("demo.stored", schedule.OriginAPI),
	}
	for _, one := range f.created {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b schedule.Entry) int { return strings.Compare(a.Ref, b.Ref) })
	return all
}

func (f *fakeSchedules) List(context.Context) ([]schedule.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all(), f.err
}

func (f *fakeSchedules) Show(_ context.Context, ref string) (schedule.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.find(ref)
}

func (f *fakeSchedules) find(ref string) (schedule.Entry, error) {
	for _, one := range f.all() {
		if one.Ref == ref {
			return one, f.err
		}
	}
	return schedule.Entry{}, schedule.ErrNone
}

func (f *fakeSchedules) Create(_ context.Context, spec pack.ScheduleSpec) (schedule.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, problems := f.catalog.Schedule(spec); len(problems) > 0 {
		return schedule.Entry{}, &schedule.Invalid{Problems: problems}
	}
	if _, err := f.find(spec.Ref); err == nil {
		return schedule.Entry{}, schedule.ErrExists
	}
	if f.err == nil && spec.Ref != "demo.new" {
		f.created[spec.Ref] = f.entry(spec.Ref, schedule.OriginAPI)
	}
	return f.entry(spec.Ref, schedule.OriginAPI), f.err
}

func (f *fakeSchedules) Delete(_ context.Context, ref string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, err := f.find(ref)
	switch {
	case err != nil:
		return err
	case one.Origin == schedule.OriginPack:
		return schedule.ErrInPack
	}
	delete(f.created, ref)
	return nil
}

func (f *fakeSchedules) RunNow(_ context.Context, ref, id, caller string) (*execution.Execution, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.find(ref); err != nil {
		return nil, err
	}
	f.ran = append(f.ran, ref+" "+id+" "+caller)
	return &execution.Execution{ID: id, Action: "demo.echo", Status: execution.StatusQueued}, nil
}

func (f *fakeSchedules) SetPaused(_ context.Context, ref string, paused bool) (schedule.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.paused[ref] = paused
	return f.find(ref)
}

func (f *fakeSchedules) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func TestSchedulesOverHTTP(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	const at = "/api/v1/schedules"
	good := `{"ref":"demo.a","action":"demo.echo","every":"5m","parameters":{"name":"x"}}`
	for _, test := range []struct {
		method, path, body string
		status             int
		has                string
	}{
		{"GET", at, "", 200, `"ref":"demo.stored","action":"demo.echo","cron":"30 2 * * *","timezone":"Europe/Berlin","pack":"demo","origin":"api","state":"active","next":["1970-01-01T00:00:00Z"],"last":null}`},
		{"GET", at + "/demo.none", "", 404, "no such schedule"},
		{"GET", at + "/demo", "", 400, "invalid-ref"},
		{"POST", at, good, 201, `"origin":"api"`},
		{"POST", at, good, 409, "already-exists"},
		{"GET", at + "/demo.a", "", 200, `"ref":"demo.a"`},
		{"DELETE", at + "/demo.a", "", 204, ""},
		{"GET", at + "/demo.a", "", 404, "no such schedule"},
		{"DELETE", at + "/demo.nightly", "", 409, "in-pack"},
		{"DELETE", at + "/demo.none", "", 404, "no such schedule"},
		{"POST", at, "", 400, "invalid-json"},
		{"POST", at, `[]`, 422, "must be an object"},
		{"POST", at, `{"ref":"demo.a","ref":"demo.b"}`, 400, "invalid-json"},
		{"POST", at, `{}`, 422, `"pointer":"/ref"`},
		{"POST", at, `{"ref":"../etc"}`, 422, `"pointer":"/ref"`},
		{"POST", at, `{"ref":"demo.a","` + canary + `":1}`, 422, "a member that a schedule does not have"},
		{"POST", at, `{"ref":"demo.a","action":"demo.` + canary + `","cron":"` + canary + `"}`, 422, `{"pointer":"/cron","detail":"must be five fields`},
		{"POST", at, `{"ref":"demo.a","action":"snake.run","every":"5m"}`, 422, `{"pointer":"/action","detail":"must be an action of the schedule's own pack"}`},
		{"POST", at, `{"ref":"demo.a","action":"demo.echo","every":"5m","parameters":{"name":1}}`, 422, `{"pointer":"/parameters/name","detail":"must be of type string"}`},
		{"POST", at, `{"ref":"none.a","action":"none.echo","every":"5m"}`, 422, "not an action of this pack"},
		{"POST", at, `{"ref":"demo.a","action":"demo.echo","every":"5m","parameters":{"x":"` + strings.Repeat("x", maxScheduleBody) + `"}}`, 413, "64 KiB"},
		{"POST", at + "/demo.nightly/run", `{"name":"x"}`, 422, "a member that this call does not have"},
		{"POST", at + "/demo.none/run", "", 404, "no such schedule"},
		{"POST", at + "/demo.nightly/pause", "", 200, `"state":"paused","next":[]`},
		{"POST", at + "/demo.nightly/resume", "{}", 200, `"state":"active"`},
		{"POST", at + "/demo.none/pause", "", 404, "no such schedule"},
	} {
		var header []string
		if test.body != "" {
			header = []string{"Content-Type", "application/json"}
		}
		response, body := w.do(t, test.method, test.path, test.body, header...)
		if response.StatusCode != test.status || !strings.Contains(body, test.has) {
			t.Errorf("%s %s %.100s = %d %s, want %d with %s", test.method, test.path, test.body, response.StatusCode, body, test.status, test.has)
		}
		if strings.Contains(body, canary) {
			t.Errorf("%s %s echoes: %s", test.method, test.path, body)
		}
		if got, want := response.Header.Get("Location"), at+"/demo.a"; response.StatusCode == 201 && got != want {
			t.Errorf("Location %q, want %q", got, want)
		}
	}
}

func TestRunOfAScheduleIsAnExecution(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	response, body := w.do(t, "POST", "/api/v1/schedules/demo.nightly/run", "")
	id := response.Header.Get("Attune-Execution-Id")
	if response.StatusCode != http.StatusAccepted || response.Header.Get("Location") != "/api/v1/executions/"+id ||
		!strings.Contains(body, fmt.Sprintf(`"id":%q`, id)) || !executionID.MatchString(id) {
		t.Errorf("run = %d %s, %v", response.StatusCode, body, response.Header)
	}
	fake := w.Options.Schedules.(*fakeSchedules)
	if want := []string{"demo.nightly " + id + " "}; !slices.Equal(fake.ran, want) {
		t.Errorf("ran %q, want %q", fake.ran, want)
	}
}

func TestSchedulesWithoutAStore(t *testing.T) {
	t.Parallel()
	w := serve(t, Limits{})
	w.Options.Schedules.(*fakeSchedules).fail(errors.New("away, at " + canary))
	for _, request := range [][2]string{
		{"GET", "/api/v1/schedules"}, {"GET", "/api/v1/schedules/demo.nightly"}, {"DELETE", "/api/v1/schedules/demo.nightly"},
		{"POST", "/api/v1/schedules/demo.nightly/run"}, {"POST", "/api/v1/schedules/demo.nightly/pause"},
	} {
		response, body := w.do(t, request[0], request[1], "")
		if response.StatusCode != 503 || !strings.Contains(body, "state-unavailable") || response.Header.Get("Retry-After") != "1" || strings.Contains(body, canary) {
			t.Errorf("%v = %d %s", request, response.StatusCode, body)
		}
	}
}

package tests

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"attune/gateway/execution"
	"attune/gateway/redis/redistest"
	"attune/gateway/schedule"
	"attune/runtimes/container/containertest"
)

// clockPack has an action that tells its parameter, and a schedule for it.
func (h home) clockPack(t *testing.T, ref, schedule string) {
	h.pack(t, ref, map[string]string{
		"actions/tell.yaml": "ref: " + ref + ".tell\nentry_point: tell.sh\noutput_format: json\nparameters: {text: {type: string, default: none}}\n",
		"actions/tell.sh":   "cat\n",
		"schedules/s.yaml":  "ref: " + ref + ".s\naction: " + ref + ".tell\n" + schedule,
	})
}

// runs are the executions of an action by a schedule, the oldest first.
func (g *gateway) runs(t *testing.T, action string) (all []execution.Execution) {
	t.Helper()
	var page struct {
		Items []execution.Execution
		Next  *string
	}
	for path := "/api/v1/executions?limit=200&action=" + action; ; path = "/api/v1/executions?limit=200&cursor=" + *page.Next + "&action=" + action {
		page.Next = nil
		decode(t, g.get(t, path).body, &page)
		all = append(all, page.Items...)
		if page.Next == nil {
			break
		}
	}
	slices.SortFunc(all, func(a, b execution.Execution) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// slotsOf are the seconds since 1970 that the IDs of runs name.
func slotsOf(t *testing.T, runs []execution.Execution) (slots []int64) {
	t.Helper()
	for _, x := range runs {
		id, err := ulid.ParseStrict(x.ID)
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, int64(id.Time()/1000))
	}
	return slots
}

// eachOnce checks that there is one run for each second from the first to the last.
func eachOnce(t *testing.T, slots []int64) {
	t.Helper()
	for i := 1; i < len(slots); i++ {
		if slots[i] != slots[i-1]+1 {
			t.Errorf("slot %d comes after slot %d of %v", slots[i], slots[i-1], slots)
		}
	}
}

func ended(runs []execution.Execution) (n int) {
	for _, x := range runs {
		if x.Status == execution.StatusSucceeded {
			n++
		}
	}
	return n
}

func (g *gateway) schedule(t *testing.T, ref string) (e schedule.Entry) {
	t.Helper()
	decode(t, g.get(t, "/api/v1/schedules/"+ref).body, &e)
	return e
}

func TestScheduleRunsItsScript(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t)
	h.clockPack(t, "clock", "every: 1s\nparameters: {text: tick}\n")
	g := h.start(t)
	eventually(t, 60*time.Second, "5 slots have run", func() bool { return ended(g.runs(t, "clock.tell")) >= 5 })
	if _, err := g.attune(t, "", "schedule", "pause", "clock.s"); err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "all that was started has ended", func() bool {
		runs := g.runs(t, "clock.tell")
		return ended(runs) == len(runs)
	})
	runs := g.runs(t, "clock.tell")
	eachOnce(t, slotsOf(t, runs))
	one := g.get(t, "/api/v1/executions/"+runs[0].ID).value(t)
	if text, _ := json.Marshal(one["result"]); string(text) != `{"text":"tick"}` || one["source"] != "schedule:clock.s" {
		t.Errorf("execution %v", one)
	}
	paused := g.schedule(t, "clock.s")
	if paused.State != schedule.Paused || len(paused.Next) != 0 || paused.Last.Execution != runs[len(runs)-1].ID {
		t.Errorf("schedule %+v, last execution %s", paused, runs[len(runs)-1].ID)
	}

	// What an operator did survives a restart.
	created, err := g.attune(t, "", "schedule", "create", "clock.stored", "clock.tell", "--every", "1s", "text=stored")
	if err != nil || !strings.Contains(created, "from        the API") {
		t.Errorf("schedule create = %s, %v", created, err)
	}
	eventually(t, 30*time.Second, "the stored schedule has run", func() bool { return len(g.runs(t, "clock.tell")) > len(runs) })
	g.stop(t)
	g = h.start(t)
	if s := g.schedule(t, "clock.s"); s.State != schedule.Paused {
		t.Errorf("after a restart it is %s", s.State)
	}
	before := len(g.runs(t, "clock.tell"))
	eventually(t, 30*time.Second, "the stored schedule runs on", func() bool { return ended(g.runs(t, "clock.tell")) > before })
	if out, err := g.attune(t, "", "schedule", "rm", "clock.stored"); err != nil {
		t.Errorf("schedule rm = %s, %v", out, err)
	}
	if a := g.get(t, "/api/v1/schedules/clock.stored"); a.status != 404 {
		t.Errorf("GET of what was removed = %d %s", a.status, a.body)
	}

	// By hand, though it is paused; and on again.
	id, err := g.attune(t, "", "schedule", "run", "clock.s")
	if err != nil {
		t.Error(err)
	}
	eventually(t, 30*time.Second, "the run by hand has succeeded", func() bool {
		return g.get(t, "/api/v1/executions/"+strings.TrimSpace(id)).value(t)["status"] == "succeeded"
	})
	if _, err := g.attune(t, "", "schedule", "resume", "clock.s"); err != nil {
		t.Error(err)
	}
	before = len(g.runs(t, "clock.tell"))
	eventually(t, 30*time.Second, "it runs again", func() bool { return len(g.runs(t, "clock.tell")) > before })
	if out, err := g.attune(t, "", "schedule", "list"); err != nil || !strings.Contains(out, "clock.s   clock.tell  every 1s  active") {
		t.Errorf("schedule list = %s, %v", out, err)
	}
}

// Two gateways on one Redis, one of which is killed: no slot is lost and none
// runs twice.
func TestReplicasRunASlotOnce(t *testing.T) {
	containertest.RequireDocker(t)
	h := newHome(t)
	h.clockPack(t, "clocks", "every: 1s\n")
	url := "ATTUNE__REDIS__URL=" + redistest.URL(t)
	a, b := h.start(t, url), h.beside("b").start(t, url)
	eventually(t, 60*time.Second, "5 slots have run", func() bool { return ended(a.runs(t, "clocks.tell")) >= 5 })
	a.kill(t)
	before := len(b.runs(t, "clocks.tell"))
	eventually(t, 90*time.Second, "the other one goes on", func() bool { return ended(b.runs(t, "clocks.tell")) >= before+15 })
	h.start(t, url) // and removes what it has left
	before = len(b.runs(t, "clocks.tell"))
	eventually(t, 90*time.Second, "both go on", func() bool { return ended(b.runs(t, "clocks.tell")) >= before+5 })
	if a := b.post(t, "/api/v1/schedules/clocks.s/pause", ""); a.status != 200 {
		t.Errorf("pause = %d %s", a.status, a.body)
	}
	eventually(t, 90*time.Second, "all that was started has ended", func() bool {
		runs := b.runs(t, "clocks.tell")
		return ended(runs) == len(runs)
	})
	eachOnce(t, slotsOf(t, b.runs(t, "clocks.tell")))
}

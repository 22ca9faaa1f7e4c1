package execution

import (
	"log/slog"
	"testing"
	"time"

	"attune/gateway/pack"
)

// An attempt's end is whoever's who asked for it: it is told first, and the
// recorder writes nothing.
func TestAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"fine": {script: "echo ok\n"}, "fails": {script: "exit 3\n"}}, nil)
	created := time.Now().Add(-time.Hour).UTC()
	for name, status := range map[string]Status{"fine": StatusSucceeded, "fails": StatusFailed} {
		id := NewID()
		settled := 0
		outcome, err := r.Invoke(t.Context(), Request{
			ID: id, Action: "demo." + name, Arrived: time.Now(),
			Attempt: &Attempt{Created: created, Source: "http", Caller: "key", Number: 2, Settle: func(outcome *Outcome, failure *Error) {
				settled++
				x := outcome.Execution
				if x.ID != id || !x.CreatedAt.Equal(created) || x.Source != "http" || x.Caller != "key" || x.Attempt != 2 || x.Status != status {
					t.Errorf("settled %+v, want %s", x, status)
				}
				if (failure == nil) != (status == StatusSucceeded) || status == StatusSucceeded && string(outcome.Output) != "ok\n" {
					t.Errorf("settled with %v and %q", failure, outcome.Output)
				}
				if running, here := r.recorder.Running(id); !here || running.HasEnded() {
					t.Error("others are told of the end before it is settled")
				}
				if x.DurationMS < time.Hour.Seconds()*1000 {
					t.Errorf("duration = %v ms, want it from the creation on", x.DurationMS)
				}
				x.Status = StatusQueued // another attempt follows
			}},
		})
		if settled != 1 || outcome == nil || outcome.Execution.Status != StatusQueued || (err == nil) != (status == StatusSucceeded) {
			t.Errorf("Invoke() = %+v, %v, settled %d times", outcome, err, settled)
		}
	}
	if err := r.recorder.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.store.count(); got != 0 {
		t.Errorf("the recorder has saved %d executions, want none: the queue writes them", got)
	}
}

func TestCheckRunsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]action{"fine": {yaml: "parameters: {n: {type: integer}}\n", script: "exit 1\n"}}, nil)
	found, err := r.Check(t.Context(), Request{ID: NewID(), Action: "demo.fine", Body: []byte(`{"n":1}`), Arrived: time.Now()})
	if err != nil || found.Ref != (pack.ActionRef{Pack: "demo", Name: "fine"}) {
		t.Errorf("Check() = %+v, %v", found, err)
	}
	for body, code := range map[string]string{`{"n":"x"}`: CodeInvalidParameters, `{`: CodeInvalidJSON} {
		_, err := r.Check(t.Context(), Request{ID: NewID(), Action: "demo.fine", Body: []byte(body), Arrived: time.Now()})
		if failure := asError(t, err); failure.Code != code {
			t.Errorf("Check(%s) error = %v, want %s", body, err, code)
		}
	}
}

// A job's record stays as the queue has it: it may wait for a week, and belongs to
// no gateway.
func TestBuryLeavesJobsAlone(t *testing.T) {
	t.Parallel()
	store := newMemory()
	r := NewRecorder(store, Retention{Gateway: "gw", Longest: time.Minute}, slog.New(slog.DiscardHandler))
	old := time.Now().Add(-time.Hour).UTC()
	job := &Execution{ID: NewID(), Status: StatusQueued, Gateway: "gw", CreatedAt: old, Source: "http"}
	call := &Execution{ID: NewID(), Status: StatusRunning, Gateway: "gw", CreatedAt: old}
	if err := store.Save(t.Context(), job, call); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Execution{job, call} {
		if err := r.buryOne(t.Context(), x); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := store.Get(t.Context(), job.ID); err != nil || got.Status != StatusQueued {
		t.Errorf("the job is %+v, %v, want it queued", got, err)
	}
	if got, err := store.Get(t.Context(), call.ID); err != nil || got.Status != StatusFailed {
		t.Errorf("the call is %+v, %v, want it failed", got, err)
	}
}

package schedule_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
	"attune/gateway/schedule"
	"attune/gateway/schedule/scheduletest"
)

// In a synctest bubble it is midnight of 2000-01-01, UTC, and time passes when
// everybody waits for it.

// pass lets time pass, and what was due then end.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestEverySlotRunsOnce(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 10\nparameters: {n: 7}\n"})
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		began := time.Now()
		c := clockwork(catalog, scheduletest.NewMemory(), d)
		stop := start(t, c)
		pass(35 * time.Second)
		stop()
		if got, want := seconds(began, d.times()), []string{"10", "20", "30"}; !slices.Equal(got, want) {
			t.Errorf("ran at %v, want %v", got, want)
		}
		for id, job := range d.all() {
			if job.ID != id || job.Action != "demo.a" || string(job.Parameters) != `{"n":7}` || job.Source != "schedule:demo.s" {
				t.Errorf("job %+v", job)
			}
		}
		last := show(t, c, "demo.s").Last
		if last == nil || last.Outcome != schedule.Started || d.all()[last.Execution].ID == "" || !last.Slot.Equal(began.Add(30*time.Second)) {
			t.Errorf("last %+v", last)
		}
	})
}

func TestOneOfManyGatewaysRunsASlot(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 5\n", "u": "every: 7\njitter: 3\n", "c": "cron: '* * * * *'\n"})
	synctest.Test(t, func(t *testing.T) {
		d, store := newDesk(), scheduletest.NewMemory()
		for _, id := range []string{"g1", "g2", "g3", "g4"} {
			defer start(t, clockwork(catalog, store, d, func(o *schedule.Options) { o.GatewayID = id }))()
		}
		pass(10*time.Minute + 4*time.Second)
		if want := 120 + 86 - 1 + 10; len(d.times()) < want || len(d.times()) > want+1 || d.submitted() != d.ran() {
			t.Errorf("%d slots ran by %d jobs, want %d", len(d.times()), d.submitted(), want)
		}
	})
}

// Jitter is within its bound, the same for every gateway, and differs by slot.
func TestJitter(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 1m\njitter: 50\n"})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var runs [2][]string
		for i := range runs {
			d := newDesk()
			stop := start(t, clockwork(catalog, scheduletest.NewMemory(), d, func(o *schedule.Options) {
				o.Now = func() time.Time { return time.Now().Add(time.Until(began).Truncate(time.Hour)) }
			}))
			pass(30*time.Minute + 55*time.Second)
			stop()
			from := time.Now().Add(-30*time.Minute - 55*time.Second)
			runs[i] = seconds(from, d.times())
			distinct := map[time.Duration]bool{}
			for n, at := range d.times() {
				late := at.Sub(from.Add(time.Duration(n+1) * time.Minute))
				if late < 0 || late >= 50*time.Second {
					t.Errorf("slot %d ran %v late", n, late)
				}
				distinct[late.Truncate(time.Second)] = true
			}
			if len(runs[i]) != 30 || len(distinct) < 10 {
				t.Errorf("%d runs with %d different delays", len(runs[i]), len(distinct))
			}
			pass(time.Hour - time.Since(from))
		}
		if !slices.Equal(runs[0], runs[1]) {
			t.Errorf("another gateway has other delays:\n%v\n%v", runs[0], runs[1])
		}
	})
}

func TestMisfire(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy string
		down   time.Duration
		want   []string // seconds since the beginning, of a schedule of every 10 minutes
		last   schedule.Outcome
	}{
		"skip":                            {"skip", 35 * time.Minute, []string{"600"}, schedule.Missed},
		"once":                            {"once", 35 * time.Minute, []string{"600", "2760"}, schedule.Started},
		"none was missed":                 {"once", 8 * time.Minute, []string{"600"}, schedule.Started},
		"skip, back in time":              {"skip", 9*time.Minute + 20*time.Second, []string{"600", "1220"}, schedule.Started},
		"once, back in time for one":      {"once", 29*time.Minute + 20*time.Second, []string{"600", "2420"}, schedule.Started},
		"skip, back in time for one":      {"skip", 29*time.Minute + 20*time.Second, []string{"600", "2420"}, schedule.Started},
		"once, and long ago":              {"once", 365 * 24 * time.Hour, []string{"600", "31536660"}, schedule.Started},
		"skip, and long ago, it lives on": {"skip", 365 * 24 * time.Hour, []string{"600"}, schedule.Missed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catalog := catalogOf(t, map[string]string{"s": "every: 10m\nmisfire: " + test.policy + "\n"})
			synctest.Test(t, func(t *testing.T) {
				d, store, began := newDesk(), scheduletest.NewMemory(), time.Now()
				stop := start(t, clockwork(catalog, store, d))
				pass(11 * time.Minute)
				stop()
				pass(test.down)
				c := clockwork(catalog, store, d)
				defer start(t, c)()
				pass(time.Second)
				if got := seconds(began, d.times()); !slices.Equal(got, test.want) {
					t.Errorf("ran at %v, want %v", got, test.want)
				}
				if last := show(t, c, "demo.s").Last; last.Outcome != test.last {
					t.Errorf("last %+v, want %s", last, test.last)
				}
				pass(30 * time.Minute)
				if got := len(d.times()) - len(test.want); got != 3 {
					t.Errorf("%d slots of the next half hour ran, want 3", got)
				}
			})
		})
	}
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	for policy, test := range map[string]struct {
		runs, cancelled int
		last            schedule.Outcome
	}{"allow": {3, 0, schedule.Started}, "skip": {1, 0, schedule.Skipped}, "replace": {3, 2, schedule.Started}} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			catalog := catalogOf(t, map[string]string{"s": "every: 10\noverlap: " + policy + "\n"})
			synctest.Test(t, func(t *testing.T) {
				d := newDesk()
				c := clockwork(catalog, scheduletest.NewMemory(), d)
				defer start(t, c)()
				pass(35 * time.Second)
				if d.ran() != test.runs || len(d.cancels()) != test.cancelled {
					t.Errorf("%d ran and %v were cancelled, want %+v", d.ran(), d.cancels(), test)
				}
				if last := show(t, c, "demo.s").Last; last.Outcome != test.last || last.Execution == "" {
					t.Errorf("last %+v", last)
				}
				d.endAll()
				d.set(func(d *desk) { d.cancelled = nil })
				pass(10 * time.Second)
				if d.ran() != test.runs+1 || len(d.cancels()) != 0 && policy != "replace" {
					t.Errorf("%d ran after the end of those before, cancelled %v", d.ran(), d.cancels())
				}
			})
		})
	}
}

// Where it can't be told whether the run before goes on, nothing is decided.
func TestOverlapWaitsForTheStore(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 10\noverlap: skip\n"})
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		c := clockwork(catalog, scheduletest.NewMemory(), d)
		defer start(t, c)()
		pass(15 * time.Second)
		d.endAll()
		d.set(func(d *desk) { d.brokenGet = errors.New("away") })
		pass(10 * time.Second)
		if len(d.times()) != 1 {
			t.Errorf("ran %d times", len(d.times()))
		}
		d.set(func(d *desk) { d.brokenGet = nil })
		pass(3 * time.Second)
		if len(d.times()) != 2 {
			t.Errorf("ran %d times after the store came back, want 2", len(d.times()))
		}
	})
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 1m\n", "o": "every: 1h\nmisfire: once\n"})
	refused := func(code string, retryable bool) *execution.Error {
		return &execution.Error{Failure: execution.Failure{Code: code, Reason: "because", Retryable: retryable}}
	}
	synctest.Test(t, func(t *testing.T) {
		d, began := newDesk(), time.Now()
		c := clockwork(catalog, scheduletest.NewMemory(), d)
		defer start(t, c)()
		// For good: the slot is given up, and the schedule goes on.
		d.set(func(d *desk) { d.failure = refused("not-found", false) })
		pass(61 * time.Second)
		if last := show(t, c, "demo.s").Last; last.Outcome != schedule.Refused || last.Code != "not-found" || d.submitted() != 1 {
			t.Errorf("last %+v after %d submissions", last, d.submitted())
		}
		// For now: it is tried again until it works, late as that may be.
		d.set(func(d *desk) { d.failure = refused("overloaded", true) })
		pass(70 * time.Second)
		d.set(func(d *desk) { d.failure = nil })
		pass(20 * time.Second)
		if got := seconds(began, d.times()); len(got) != 1 {
			t.Errorf("ran at %v, want once", got)
		}
		// Until the next is due, which comes in its place.
		d.set(func(d *desk) {
			d.failure, d.jobs, d.at = refused("overloaded", true), map[string]queue.Job{}, map[string]time.Time{}
		})
		pass(10 * time.Minute)
		d.set(func(d *desk) { d.failure = nil })
		pass(31 * time.Second)
		if got := len(d.times()); got != 1 && got != 2 {
			t.Errorf("%d slots ran after the queue came back", got)
		}
		// But with misfire: once a slot isn't given up.
		pass(time.Until(began.Add(2*time.Hour - time.Second)))
		d.set(func(d *desk) { d.failure = refused("overloaded", true) })
		pass(3 * time.Hour)
		d.set(func(d *desk) { d.failure, d.jobs = nil, map[string]queue.Job{} })
		pass(time.Minute)
		ran := 0
		for _, job := range d.all() {
			if job.Source == "schedule:demo.o" {
				ran++
			}
		}
		if ran != 2 { // the one that was claimed, and one for those after it
			t.Errorf("%d runs of a schedule with misfire: once, want 2", ran)
		}
	})
}

// A queue that takes a job and can't say so gets it again, under the same ID.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 1m\n"})
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		c := clockwork(catalog, scheduletest.NewMemory(), d)
		defer start(t, c)()
		d.set(func(d *desk) { d.lose = true })
		pass(62 * time.Second)
		d.set(func(d *desk) { d.lose = false })
		pass(10 * time.Second)
		if d.ran() != 1 || d.submitted() < 2 || show(t, c, "demo.s").Last.Outcome != schedule.Started {
			t.Errorf("%d jobs of %d submissions", d.ran(), d.submitted())
		}
	})
}

// dying is a store that a gateway is cut off from right after it has claimed.
type dying struct {
	schedule.Store
	dead chan struct{}
}

func (s dying) Swap(ctx context.Context, before int64, next schedule.State) (bool, error) {
	select {
	case <-s.dead:
		return false, errors.New("dead")
	default:
	}
	won, err := s.Store.Swap(ctx, before, next)
	if won && next.Claim != nil {
		close(s.dead)
	}
	return won, err
}

func TestAbandonedClaimIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, submitted := range map[string]bool{"before it was submitted": false, "after it was submitted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catalog := catalogOf(t, map[string]string{"s": "every: 1h\n"})
			synctest.Test(t, func(t *testing.T) {
				d, store := newDesk(), scheduletest.NewMemory()
				mine := d
				if !submitted {
					mine = newDesk() // where nothing arrives that counts
				}
				stop := start(t, clockwork(catalog, dying{store, make(chan struct{})}, mine))
				pass(time.Hour + time.Second)
				stop()
				other := clockwork(catalog, store, d, func(o *schedule.Options) { o.GatewayID = "g2" })
				defer start(t, other)()
				pass(10 * time.Second)
				if last := show(t, other, "demo.s").Last; d.ran() != 1 || last == nil || last.Outcome != schedule.Started {
					t.Errorf("%d ran, last %+v", d.ran(), last)
				}
			})
		})
	}
}

// Whether a slot is left out is decided before it is claimed: who takes a claim
// over runs it, though the run before goes on.
func TestTakenOverSlotIsNotSkipped(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 1h\noverlap: skip\n"})
	synctest.Test(t, func(t *testing.T) {
		d, store := newDesk(), scheduletest.NewMemory()
		stop := start(t, clockwork(catalog, store, d))
		pass(time.Hour + time.Second)
		stop()
		d.endAll()
		stop = start(t, clockwork(catalog, dying{store, make(chan struct{})}, newDesk(), func(o *schedule.Options) { o.Executions = d }))
		pass(time.Hour)
		stop()
		d.set(func(d *desk) {
			for id := range d.status {
				d.status[id] = execution.StatusRunning
			}
		})
		defer start(t, clockwork(catalog, store, d))()
		pass(10 * time.Second)
		if d.ran() != 2 {
			t.Errorf("%d ran, want the claimed one, too", d.ran())
		}
	})
}

// A clock that is put back or forward makes no slot run twice, and no storm.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		yaml string
		jump time.Duration
		most int // runs within the minute after the jump
	}{
		"back, minutes":              {"every: 60\n", -10 * time.Minute, 0},
		"back, an interval of 1 s":   {"every: 1\n", -10 * time.Minute, 0},
		"back, days":                 {"every: 60\n", -72 * time.Hour, 1},
		"forward, skip":              {"every: 60\n", 72 * time.Hour, 1 + 1},
		"forward, once":              {"every: 60\nmisfire: once\n", 72 * time.Hour, 1 + 1},
		"forward, an interval of 1s": {"every: 1\n", 365 * 24 * time.Hour, 60 + 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catalog := catalogOf(t, map[string]string{"s": test.yaml})
			synctest.Test(t, func(t *testing.T) {
				d, offset := newDesk(), time.Duration(0)
				c := clockwork(catalog, scheduletest.NewMemory(), d, func(o *schedule.Options) {
					o.Now = func() time.Time { d.mu.Lock(); defer d.mu.Unlock(); return time.Now().Add(offset) }
				})
				defer start(t, c)()
				pass(5*time.Minute + time.Second)
				before := d.ran()
				d.set(func(*desk) { offset = test.jump })
				pass(time.Minute)
				if ran := d.ran() - before; ran > test.most || d.submitted() != d.ran() {
					t.Errorf("%d ran after the jump by %d submissions, want at most %d", ran, d.submitted()-before, test.most)
				}
				d.set(func(*desk) { offset = 0 })
				between := d.ran()
				pass(15 * time.Minute)
				if d.submitted() != d.ran() {
					t.Errorf("%d submissions of %d slots after the clock was set right", d.submitted(), d.ran())
				}
				if test.jump < 24*time.Hour && d.ran() == between {
					t.Error("nothing ran after the clock was set right")
				}
			})
		})
	}
}

func TestStoreComesBack(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 10\n"})
	synctest.Test(t, func(t *testing.T) {
		d, store := newDesk(), &flaky{Store: scheduletest.NewMemory()}
		defer start(t, clockwork(catalog, store, d))()
		pass(15 * time.Second)
		store.away.Store(true)
		pass(10 * time.Second)
		store.away.Store(false)
		pass(10 * time.Second)
		if len(d.times()) != 3 {
			t.Errorf("%d slots ran, want 3", len(d.times()))
		}
	})
}

// flaky is away at times.
type flaky struct {
	schedule.Store
	away atomic.Bool
}

func (f *flaky) Load(ctx context.Context) ([]schedule.Stored, map[string]schedule.State, error) {
	if f.away.Load() {
		return nil, nil, errors.New("away")
	}
	return f.Store.Load(ctx)
}

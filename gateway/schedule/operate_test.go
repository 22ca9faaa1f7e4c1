package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/schedule"
	"attune/gateway/schedule/scheduletest"
)

func spec(ref string) pack.ScheduleSpec {
	return pack.ScheduleSpec{Ref: ref, Action: "demo.a", Every: "10s", Parameters: []byte(`{"n":1}`)}
}

func TestStoredSchedules(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"file": "every: 1h\n"})
	other := catalogOf(t, map[string]string{"file": "every: 1h\n", "s": "every: 1h\n"})
	synctest.Test(t, func(t *testing.T) {
		ctx, d, served, store := context.Background(), newDesk(), catalog, scheduletest.NewMemory()
		c := clockwork(nil, store, d, func(o *schedule.Options) {
			o.Catalog = func() *pack.Catalog { d.mu.Lock(); defer d.mu.Unlock(); return served }
		})
		defer start(t, c)()
		pass(time.Second)
		created, err := c.Create(ctx, spec("demo.s"))
		if err != nil || created.Origin != schedule.OriginAPI || created.State != schedule.Active || len(created.Next) != 5 || created.CreatedAt == nil {
			t.Errorf("Create() = %+v, %v", created, err)
		}
		for ref, want := range map[string]error{"demo.s": schedule.ErrExists, "demo.file": schedule.ErrExists} {
			if _, err := c.Create(ctx, spec(ref)); !errors.Is(err, want) {
				t.Errorf("Create(%s) error = %v, want %v", ref, err, want)
			}
		}
		var invalid *schedule.Invalid
		if _, err := c.Create(ctx, spec("other.s")); !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Pointer != "/action" {
			t.Errorf("Create() of another pack's = %v", err)
		}
		pass(25 * time.Second)
		if d.ran() != 2 {
			t.Errorf("the stored schedule ran %d times, want 2", d.ran())
		}
		if err := c.Delete(ctx, "demo.file"); !errors.Is(err, schedule.ErrInPack) {
			t.Errorf("Delete() of a file error = %v", err)
		}
		if err := c.Delete(ctx, "demo.none"); !errors.Is(err, schedule.ErrNone) {
			t.Errorf("Delete() of none error = %v", err)
		}
		// A file of the same ref hides it, and comes and goes.
		d.set(func(*desk) { served = other })
		pass(30 * time.Second)
		if e := show(t, c, "demo.s"); e.Origin != schedule.OriginPack || d.ran() != 2 {
			t.Errorf("beside a file: %+v, %d runs", e, d.ran())
		}
		d.set(func(*desk) { served = catalog })
		pass(30 * time.Second)
		if e := show(t, c, "demo.s"); e.Origin != schedule.OriginAPI || d.ran() < 4 {
			t.Errorf("without the file: %+v, %d runs", e, d.ran())
		}
		if err := c.Delete(ctx, "demo.s"); err != nil {
			t.Error(err)
		}
		ran := d.ran()
		pass(time.Minute)
		all, err := c.List(ctx)
		if err != nil || len(all) != 1 || all[0].Ref != "demo.file" || d.ran() != ran {
			t.Errorf("after Delete: %+v, %v, %d runs of %d", all, err, d.ran(), ran)
		}
	})
}

func TestStoredSchedulesAreBounded(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, nil)
	c := clockwork(catalog, scheduletest.NewMemory(), newDesk())
	for n := range schedule.MaxStored {
		if err := c.Store.Create(t.Context(), schedule.Stored{Spec: spec(fmt.Sprintf("demo.s%d", n))}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Create(t.Context(), spec("demo.more")); !errors.Is(err, schedule.ErrTooMany) {
		t.Errorf("Create() error = %v, want ErrTooMany", err)
	}
}

// A stored schedule outlives its action, and says that it can't run.
func TestFaultySchedule(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, nil)
	synctest.Test(t, func(t *testing.T) {
		store, d := scheduletest.NewMemory(), newDesk()
		gone := spec("demo.s")
		gone.Action = "demo.gone"
		if err := store.Create(t.Context(), schedule.Stored{Spec: gone, CreatedAt: time.Now()}); err != nil {
			t.Fatal(err)
		}
		c := clockwork(catalog, store, d)
		defer start(t, c)()
		pass(time.Minute)
		e := show(t, c, "demo.s")
		if e.State != schedule.Faulty || len(e.Faults) != 1 || e.Faults[0].Pointer != "/action" || len(e.Next) != 0 || d.submitted() != 0 {
			t.Errorf("%+v, %d submissions", e, d.submitted())
		}
		var invalid *schedule.Invalid
		if _, err := c.RunNow(context.Background(), "demo.s", "x", ""); !errors.As(err, &invalid) {
			t.Errorf("RunNow() error = %v", err)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 10s\nmisfire: once\n"})
	synctest.Test(t, func(t *testing.T) {
		ctx, d, store, began := context.Background(), newDesk(), scheduletest.NewMemory(), time.Now()
		c := clockwork(catalog, store, d)
		if _, err := c.SetPaused(ctx, "demo.none", true); !errors.Is(err, schedule.ErrNone) {
			t.Errorf("SetPaused() of none error = %v", err)
		}
		if e, err := c.SetPaused(ctx, "demo.s", true); err != nil || e.State != schedule.Paused { // before it has ever run
			t.Errorf("SetPaused() = %+v, %v", e, err)
		}
		stop := start(t, c)
		pass(15 * time.Second)
		if e, err := c.SetPaused(ctx, "demo.s", false); err != nil || e.State != schedule.Active {
			t.Errorf("SetPaused() = %+v, %v", e, err)
		}
		pass(10 * time.Second) // 25
		for range 2 {          // the second changes nothing
			if _, err := c.SetPaused(ctx, "demo.s", true); err != nil {
				t.Error(err)
			}
		}
		pass(20 * time.Second) // 45
		stop()
		other := clockwork(catalog, store, d, func(o *schedule.Options) { o.GatewayID = "g2" }) // a restart
		defer start(t, other)()
		pass(20 * time.Second) // 65
		if _, err := other.SetPaused(ctx, "demo.s", false); err != nil {
			t.Error(err)
		}
		pass(10 * time.Second) // 75
		if got, want := seconds(began, d.times()), []string{"20", "70"}; !slices.Equal(got, want) {
			t.Errorf("ran at %v, want %v", got, want)
		}
	})
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 1h\noverlap: skip\nparameters: {n: 3}\n"})
	d := newDesk()
	c := clockwork(catalog, scheduletest.NewMemory(), d)
	for _, id := range []string{"one", "two"} { // beside each other
		x, err := c.RunNow(t.Context(), "demo.s", id, "key")
		job := d.all()[id]
		if err != nil || x.ID != id || job.Action != "demo.a" || string(job.Parameters) != `{"n":3}` || job.Source != "schedule:demo.s" || job.Caller != "key" {
			t.Errorf("RunNow() = %+v, %v, job %+v", x, err, job)
		}
	}
	if _, err := c.RunNow(t.Context(), "demo.none", "x", ""); !errors.Is(err, schedule.ErrNone) {
		t.Errorf("RunNow() of none error = %v", err)
	}
	d.failure = &execution.Error{Failure: execution.Failure{Code: "overloaded"}}
	var failure *execution.Error
	if _, err := c.RunNow(t.Context(), "demo.s", "x", ""); !errors.As(err, &failure) || failure.Code != "overloaded" {
		t.Errorf("RunNow() error = %v", err)
	}
}

// A schedule that is changed starts anew: what its new calendar had before was
// not missed. Gateways with different files don't keep each other from running.
func TestChangedSchedule(t *testing.T) {
	t.Parallel()
	before, after := catalogOf(t, map[string]string{"s": "every: 1h\nmisfire: once\n"}), catalogOf(t, map[string]string{"s": "cron: '*/20 * * * *'\nmisfire: once\n"})
	off := catalogOf(t, map[string]string{"s": "every: 1h\nmisfire: once\nenabled: false\n"})
	synctest.Test(t, func(t *testing.T) {
		d, store, served, began := newDesk(), scheduletest.NewMemory(), before, time.Now()
		changing := func(o *schedule.Options) {
			o.Catalog = func() *pack.Catalog { d.mu.Lock(); defer d.mu.Unlock(); return served }
		}
		stop := start(t, clockwork(nil, store, d, changing))
		pass(30 * time.Minute)
		d.set(func(*desk) { served = after })
		pass(15 * time.Minute) // 45
		d.set(func(*desk) { served = off })
		pass(40 * time.Minute) // 85
		d.set(func(*desk) { served = before })
		pass(30 * time.Minute) // 115
		if got, want := seconds(began, d.times()), []string{"2400"}; !slices.Equal(got, want) {
			t.Errorf("ran at %v, want %v", got, want)
		}
		stop()
		for i, catalog := range []*pack.Catalog{before, after} {
			defer start(t, clockwork(catalog, store, d, func(o *schedule.Options) { o.GatewayID = fmt.Sprint("g", i) }))()
		}
		pass(70 * time.Minute) // 185: at 120 and 180 both have a slot, at 140 and 160 one
		if got, want := seconds(began, d.times()), []string{"2400", "7200", "8400", "9600", "10800"}; !slices.Equal(got, want) {
			t.Errorf("ran at %v, want %v", got, want)
		}
	})
}

// A claim of a gateway whose clock is far ahead doesn't hold for ever.
func TestClaimFromTheFuture(t *testing.T) {
	t.Parallel()
	catalog := catalogOf(t, map[string]string{"s": "every: 1m\n"})
	synctest.Test(t, func(t *testing.T) {
		d, store := newDesk(), scheduletest.NewMemory()
		stop := start(t, clockwork(catalog, store, d))
		pass(61 * time.Second)
		stop()
		_, states, err := store.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state := states["demo.s"]
		state.Version++
		state.Claim = &schedule.Claim{Slot: time.Now().Add(time.Second), ID: "x", By: "ahead", Until: time.Now().Add(1000 * time.Hour)}
		if done, err := store.Swap(t.Context(), state.Version-1, state); !done || err != nil {
			t.Fatalf("Swap() = %t, %v", done, err)
		}
		defer start(t, clockwork(catalog, store, d))()
		pass(3 * time.Minute)
		if d.ran() < 3 {
			t.Errorf("%d ran, want the claimed one and those after it", d.ran())
		}
	})
}

package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"attune/envcache"
	"attune/envcache/leasetest"
	"attune/gateway/execution"
	"attune/gateway/queue"
	"attune/runtimes"
	"attune/runtimes/container"
	"attune/runtimes/container/containertest"
	"attune/runtimes/container/process"
)

func TestMain(m *testing.M) {
	leasetest.Hold(func(dir string) (envcache.Leaser, error) { return envcache.NewFileLeaser(dir), nil })
	goleak.VerifyTestMain(m)
}

// text is what a registry shows.
func text(t testing.TB, r *Registry) string {
	t.Helper()
	contentType, body, err := r.Expose()
	if err != nil || !strings.HasPrefix(contentType, "text/plain; version=0.0.4") {
		t.Fatalf("Expose() = %s, %v", contentType, err)
	}
	return string(body)
}

// shows checks that there is a line.
func shows(t testing.TB, r *Registry, line string) {
	t.Helper()
	if body := text(t, r); !slices.Contains(strings.Split(body, "\n"), line) {
		t.Errorf("there is no line %s in\n%s", line, own(body))
	}
}

// own are the lines about the gateway itself.
func own(body string) string {
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, namespace) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// everything is a registry in which each metric has at least one value.
func everything(t testing.TB) *Registry {
	r := New("1.2.3")
	NewRequests(r).Answered("GET", "/", 200, time.Millisecond)
	Serving(r, func() (int, int) { return 1, 2 })
	NewExecutions(r).Ended(&execution.Execution{Action: "demo.echo", Status: execution.StatusSucceeded})
	Recording(r, func() execution.Stats { return execution.Stats{} })
	Jobs(r, func() (queue.Stats, bool) { return queue.Stats{Waiting: 1}, true })
	e := NewEnvironments(r, func() []envcache.Status { return nil })
	e.Event(envcache.Event{Pack: "demo", Runtime: "python", Phase: envcache.PhasePublished})
	Instances(r, func() runtimes.Stats {
		return runtimes.Stats{Pools: []runtimes.PoolStats{{Pack: "demo", Runtime: "python"}}, Removed: map[string]int64{"idle": 1}}
	})
	leases := NewLeases(r)
	leases.Of("redis", nil)
	leases.RenewFailed("redis")
	Engine(r, nil).(*engine).count("info", nil)
	Up(r, func() map[string]bool { return map[string]bool{"engine": true} })
	return r
}

// TestNamesFollowTheConventions asks Prometheus' own linter.
func TestNamesFollowTheConventions(t *testing.T) {
	t.Parallel()
	body := own(text(t, everything(t)))
	if n := strings.Count(body, "\n"); n < 100 {
		t.Errorf("only %d lines", n)
	}
	problems, err := promlint.New(strings.NewReader(text(t, everything(t)))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, namespace) {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
}

func TestExecutionsAreCountedByAction(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	e := NewExecutions(r)
	for range 2 {
		e.Ended(&execution.Execution{
			Action: "demo.echo", Status: execution.StatusSucceeded, DurationMS: 20,
			Timing: execution.Timing{Queue: 1, Environment: 2, Start: 3, Run: 4},
		})
	}
	e.Ended(&execution.Execution{Action: "demo.echo", Status: execution.StatusFailed, Error: &execution.Failure{Code: execution.CodeActionFailed}})
	e.Ended(&execution.Execution{Action: "gone.away", Status: execution.StatusTimedOut, Error: &execution.Failure{Code: execution.CodeTimedOut}})
	for _, line := range []string{
		`attune_executions_total{action="demo.echo",code="",status="succeeded"} 2`,
		`attune_executions_total{action="demo.echo",code="action-failed",status="failed"} 1`,
		`attune_executions_total{action="gone.away",code="timed-out",status="timed_out"} 1`,
		`attune_execution_duration_seconds_count{action="demo.echo"} 3`,
		`attune_execution_duration_seconds_bucket{action="demo.echo",le="0.025"} 3`,
		`attune_execution_duration_seconds_bucket{action="demo.echo",le="0.01"} 1`,
		`attune_execution_phase_duration_seconds_sum{action="demo.echo",phase="run"} 0.008`,
		`attune_execution_phase_duration_seconds_sum{action="demo.echo",phase="start"} 0.006`,
	} {
		shows(t, r, line)
	}
	e.Keep(func(action string) bool { return action == "demo.echo" })
	if body := text(t, r); strings.Contains(body, "gone.away") {
		t.Errorf("an action that is gone is still shown:\n%s", own(body))
	}
	shows(t, r, `attune_executions_total{action="demo.echo",code="",status="succeeded"} 2`)
	e.Ended(&execution.Execution{Action: "gone.away", Status: execution.StatusSucceeded})
	shows(t, r, `attune_executions_total{action="gone.away",code="",status="succeeded"} 1`)
}

// TestCountingMakesNoGarbage: it is on the way of every call.
func TestCountingMakesNoGarbage(t *testing.T) {
	r := New("1.2.3")
	e, q := NewExecutions(r), NewRequests(r)
	x := &execution.Execution{Action: "demo.echo", Status: execution.StatusSucceeded}
	count := func() {
		e.Ended(x)
		q.Answered("POST", "/invoke/:ref", 200, time.Millisecond)
	}
	count()
	if n := testing.AllocsPerRun(100, count); n != 0 {
		t.Errorf("counting one call makes %v allocations, want none", n)
	}
}

func TestCountsAreComplete(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	e := NewExecutions(r)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for range 100 {
				e.Ended(&execution.Execution{Action: fmt.Sprintf("demo.a%d", i%4), Status: execution.StatusSucceeded})
			}
		})
	}
	all.Wait()
	for i := range 4 {
		shows(t, r, fmt.Sprintf(`attune_executions_total{action="demo.a%d",code="",status="succeeded"} 200`, i))
	}
}

func TestBuildsAreCountedByHow(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	asked := 0
	e := NewEnvironments(r, func() []envcache.Status {
		asked++
		return []envcache.Status{{State: envcache.StateReady}, {State: envcache.StateReady}, {State: envcache.StateFailed}}
	})
	for pack, phases := range map[string][]envcache.Phase{
		"built":    {envcache.PhaseQueued, envcache.PhaseCreate, envcache.PhaseInstall, envcache.PhaseVerify, envcache.PhasePublished},
		"copied":   {envcache.PhaseQueued, envcache.PhaseCopy, envcache.PhaseVerify, envcache.PhasePublished},
		"followed": {envcache.PhaseQueued, envcache.PhasePublished},
		"broken":   {envcache.PhaseQueued, envcache.PhaseInstall, envcache.PhaseFailed},
	} {
		for _, phase := range phases {
			e.Event(envcache.Event{Pack: pack, Runtime: "python", Phase: phase, Elapsed: time.Second})
			e.Event(envcache.Event{Pack: pack, Runtime: "python", Phase: phase, Line: "a line"})
		}
	}
	for _, line := range []string{
		`attune_environment_builds_total{how="build",outcome="published",pack="built",runtime="python"} 1`,
		`attune_environment_builds_total{how="copy",outcome="published",pack="copied",runtime="python"} 1`,
		`attune_environment_builds_total{how="others",outcome="published",pack="followed",runtime="python"} 1`,
		`attune_environment_builds_total{how="build",outcome="failed",pack="broken",runtime="python"} 1`,
		`attune_environment_build_duration_seconds_sum{how="build",runtime="python"} 2`,
		`attune_environments{state="ready"} 2`, `attune_environments{state="failed"} 1`, `attune_environments{state="building"} 0`,
	} {
		shows(t, r, line)
	}
	if asked != 1 {
		t.Errorf("the environments were listed %d times in a moment, want once: that reads the disk", asked)
	}
	e.Forget("broken")
	if strings.Contains(text(t, r), "broken") {
		t.Error("a pack that is gone is still shown")
	}
}

// TestCountedLeaserConforms: counting changes nothing.
func TestCountedLeaserConforms(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), ".locks")
	leases := NewLeases(New("1.2.3"))
	leasetest.Exercise(t, func(*testing.T) envcache.Leaser { return leases.Of("file", envcache.NewFileLeaser(dir)) }, leasetest.Options{Address: dir})
}

// losable grants leases that a test takes away.
type losable struct {
	err  error
	lost chan struct{}
}

func (l *losable) Acquire(context.Context, string, time.Duration) (envcache.Lease, error) {
	return l, l.err
}
func (l *losable) Lost() <-chan struct{}         { return l.lost }
func (l *losable) Release(context.Context) error { return nil }

func TestLeasesAreCounted(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	leases := NewLeases(r)
	inner := &losable{lost: make(chan struct{})}
	leaser := leases.Of("redis", inner)
	acquire := func() envcache.Lease {
		lease, _ := leaser.Acquire(t.Context(), "x", time.Second)
		return lease
	}
	kept, released := acquire(), acquire()
	if err := released.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(inner.lost)
	inner.err = envcache.ErrLeaseTaken
	acquire()
	inner.err = errors.New("no answer")
	acquire()
	leases.RenewFailed("redis")()
	lost := `attune_leases_lost_total{backend="redis"} 1`
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(text(t, r), lost) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	for _, line := range []string{
		lost,
		`attune_lease_acquires_total{backend="redis",outcome="acquired"} 2`,
		`attune_lease_acquires_total{backend="redis",outcome="taken"} 1`,
		`attune_lease_acquires_total{backend="redis",outcome="error"} 1`,
		`attune_lease_renew_failures_total{backend="redis"} 1`,
	} {
		shows(t, r, line)
	}
	if err := kept.Release(t.Context()); err != nil {
		t.Errorf("Release() of a lost lease = %v", err)
	}
}

func TestEngineCallsAreCounted(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	counted := Engine(r, process.New(process.Options{Logger: slog.New(slog.DiscardHandler)}))
	image, err := counted.Image(t.Context(), "any")
	if err != nil {
		t.Fatal(err)
	}
	spec := containertest.Spec(image.ID, "metrics", "/bin/sh", "-c", "echo out; exit 3")
	spec.KeepLogs, spec.Name = true, "metrics"
	made, err := counted.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := counted.Create(t.Context(), spec); !errors.Is(err, container.ErrNameTaken) {
		t.Errorf("the second Create() = %v, want ErrNameTaken", err)
	}
	found, err := counted.Find(t.Context(), nil)
	if err != nil || len(found) != 1 {
		t.Fatalf("Find() = %v, %v", found, err)
	}
	if err := found[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	exit, err := made.Wait(t.Context())
	if err != nil || exit.Code != 3 {
		t.Errorf("Wait() = %+v, %v, want code 3", exit, err)
	}
	var out bytes.Buffer
	if err := made.Logs(t.Context(), &out); err != nil || out.String() != "out\n" {
		t.Errorf("Logs() = %q, %v", out.String(), err)
	}
	if err := made.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := made.State(t.Context()); !errors.Is(err, container.ErrNoContainer) {
		t.Errorf("State() = %v, want ErrNoContainer", err)
	}
	if err := counted.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`attune_engine_calls_total{operation="create",outcome="name_taken"} 1`,
		`attune_engine_calls_total{operation="create",outcome="ok"} 1`,
		`attune_engine_calls_total{operation="find",outcome="ok"} 1`,
		`attune_engine_calls_total{operation="image",outcome="ok"} 1`,
		`attune_engine_calls_total{operation="remove",outcome="ok"} 1`,
		`attune_engine_calls_total{operation="start",outcome="ok"} 1`,
		`attune_engine_calls_total{operation="state",outcome="no_container"} 1`,
	} {
		shows(t, r, line)
	}
}

// TestWrongLabelsAreAnError, not a line that is wrong.
func TestWrongLabelsAreAnError(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	r.Gauges("wrong", "A gauge with a label too few.", []string{"a", "b"}, func(emit Emit) { emit(1, "x") })
	if _, _, err := r.Expose(); err == nil {
		t.Error("Expose() = nil, want an error")
	}
}

func TestInstancesAreShown(t *testing.T) {
	t.Parallel()
	r := New("1.2.3")
	Instances(r, func() runtimes.Stats {
		return runtimes.Stats{
			Pools:   []runtimes.PoolStats{{Pack: "demo", Runtime: "python", Starting: 1, Idle: 2, Busy: 3, Waiting: 4}},
			Used:    runtimes.Budget{Instances: 6, Memory: 1 << 20, CPU: 1.5},
			Started: 7, StartsFailed: 8, StartTime: 1500 * time.Millisecond, Removed: map[string]int64{"idle": 9}, Refused: 10,
		}
	})
	var got []string
	for line := range strings.Lines(own(text(t, r))) {
		if !strings.Contains(line, "build_info") && !strings.Contains(line, "budget_limit") {
			got = append(got, strings.TrimPrefix(strings.TrimSpace(line), namespace))
		}
	}
	want := []string{
		`instance_removals_total{reason="idle"} 9`,
		`instance_start_seconds_total 1.5`,
		`instance_starts_total{outcome="failed"} 8`,
		`instance_starts_total{outcome="started"} 7`,
		`instances{pack="demo",runtime="python",state="busy"} 3`,
		`instances{pack="demo",runtime="python",state="idle"} 2`,
		`instances{pack="demo",runtime="python",state="starting"} 1`,
		`pool_budget_used{resource="cpu_cores"} 1.5`,
		`pool_budget_used{resource="instances"} 6`,
		`pool_budget_used{resource="memory_bytes"} 1.048576e+06`,
		`pool_refused_calls_total 10`,
		`pool_waiting_calls{pack="demo",runtime="python"} 4`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

package schedule_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/pack"
	"attune/gateway/queue"
	"attune/gateway/schedule"
	"attune/runtimes"
)

// catalogOf makes a pack, demo, with an action demo.a and these schedules: name
// → what stands in its file after ref and action.
func catalogOf(t testing.TB, schedules map[string]string) *pack.Catalog {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{
		"pack.yaml":      "ref: demo\nversion: 1.0.0\n",
		"actions/a.yaml": "ref: demo.a\nentry_point: a.sh\nparameters: {n: {type: integer}}\n",
		"actions/a.sh":   "echo a\n",
	}
	for name, text := range schedules {
		files["schedules/"+name+".yaml"] = "ref: demo." + name + "\naction: demo.a\n" + text
	}
	for name, text := range files {
		path := filepath.Join(dir, "demo", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	catalog, err := pack.LoadCatalog(dir, runtimes.Builtin(), pack.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range catalog.Broken() {
		t.Fatal(broken.Err)
	}
	return catalog
}

// desk is a queue that keeps its contract, and what it knows about executions.
type desk struct {
	mu        sync.Mutex
	jobs      map[string]queue.Job // by ID, however often it was submitted
	at        map[string]time.Time // when first
	submits   int
	status    map[string]execution.Status
	cancelled []string
	failure   *execution.Error // what Submit says; nil = it works
	lose      bool             // takes a job and says that it didn't
	brokenGet error
}

func newDesk() *desk {
	return &desk{jobs: map[string]queue.Job{}, at: map[string]time.Time{}, status: map[string]execution.Status{}}
}

func (d *desk) Submit(ctx context.Context, job queue.Job) (*execution.Execution, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.submits++
	if d.failure != nil {
		return nil, d.failure
	}
	if _, known := d.jobs[job.ID]; !known {
		d.jobs[job.ID], d.at[job.ID], d.status[job.ID] = job, time.Now(), execution.StatusRunning
	}
	if d.lose {
		return nil, context.DeadlineExceeded
	}
	return &execution.Execution{ID: job.ID, Action: job.Action, Status: d.status[job.ID]}, nil
}

func (d *desk) Get(_ context.Context, id string) (*execution.Execution, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	status, known := d.status[id]
	switch {
	case d.brokenGet != nil:
		return nil, d.brokenGet
	case !known:
		return nil, execution.ErrNoExecution
	}
	return &execution.Execution{ID: id, Status: status}, nil
}

func (d *desk) Cancel(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancelled = append(d.cancelled, id)
	d.status[id] = execution.StatusCancelled
	return nil
}

// set changes something.
func (d *desk) set(change func(*desk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// all are the jobs by ID; ran and submitted count them, and the submissions.
func (d *desk) all() map[string]queue.Job {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.jobs)
}

func (d *desk) ran() int { return len(d.all()) }

func (d *desk) submitted() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.submits
}

func (d *desk) cancels() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.cancelled)
}

func (d *desk) endAll() {
	d.set(func(d *desk) {
		for id := range d.status {
			d.status[id] = execution.StatusSucceeded
		}
	})
}

// times are when the jobs were submitted first, in order.
func (d *desk) times() (times []time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	times = slices.Collect(maps.Values(d.at))
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// clockwork makes one with a desk; options may be changed by more.
func clockwork(catalog *pack.Catalog, store schedule.Store, d *desk, more ...func(*schedule.Options)) *schedule.Clockwork {
	o := schedule.Options{
		Catalog: func() *pack.Catalog { return catalog }, Store: store, Queue: d, Executions: d, GatewayID: "g1",
		Log: slog.New(slog.DiscardHandler),
	}
	for _, change := range more {
		change(&o)
	}
	return schedule.New(o)
}

// start runs a clockwork until stop is called, which waits for it.
func start(t testing.TB, c *schedule.Clockwork) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run() error = %v", err)
		}
	})
	return sync.OnceFunc(func() { cancel(); group.Wait() })
}

// seconds shows times as seconds after another.
func seconds(since time.Time, times []time.Time) (texts []string) {
	for _, at := range times {
		texts = append(texts, strconv.FormatFloat(at.Sub(since).Truncate(time.Millisecond).Seconds(), 'f', -1, 64))
	}
	return texts
}

func show(t testing.TB, c *schedule.Clockwork, ref string) schedule.Entry {
	t.Helper()
	entry, err := c.Show(context.Background(), ref)
	if err != nil {
		t.Fatalf("Show(%s) error = %v", ref, err)
	}
	return entry
}

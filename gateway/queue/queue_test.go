package queue_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
	"attune/gateway/secret"
)

func TestJobRunsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	q := r.queue()
	j := job("plain", func(j *queue.Job) { j.Caller = "key" })
	id := submit(t, q, j)
	if x, err := q.Submit(t.Context(), j); err != nil || x.ID != id {
		t.Errorf("Submit() again = %+v, %v, want the execution of the first", x, err)
	}
	start(t, q)
	x := r.ended(t, id)
	if x.Status != execution.StatusSucceeded || x.Attempt != 1 || x.Source != "http" || x.Caller != "key" || string(x.Result) != `{"ok":true}` {
		t.Errorf("execution = %+v", x)
	}
	if x, err := q.Submit(t.Context(), j); err != nil || x.Status != execution.StatusSucceeded {
		t.Errorf("Submit() after the end = %+v, %v, want how it has ended", x, err)
	}
	r.empty(t)
	if got := r.runs("demo.plain"); got != 1 {
		t.Errorf("the job ran %d times, want once", got)
	}
}

func TestSubmitChecks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	_, err := r.queue().Submit(t.Context(), job("missing"))
	wantCode(t, "Submit()", err, execution.CodeNotFound)
	if stats, err := r.db.Jobs().Stats(t.Context()); err != nil || stats != (queue.Stats{}) {
		t.Errorf("Stats() = %+v, %v, want nothing", stats, err)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	r := newRig(t, map[string]act{
		"retried": func(context.Context, execution.Request) *execution.Error {
			if runs.Add(1) < 3 {
				return failing(execution.CodeActionFailed)
			}
			return nil
		},
		"plain": func(context.Context, execution.Request) *execution.Error { return failing(execution.CodeActionFailed) },
	})
	q := r.queue()
	start(t, q)
	if x := r.ended(t, submit(t, q, job("retried"))); x.Status != execution.StatusSucceeded || x.Attempt != 3 || x.Error != nil {
		t.Errorf("execution = %+v, want it to succeed at the third attempt", x)
	}
	plain := submit(t, q, job("plain"))
	if x := r.ended(t, plain); x.Status != execution.StatusFailed || x.Attempt != 1 {
		t.Errorf("execution = %+v, want it to fail at once: nothing says that another try is safe", x)
	}
	r.empty(t)
	again, err := q.Retry(t.Context(), plain, "other")
	if err != nil || again.ID == plain || again.Source != "retry:"+plain || again.Caller != "other" {
		t.Fatalf("Retry() = %+v, %v", again, err)
	}
	r.ended(t, again.ID)
	if got := r.bodies["demo.plain"]; len(got) != 2 || got[1] != `{"n":1}` {
		t.Errorf("the runs had %q, want the same parameters twice", got)
	}
	if _, err := q.Retry(t.Context(), execution.NewID(), ""); !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Retry() of nothing: error = %v, want ErrNoJob", err)
	}
}

func TestDeadLetter(t *testing.T) {
	t.Parallel()
	var mended atomic.Bool
	r := newRig(t, map[string]act{
		"retried": func(context.Context, execution.Request) *execution.Error {
			if mended.Load() {
				return nil
			}
			return failing(execution.CodeActionFailed)
		},
	})
	q := r.queue()
	start(t, q)
	id := submit(t, q, job("retried"))
	if x := r.ended(t, id); x.Status != execution.StatusDead || x.Attempt != 5 || x.Error.Code != execution.CodeActionFailed {
		t.Errorf("execution = %+v, want it dead after five attempts", x)
	}
	letters, _, err := q.Dead(t.Context(), "", 10)
	if err != nil || len(letters) != 1 || letters[0].ID != id || letters[0].Execution.Attempt != 5 {
		t.Fatalf("Dead() = %+v, %v", letters, err)
	}
	mended.Store(true)
	again, err := q.Redrive(t.Context(), id, "")
	if err != nil || again.Source != "redrive:"+id {
		t.Fatalf("Redrive() = %+v, %v", again, err)
	}
	if x := r.ended(t, again.ID); x.Status != execution.StatusSucceeded {
		t.Errorf("execution = %+v, want success", x)
	}
	if _, err := q.Redrive(t.Context(), id, ""); !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Redrive() again: error = %v, want ErrNoJob", err)
	}
	if err := q.Discard(t.Context(), id); !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Discard() of what was redriven: error = %v, want ErrNoJob", err)
	}
}

// What keeps a job from being tried is no attempt, and its action waits without
// taking the places of others.
func TestWaitsAreNoAttempts(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	r := newRig(t, map[string]act{
		"once": func(context.Context, execution.Request) *execution.Error {
			if runs.Add(1) > 1 {
				return nil
			}
			wait := execution.NewError(execution.CodeEnvironmentBuild, "environment", "environment", "being built", nil)
			wait.Retryable, wait.RetryAfter = true, 1500*time.Millisecond
			return wait
		},
	})
	r.limits.Concurrency = 1
	q := r.queue()
	start(t, q)
	began := time.Now()
	waiting := submit(t, q, job("once"))
	x := r.until(t, waiting, func(x *execution.Execution) bool { return x.Error != nil })
	if x.Status != execution.StatusQueued || x.Attempt != 0 || x.Error.Code != execution.CodeEnvironmentBuild {
		t.Errorf("execution = %+v, want it queued again, without an attempt", x)
	}
	if x := r.ended(t, submit(t, q, job("plain"))); x.Status != execution.StatusSucceeded {
		t.Errorf("execution of another action = %+v", x)
	}
	if time.Since(began) >= 1500*time.Millisecond {
		t.Error("the other action's job waited for the environment, too")
	}
	if x := r.ended(t, waiting); x.Status != execution.StatusSucceeded || x.Attempt != 1 {
		t.Errorf("execution = %+v, want success at the first attempt", x)
	}
	if waited := time.Since(began); waited < 1500*time.Millisecond {
		t.Errorf("it was tried again after %v, before RetryAfter", waited)
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	q := r.queue()
	id := submit(t, q, job("plain"))
	// A gateway that claims and is never seen again.
	claims, err := r.db.Jobs().Claim(t.Context(), queue.Ask{Owner: "dead", Most: 1, Lease: 50 * time.Millisecond})
	if err != nil || len(claims) != 1 {
		t.Fatalf("Claim() = %v, %v", claims, err)
	}
	start(t, q)
	start(t, r.queue())
	if x := r.ended(t, id); x.Status != execution.StatusSucceeded || x.Attempt != 2 {
		t.Errorf("execution = %+v, want success at the second attempt", x)
	}
	if err := r.db.Jobs().Done(t.Context(), claims[0], &execution.Execution{ID: id, CreatedAt: time.Now(), Status: execution.StatusFailed}); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Done() by the dead gateway: error = %v, want ErrLost", err)
	}
	if got := r.runs("demo.plain"); got != 1 {
		t.Errorf("the job was taken over %d times, want once", got)
	}
}

// A job that its gateways don't survive is not tried for ever.
func TestTakeoversAreAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	q := r.queue()
	id := submit(t, q, job("once"))
	if _, err := r.db.Jobs().Claim(t.Context(), queue.Ask{Owner: "dead", Most: 1, Lease: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	start(t, q)
	if x := r.ended(t, id); x.Status != execution.StatusDead || x.Error.Code != execution.CodeInstanceLost {
		t.Errorf("execution = %+v, want it dead", x)
	}
	if got := r.runs("demo.once"); got != 0 {
		t.Errorf("it ran %d times, want never again", got)
	}
}

func TestLostClaimEndsTheAttempt(t *testing.T) {
	t.Parallel()
	cut := make(chan struct{}, 1)
	r := newRig(t, map[string]act{"plain": func(ctx context.Context, _ execution.Request) *execution.Error {
		<-ctx.Done()
		select {
		case cut <- struct{}{}:
		default: // on a busy machine the claim can be lost, and taken again, more than once
		}
		return execution.NewError(execution.CodeCancelled, "request", "run", "cut", nil)
	}})
	r.limits.Lease = 150 * time.Millisecond
	deaf := &deafStore{Store: r.db.Jobs()}
	q := r.queue(func(o *queue.Options) { o.Store = deaf })
	start(t, q)
	id := submit(t, q, job("plain"))
	r.waitRuns(t, "demo.plain", 1)
	deaf.deaf.Store(true) // its renewals don't arrive for a while
	var taken []queue.Claim
	for len(taken) == 0 {
		var err error
		if taken, err = r.db.Jobs().Claim(t.Context(), queue.Ask{Owner: "other", Most: 1, Lease: time.Minute}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	deaf.deaf.Store(false)
	select {
	case <-cut:
	case <-time.After(patience):
		t.Fatal("the attempt goes on")
	}
	if x, err := r.db.Get(t.Context(), id); err != nil || x.Status.Ended() {
		t.Errorf("execution = %+v, %v: who lost the claim has ended it", x, err)
	}
}

func (r *rig) waitRuns(t *testing.T, action string, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); r.runs(action) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s ran %d times, want %d", action, r.runs(action), n)
		}
	}
}

// deafStore is a store that can be away.
type deafStore struct {
	queue.Store
	deaf, away atomic.Bool
}

var errAway = errors.New("away")

func (s *deafStore) Renew(ctx context.Context, lease time.Duration, claims ...queue.Claim) ([]queue.Standing, error) {
	if s.deaf.Load() || s.away.Load() {
		return nil, errAway
	}
	return s.Store.Renew(ctx, lease, claims...)
}

func (s *deafStore) Add(ctx context.Context, a queue.Addition) (bool, error) {
	if s.away.Load() {
		return false, errAway
	}
	return s.Store.Add(ctx, a)
}

func (s *deafStore) Done(ctx context.Context, c queue.Claim, x *execution.Execution) error {
	if s.away.Load() {
		return errAway
	}
	return s.Store.Done(ctx, c, x)
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	running, end := make(chan struct{}), make(chan struct{})
	r := newRig(t, map[string]act{"plain": func(context.Context, execution.Request) *execution.Error {
		close(running)
		<-end
		return nil
	}})
	store := &deafStore{Store: r.db.Jobs()}
	q := r.queue(func(o *queue.Options) { o.Store = store })
	start(t, q)
	id := submit(t, q, job("plain"))
	<-running
	store.away.Store(true)
	_, err := q.Submit(t.Context(), job("plain"))
	if failure := wantCode(t, "Submit()", err, execution.CodeStateUnavailable); !failure.Retryable || failure.RetryAfter <= 0 {
		t.Errorf("Submit() error = %+v, want one that says when to come back", failure)
	}
	close(end)
	time.Sleep(50 * time.Millisecond) // the end can't be kept meanwhile
	store.away.Store(false)
	if x := r.ended(t, id); x.Status != execution.StatusSucceeded {
		t.Errorf("execution = %+v, want success: its end was kept when the store was back", x)
	}
	r.empty(t)
}

func TestStopPutsBack(t *testing.T) {
	t.Parallel()
	var stubborn atomic.Bool
	stubborn.Store(true)
	r := newRig(t, map[string]act{"once": func(ctx context.Context, _ execution.Request) *execution.Error {
		if !stubborn.Load() {
			return nil
		}
		<-ctx.Done()
		return failing(execution.CodeCancelled)
	}})
	r.limits.Drain = 50 * time.Millisecond
	q := r.queue()
	stop := start(t, q)
	id := submit(t, q, job("once"))
	r.waitRuns(t, "demo.once", 1)
	stop()
	if x, err := r.db.Get(t.Context(), id); err != nil || x.Status != execution.StatusQueued || x.Attempt != 0 {
		t.Fatalf("execution after the stop = %+v, %v, want it queued, and the attempt not counted", x, err)
	}
	stubborn.Store(false)
	start(t, r.queue())
	if x := r.ended(t, id); x.Status != execution.StatusSucceeded || x.Attempt != 1 {
		t.Errorf("execution = %+v, want success at the first attempt", x)
	}
}

func TestStopWaits(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	r := newRig(t, map[string]act{"plain": func(context.Context, execution.Request) *execution.Error {
		<-end
		return nil
	}})
	q := r.queue()
	stop := start(t, q)
	id := submit(t, q, job("plain"))
	r.waitRuns(t, "demo.plain", 1)
	var group sync.WaitGroup
	group.Go(stop)
	later := submit(t, q, job("plain")) // taken, but not run here any more
	close(end)
	group.Wait()
	if x := r.ended(t, id); x.Status != execution.StatusSucceeded {
		t.Errorf("execution = %+v, want success", x)
	}
	if x, err := r.db.Get(t.Context(), later); err != nil || r.runs("demo.plain") == 1 && x.Status != execution.StatusQueued {
		t.Errorf("execution = %+v, %v, want it queued", x, err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]act{"retried": func(ctx context.Context, _ execution.Request) *execution.Error {
		<-ctx.Done()
		return failing(execution.CodeCancelled)
	}})
	q, other := r.queue(), r.queue()
	waiting := submit(t, q, job("plain", func(j *queue.Job) { j.NotBefore = time.Now().Add(time.Hour) }))
	if err := other.Cancel(t.Context(), waiting); err != nil {
		t.Fatalf("Cancel() of a job that waits: error = %v", err)
	}
	if x := r.ended(t, waiting); x.Status != execution.StatusCancelled || x.Error == nil || x.Error.Code != execution.CodeCancelled {
		t.Errorf("execution = %+v, want it cancelled", x)
	}
	start(t, q)
	for what, by := range map[string]*queue.Queue{"here": q, "on another gateway": other} {
		id := submit(t, q, job("retried"))
		runs := r.runs("demo.retried")
		r.waitRuns(t, "demo.retried", max(runs, 1))
		r.claimed(t)
		if err := by.Cancel(t.Context(), id); err != nil {
			t.Fatalf("Cancel() of a job that runs %s: error = %v", what, err)
		}
		if x := r.ended(t, id); x.Status != execution.StatusCancelled {
			t.Errorf("execution that ran %s = %+v, want it cancelled", what, x)
		}
		r.empty(t)
		if err := by.Cancel(t.Context(), id); !errors.Is(err, queue.ErrNoJob) {
			t.Errorf("Cancel() again: error = %v, want ErrNoJob", err)
		}
	}
}

// claimed waits for a job to be claimed.
func (r *rig) claimed(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		stats, err := r.db.Jobs().Stats(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("nothing was claimed: %+v, %v", stats, err)
		}
		if stats.Claimed > 0 {
			return
		}
	}
}

func TestSecretsAreSealed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	q := r.queue()
	secretive := job("secretive", func(j *queue.Job) { j.Parameters = []byte(`{"token":"hush-hush-7"}`) })
	_, err := q.Submit(t.Context(), secretive)
	wantCode(t, "Submit() without a key", err, "no-secrets-key")
	if id := submit(t, q, job("secretive")); id == "" { // without the secret there is nothing to hide
		t.Error("no execution")
	}
	ring, err := secret.ParseKeys(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r.vault.Keys = ring
	id := submit(t, q, secretive)
	entry, err := r.db.Jobs().Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := entry.Encode()
	if err != nil || bytes.Contains(encoded, []byte("hush")) || len(entry.Parameters) > 0 {
		t.Errorf("the stored job = %s, %v, want no secret in it", encoded, err)
	}
	start(t, q)
	r.ended(t, id)
	r.waitRuns(t, "demo.secretive", 2)
	r.empty(t)
	if got := r.bodies["demo.secretive"]; got[0] != string(secretive.Parameters) && got[1] != string(secretive.Parameters) {
		t.Errorf("the runs had %q, want the secret in one", got)
	}
	r.vault.Keys = nil
	lost, err := r.db.Jobs().Find(t.Context(), id)
	if !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Find() of a job that has succeeded = %+v, %v", lost, err)
	}
}

func TestEndedIsToldUntilItIsHeard(t *testing.T) {
	t.Parallel()
	r := newRig(t, map[string]act{"plain": func(context.Context, execution.Request) *execution.Error { return failing(execution.CodeActionFailed) }})
	var told atomic.Int32
	heard := make(chan *execution.Execution, 9)
	hear := func(o *queue.Options) {
		o.Ended = func(_ context.Context, j queue.Job, x *execution.Execution) error {
			if told.Add(1) == 1 {
				return errAway
			}
			if string(j.Parameters) != `{"n":1}` || j.Callback != "https://example.org/" {
				t.Errorf("told of %+v, want the job as it was submitted", j)
			}
			heard <- x
			return nil
		}
	}
	q := r.queue(hear)
	called := func(j *queue.Job) { j.Callback = "https://example.org/" }
	id := submit(t, q, job("plain", called))
	start(t, q)
	if x := <-heard; x.ID != id || x.Status != execution.StatusFailed {
		t.Errorf("told of %+v, want the failed execution", x)
	}
	r.empty(t)
	if got := r.runs("demo.plain"); got != 1 {
		t.Errorf("the job ran %d times, want once: only the telling is repeated", got)
	}
	// A gateway that dies between the end and the telling.
	dead := job("retried", called)
	submit(t, r.queue(hear, func(o *queue.Options) { o.Gateway = "dead" }), dead)
	if err := q.Cancel(t.Context(), dead.ID); err == nil {
		r.ended(t, dead.ID)
	}
	<-heard
	r.empty(t)
}

func TestFullQueueSaysWhenToComeBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.limits.Max = 2
	q := r.queue()
	submit(t, q, job("plain"))
	submit(t, q, job("plain"))
	_, err := q.Submit(t.Context(), job("plain"))
	if failure := wantCode(t, "Submit()", err, execution.CodeOverloaded); failure.RetryAfter < time.Second || failure.RetryAfter > time.Minute {
		t.Errorf("RetryAfter = %v", failure.RetryAfter)
	}
}

func TestCall(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	r := newRig(t, map[string]act{
		"once":   func(context.Context, execution.Request) *execution.Error { return failing(execution.CodeActionFailed) },
		"narrow": func(context.Context, execution.Request) *execution.Error { <-end; return nil },
	})
	runs := r.queue()
	start(t, runs)
	for what, q := range map[string]*queue.Queue{"here": runs, "on another gateway": r.queue()} {
		x, outcome, err := q.Call(t.Context(), job("plain"), patience)
		if err != nil || outcome == nil || string(outcome.Output) != "{\"ok\":true}\n" || outcome.MediaType != "application/json" {
			t.Errorf("Call() of what runs %s = %+v, %+v, %v", what, x, outcome, err)
		}
		_, outcome, err = q.Call(t.Context(), job("once"), patience)
		wantCode(t, "Call()", err, execution.CodeActionFailed)
		if outcome == nil || outcome.Execution.Status != execution.StatusFailed {
			t.Errorf("Call() of what fails %s = %+v, want the failed execution", what, outcome)
		}
		x, outcome, err = q.Call(t.Context(), job("narrow"), 10*time.Millisecond)
		if err != nil || outcome != nil || x.Status != execution.StatusQueued {
			t.Errorf("Call() of what takes long = %+v, %+v, %v, want the accepted execution", x, outcome, err)
		}
	}
	close(end)
	r.empty(t)
}

func TestBoundsOfWhatRuns(t *testing.T) {
	t.Parallel()
	var narrow, most atomic.Int32
	r := newRig(t, map[string]act{
		"narrow": func(context.Context, execution.Request) *execution.Error {
			n := narrow.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			time.Sleep(5 * time.Millisecond)
			narrow.Add(-1)
			return nil
		},
	})
	r.limits.Concurrency = 3
	a, b := r.queue(), r.queue()
	for range 20 {
		submit(t, a, job("narrow"))
		submit(t, a, job("plain"))
	}
	start(t, a)
	start(t, b)
	r.empty(t)
	if got := most.Load(); got > 2 {
		t.Errorf("%d jobs of an action ran at once on two gateways, want at most its max_concurrency, 2", got)
	}
	if r.most > 6 {
		t.Errorf("%d jobs ran at once on two gateways of three", r.most)
	}
	if got := r.runs("demo.narrow") + r.runs("demo.plain"); got != 40 {
		t.Errorf("%d runs, want 40", got)
	}
}

func TestDatabaseHoldsNoSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	ring, err := secret.ParseKeys(secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	r.vault.Keys = ring
	submit(t, r.queue(), job("secretive", func(j *queue.Job) { j.Parameters = []byte(`{"token":"needle-in-the-file"}`) }))
	files, err := filepath.Glob(filepath.Join(filepath.Dir(r.path), "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if content, err := os.ReadFile(file); err != nil || bytes.Contains(content, []byte("needle")) {
			t.Errorf("%s holds the secret (%v)", filepath.Base(file), err)
		}
	}
}

// Package queuetest is the conformance suite of queue.Store.
package queuetest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// Pair is a store of jobs, and that of the executions that it saves.
type Pair struct {
	Jobs       queue.Store
	Executions execution.Store
}

// Exercise proves that a store keeps the contract. open returns an empty one.
func Exercise(t *testing.T, open func(t *testing.T) Pair) {
	for name, test := range map[string]func(*testing.T, Pair){
		"a job is stored once":                            testAddOnce,
		"a job waits for its time":                        testDelay,
		"there may be only so many jobs":                  testBound,
		"a claim is one owner's until it ends":            testTakeover,
		"one of many claims each job":                     testRace,
		"what is put back can be claimed again":           testAgain,
		"packs have their turns":                          testTurns,
		"a priority is a head start":                      testPriorities,
		"an action's claims are bounded":                  testActionBound,
		"a key's claims are bounded":                      testKeyBound,
		"a job that waits is cancelled at once":           testCancelWaiting,
		"a cancelled job can stay to be told of":          testCancelKept,
		"the owner is told of a cancelled claim":          testCancelClaimed,
		"an end is kept until the job is removed":         testEnded,
		"dead letters are listed, replaced and discarded": testLetters,
		"jobs are counted":                                testStats,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// lease is long enough for no test to lose a claim by chance.
const lease = time.Minute

// job makes an addition; its execution is queued.
func job(action string, change ...func(*queue.Addition)) queue.Addition {
	now := time.Now().UTC()
	a := queue.Addition{Entry: queue.Entry{
		Job: queue.Job{ID: execution.NewID(), Action: action, Source: "http", Parameters: []byte(`{"n":1}`)}, Created: now,
	}}
	for _, f := range change {
		f(&a)
	}
	a.Execution = record(a.Entry, execution.StatusQueued)
	return a
}

func record(e queue.Entry, status execution.Status) *execution.Execution {
	pack, _, _ := strings.Cut(e.Action, ".")
	x := &execution.Execution{
		ID: e.ID, Action: e.Action, Pack: pack, Status: status, CreatedAt: e.Created, Source: e.Source, Caller: e.Caller,
	}
	if status.Ended() {
		ended := e.Created.Add(time.Second)
		x.EndedAt = &ended
	}
	return x
}

func (p Pair) mustAdd(t *testing.T, additions ...queue.Addition) {
	t.Helper()
	for _, a := range additions {
		if added, err := p.Jobs.Add(t.Context(), a); err != nil || !added {
			t.Fatalf("Add(%s) = %v, %v", a.ID, added, err)
		}
	}
}

func (p Pair) claim(t *testing.T, ask queue.Ask) []queue.Claim {
	t.Helper()
	if ask.Lease == 0 {
		ask.Lease = lease
	}
	claims, err := p.Jobs.Claim(t.Context(), ask)
	if err != nil {
		t.Fatalf("Claim() error = %v", err)
	}
	return claims
}

func (p Pair) claimOne(t *testing.T, ask queue.Ask) queue.Claim {
	t.Helper()
	ask.Most = 1
	claims := p.claim(t, ask)
	if len(claims) != 1 {
		t.Fatalf("Claim() = %d jobs, want one", len(claims))
	}
	return claims[0]
}

// eventually claims until there is something.
func (p Pair) eventually(t *testing.T, ask queue.Ask) queue.Claim {
	t.Helper()
	for tick := time.Tick(5 * time.Millisecond); t.Context().Err() == nil; <-tick {
		if claims := p.claim(t, ask); len(claims) > 0 {
			return claims[0]
		}
	}
	t.Fatal("there was never anything to claim")
	return queue.Claim{}
}

func (p Pair) status(t *testing.T, id string) execution.Status {
	t.Helper()
	x, err := p.Executions.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get(%s) error = %v", id, err)
	}
	return x.Status
}

func ids(claims []queue.Claim) []string {
	found := make([]string, len(claims))
	for i, c := range claims {
		found[i] = c.ID
	}
	return found
}

func testAddOnce(t *testing.T, p Pair) {
	a := job("demo.run", func(a *queue.Addition) {
		a.Caller, a.Timeout, a.Callback, a.Trace, a.Priority = "key", time.Minute, "https://example.org/", "00-1-2-01", queue.PriorityHigh
	})
	p.mustAdd(t, a)
	if got := p.status(t, a.ID); got != execution.StatusQueued {
		t.Errorf("the execution of a job is %s, want queued", got)
	}
	if added, err := p.Jobs.Add(t.Context(), a); added || err != nil {
		t.Errorf("Add() again = %v, %v, want false", added, err)
	}
	c := p.claimOne(t, queue.Ask{Owner: "a"})
	if c.ID != a.ID || string(c.Parameters) != `{"n":1}` || c.Caller != "key" || c.Timeout != time.Minute || c.Callback != a.Callback ||
		c.Trace != a.Trace || c.Priority != a.Priority || !c.Created.Equal(a.Created) || c.Attempt != 1 || c.Owner != "a" {
		t.Errorf("Claim() = %+v, want what was added", c)
	}
	if found, err := p.Jobs.Find(t.Context(), a.ID); err != nil || found.ID != a.ID {
		t.Errorf("Find() of a claimed job = %+v, %v", found, err)
	}
	if err := p.Jobs.Done(t.Context(), c, record(c.Entry, execution.StatusSucceeded)); err != nil {
		t.Fatalf("Done() error = %v", err)
	}
	if added, err := p.Jobs.Add(t.Context(), a); added || err != nil {
		t.Errorf("Add() of a job that has ended = %v, %v, want false", added, err)
	}
	if got := p.status(t, a.ID); got != execution.StatusSucceeded {
		t.Errorf("the execution is %s, want succeeded", got)
	}
	if _, err := p.Jobs.Find(t.Context(), a.ID); !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Find() of a job that has succeeded: error = %v, want ErrNoJob", err)
	}
}

func testDelay(t *testing.T, p Pair) {
	due := time.Now().Add(300 * time.Millisecond)
	a := job("demo.run", func(a *queue.Addition) { a.NotBefore = due })
	p.mustAdd(t, a, job("demo.run", func(a *queue.Addition) { a.NotBefore = time.Now().Add(time.Hour) }))
	if claims := p.claim(t, queue.Ask{Owner: "a", Most: 5}); len(claims) > 0 && time.Now().Before(due) {
		t.Errorf("Claim() before the time = %v, want nothing", ids(claims))
	}
	if c := p.eventually(t, queue.Ask{Owner: "a", Most: 5}); c.ID != a.ID {
		t.Errorf("Claim() = %s, want %s", c.ID, a.ID)
	}
	past := job("demo.run", func(a *queue.Addition) { a.NotBefore = time.Now().Add(-time.Hour) })
	p.mustAdd(t, past)
	if c := p.claimOne(t, queue.Ask{Owner: "a"}); c.ID != past.ID {
		t.Errorf("Claim() = %s, want the one whose time is over", c.ID)
	}
}

func testBound(t *testing.T, p Pair) {
	most := func(a *queue.Addition) { a.Most = 2 }
	p.mustAdd(t, job("demo.run", most), job("demo.run", most))
	refused := job("demo.run", most)
	if added, err := p.Jobs.Add(t.Context(), refused); added || !errors.Is(err, queue.ErrFull) {
		t.Fatalf("Add() to a full queue = %v, %v, want ErrFull", added, err)
	}
	if _, err := p.Executions.Get(t.Context(), refused.ID); !errors.Is(err, execution.ErrNoExecution) {
		t.Errorf("Get() of what was refused: error = %v, want ErrNoExecution", err)
	}
	c := p.claimOne(t, queue.Ask{Owner: "a"})
	if added, err := p.Jobs.Add(t.Context(), refused); added || !errors.Is(err, queue.ErrFull) {
		t.Errorf("Add() while one of two is claimed = %v, %v, want ErrFull", added, err)
	}
	if err := p.Jobs.Done(t.Context(), c, record(c.Entry, execution.StatusDead)); err != nil {
		t.Fatal(err)
	}
	p.mustAdd(t, refused)
}

func testTakeover(t *testing.T, p Pair) {
	a := job("demo.run")
	p.mustAdd(t, a)
	first := p.claimOne(t, queue.Ask{Owner: "a", Lease: 100 * time.Millisecond})
	second := p.eventually(t, queue.Ask{Owner: "b", Most: 1})
	if second.ID != a.ID || second.Attempt != 2 {
		t.Fatalf("Claim() after the lease = %s, attempt %d, want %s, 2", second.ID, second.Attempt, a.ID)
	}
	if got, err := p.Jobs.Renew(t.Context(), lease, first, first); err != nil || !slices.Equal(got, []queue.Standing{queue.Lost, queue.Lost}) {
		t.Errorf("Renew() of a lost claim = %v, %v, want lost", got, err)
	}
	done := record(a.Entry, execution.StatusFailed)
	for what, err := range map[string]error{
		"Note()": p.Jobs.Note(t.Context(), first, record(a.Entry, execution.StatusRunning)),
		"Done()": p.Jobs.Done(t.Context(), first, done), "Again()": p.Jobs.Again(t.Context(), first, done, 0, false),
	} {
		if !errors.Is(err, queue.ErrLost) {
			t.Errorf("%s of a lost claim: error = %v, want ErrLost", what, err)
		}
	}
	if got := p.status(t, a.ID); got != execution.StatusQueued {
		t.Errorf("who has lost a claim has made the execution %s", got)
	}
	// The same owner's next claim is another one, too.
	if err := p.Jobs.Again(t.Context(), second, record(a.Entry, execution.StatusQueued), 0, false); err != nil {
		t.Fatal(err)
	}
	third := p.claimOne(t, queue.Ask{Owner: "b"})
	if err := p.Jobs.Done(t.Context(), second, done); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Done() of a claim before: error = %v, want ErrLost", err)
	}
	if got, err := p.Jobs.Renew(t.Context(), lease, third); err != nil || got[0] != queue.Held {
		t.Errorf("Renew() = %v, %v, want held", got, err)
	}
	if err := p.Jobs.Done(t.Context(), third, record(a.Entry, execution.StatusSucceeded)); err != nil {
		t.Errorf("Done() error = %v", err)
	}
	if err := p.Jobs.Done(t.Context(), third, done); !errors.Is(err, queue.ErrLost) {
		t.Errorf("Done() twice: error = %v, want ErrLost", err)
	}
}

func testRace(t *testing.T, p Pair) {
	const jobs, workers = 120, 8
	for range jobs {
		p.mustAdd(t, job("demo.run"))
	}
	var mu sync.Mutex
	seen := map[string]int{}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			owner := string(rune('a' + w))
			for {
				claims, err := p.Jobs.Claim(t.Context(), queue.Ask{Owner: owner, Most: 3, Lease: lease})
				if err != nil {
					t.Error(err)
					return
				}
				if len(claims) == 0 {
					return
				}
				for _, c := range claims {
					if err := p.Jobs.Done(t.Context(), c, record(c.Entry, execution.StatusSucceeded)); err != nil {
						t.Errorf("Done() error = %v", err)
					}
					mu.Lock()
					seen[c.ID]++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	if len(seen) != jobs {
		t.Errorf("%d jobs were claimed, want %d", len(seen), jobs)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("job %s was claimed %d times", id, n)
		}
	}
}

func testAgain(t *testing.T, p Pair) {
	a := job("demo.run")
	p.mustAdd(t, a)
	c := p.claimOne(t, queue.Ask{Owner: "a"})
	x := record(a.Entry, execution.StatusQueued)
	x.Attempt = 1
	if err := p.Jobs.Again(t.Context(), c, x, 300*time.Millisecond, false); err != nil {
		t.Fatal(err)
	}
	put := time.Now()
	if found, err := p.Executions.Get(t.Context(), a.ID); err != nil || found.Attempt != 1 {
		t.Errorf("the record after Again() = %+v, %v, want attempt 1", found, err)
	}
	c = p.eventually(t, queue.Ask{Owner: "a", Most: 1})
	if waited := time.Since(put); waited < 250*time.Millisecond {
		t.Errorf("the job could be claimed after %v, want 300ms", waited)
	}
	if c.Attempt != 2 {
		t.Errorf("attempt = %d, want 2", c.Attempt)
	}
	if err := p.Jobs.Again(t.Context(), c, x, 0, true); err != nil {
		t.Fatal(err)
	}
	if c = p.claimOne(t, queue.Ask{Owner: "b"}); c.Attempt != 2 {
		t.Errorf("attempt after one that did not count = %d, want 2 again", c.Attempt)
	}
}

package queuetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

func testCancelWaiting(t *testing.T, p Pair) {
	due, delayed := job("demo.run"), job("demo.run", func(a *queue.Addition) { a.NotBefore = time.Now().Add(time.Hour) })
	p.mustAdd(t, due, delayed)
	for _, a := range []queue.Addition{due, delayed} {
		if removed, err := p.Jobs.Cancel(t.Context(), record(a.Entry, execution.StatusCancelled), false); !removed || err != nil {
			t.Errorf("Cancel() = %v, %v, want true", removed, err)
		}
		if got := p.status(t, a.ID); got != execution.StatusCancelled {
			t.Errorf("the execution is %s, want cancelled", got)
		}
		if _, err := p.Jobs.Cancel(t.Context(), record(a.Entry, execution.StatusCancelled), false); !errors.Is(err, queue.ErrNoJob) {
			t.Errorf("Cancel() again: error = %v, want ErrNoJob", err)
		}
		if found, err := p.Jobs.Find(t.Context(), a.ID); err != nil || string(found.Parameters) != string(a.Parameters) {
			t.Errorf("Find() of a cancelled job = %+v, %v, want its parameters for another try", found, err)
		}
	}
	if got := p.claim(t, queue.Ask{Owner: "a", Most: 5}); len(got) != 0 {
		t.Errorf("Claim() = %v, want nothing", ids(got))
	}
	stats, err := p.Jobs.Stats(t.Context())
	if err != nil || stats != (queue.Stats{}) {
		t.Errorf("Stats() = %+v, %v, want nothing", stats, err)
	}
}

func testCancelKept(t *testing.T, p Pair) {
	a := job("demo.run", func(a *queue.Addition) { a.NotBefore = time.Now().Add(time.Hour) })
	p.mustAdd(t, a)
	if ended, err := p.Jobs.Cancel(t.Context(), record(a.Entry, execution.StatusCancelled), true); !ended || err != nil {
		t.Fatalf("Cancel() = %v, %v, want true", ended, err)
	}
	if got := p.status(t, a.ID); got != execution.StatusCancelled {
		t.Errorf("the execution is %s, want cancelled", got)
	}
	c := p.claimOne(t, queue.Ask{Owner: "a"})
	if c.ID != a.ID || !c.Ended {
		t.Errorf("Claim() = %+v, want the ended job", c)
	}
	if err := p.Jobs.Done(t.Context(), c, record(a.Entry, execution.StatusCancelled)); err != nil {
		t.Errorf("Done() error = %v", err)
	}
}

func testCancelClaimed(t *testing.T, p Pair) {
	a := job("demo.run")
	p.mustAdd(t, a)
	c := p.claimOne(t, queue.Ask{Owner: "a"})
	cancelled := record(a.Entry, execution.StatusCancelled)
	if removed, err := p.Jobs.Cancel(t.Context(), cancelled, false); removed || err != nil {
		t.Fatalf("Cancel() of a claimed job = %v, %v, want false", removed, err)
	}
	if got := p.status(t, a.ID); got != execution.StatusQueued {
		t.Errorf("the execution is %s before its owner has said so", got)
	}
	if got, err := p.Jobs.Renew(t.Context(), lease, c); err != nil || !slices.Equal(got, []queue.Standing{queue.Cancelled}) {
		t.Errorf("Renew() = %v, %v, want cancelled", got, err)
	}
	// An owner that doesn't heed it, or died, leaves it to the next.
	if err := p.Jobs.Again(t.Context(), c, record(a.Entry, execution.StatusQueued), 0, true); err != nil {
		t.Fatal(err)
	}
	c = p.claimOne(t, queue.Ask{Owner: "b"})
	if !c.Cancelled {
		t.Error("the next claim isn't told that the job was cancelled")
	}
	if err := p.Jobs.Done(t.Context(), c, cancelled); err != nil {
		t.Fatal(err)
	}
	if got := p.status(t, a.ID); got != execution.StatusCancelled {
		t.Errorf("the execution is %s, want cancelled", got)
	}
}

func testEnded(t *testing.T, p Pair) {
	a := job("demo.run")
	p.mustAdd(t, a)
	c := p.claimOne(t, queue.Ask{Owner: "a", Lease: 100 * time.Millisecond})
	if c.Ended {
		t.Error("a new job has ended")
	}
	if err := p.Jobs.Note(t.Context(), c, record(a.Entry, execution.StatusRunning)); err != nil {
		t.Fatalf("Note() error = %v", err)
	}
	if got := p.status(t, a.ID); got != execution.StatusRunning {
		t.Errorf("the execution is %s, want running", got)
	}
	if err := p.Jobs.Note(t.Context(), c, record(a.Entry, execution.StatusSucceeded)); err != nil {
		t.Fatalf("Note() error = %v", err)
	}
	if _, err := p.Jobs.Cancel(t.Context(), record(a.Entry, execution.StatusCancelled), false); !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Cancel() of what has ended: error = %v, want ErrNoJob", err)
	}
	c = p.eventually(t, queue.Ask{Owner: "b", Most: 1})
	if !c.Ended {
		t.Error("the next claim isn't told that the job has ended")
	}
	if got := p.status(t, a.ID); got != execution.StatusSucceeded {
		t.Errorf("the execution is %s, want succeeded", got)
	}
	if err := p.Jobs.Done(t.Context(), c, record(a.Entry, execution.StatusSucceeded)); err != nil {
		t.Errorf("Done() error = %v", err)
	}
}

// bury makes a dead letter.
func (p Pair) bury(t *testing.T) queue.Addition {
	t.Helper()
	a := job("demo.run")
	p.mustAdd(t, a)
	c := p.claimOne(t, queue.Ask{Owner: "a"})
	x := record(c.Entry, execution.StatusDead)
	x.Attempt, x.Stderr = 3, "why"
	x.Error = &execution.Failure{Code: execution.CodeActionFailed, Component: "action", Phase: "run", Reason: "exit code 1", Started: true}
	if err := p.Jobs.Done(t.Context(), c, x); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Millisecond) // IDs of one millisecond are in no order
	return a
}

func testLetters(t *testing.T, p Pair) {
	if letters, next, err := p.Jobs.Dead(t.Context(), "", 10); len(letters) != 0 || next != "" || err != nil {
		t.Fatalf("Dead() of an empty store = %v, %q, %v", letters, next, err)
	}
	first, second, third := p.bury(t), p.bury(t), p.bury(t)
	letters, next, err := p.Jobs.Dead(t.Context(), "", 2)
	if err != nil || len(letters) != 2 || letters[0].ID != third.ID || letters[1].ID != second.ID || next == "" {
		t.Fatalf("Dead() = %+v, %q, %v, want the two youngest and a next page", letters, next, err)
	}
	if x := letters[0].Execution; x.Attempt != 3 || x.Error == nil || x.Error.Code != execution.CodeActionFailed || x.Stderr != "" {
		t.Errorf("the letter's execution = %+v, want it as a listing shows it", x)
	}
	if letters, next, err = p.Jobs.Dead(t.Context(), next, 2); err != nil || len(letters) != 1 || letters[0].ID != first.ID || next != "" {
		t.Errorf("Dead() of the next page = %+v, %q, %v, want the oldest", letters, next, err)
	}
	if letter, err := p.Jobs.Letter(t.Context(), first.ID); err != nil || string(letter.Parameters) != string(first.Parameters) {
		t.Errorf("Letter() = %+v, %v", letter, err)
	}
	if got := p.claim(t, queue.Ask{Owner: "a", Most: 9}); len(got) != 0 {
		t.Errorf("Claim() = %v, want no dead ones", ids(got))
	}
	redrive := job("demo.run", func(a *queue.Addition) { a.Instead = first.ID })
	p.mustAdd(t, redrive)
	again := job("demo.run", func(a *queue.Addition) { a.Instead = first.ID })
	if added, err := p.Jobs.Add(t.Context(), again); added || !errors.Is(err, queue.ErrNoJob) {
		t.Errorf("Add() instead of a letter that is gone = %v, %v, want ErrNoJob", added, err)
	}
	if err := p.Jobs.Discard(t.Context(), second.ID); err != nil {
		t.Errorf("Discard() error = %v", err)
	}
	for _, id := range []string{first.ID, second.ID, redrive.ID, "none"} {
		if _, err := p.Jobs.Letter(t.Context(), id); !errors.Is(err, queue.ErrNoJob) {
			t.Errorf("Letter(%s) error = %v, want ErrNoJob", id, err)
		}
		if err := p.Jobs.Discard(t.Context(), id); !errors.Is(err, queue.ErrNoJob) {
			t.Errorf("Discard(%s) error = %v, want ErrNoJob", id, err)
		}
	}
	if got := p.status(t, first.ID); got != execution.StatusDead {
		t.Errorf("the execution of a letter that was replaced is %s, want dead", got)
	}
}

func testStats(t *testing.T, p Pair) {
	p.bury(t)
	p.mustAdd(t, job("demo.run"), job("demo.run"), job("demo.run", func(a *queue.Addition) { a.NotBefore = time.Now().Add(time.Hour) }))
	p.claimOne(t, queue.Ask{Owner: "a"})
	if got, err := p.Jobs.Stats(t.Context()); err != nil || got != (queue.Stats{Waiting: 2, Claimed: 1, Dead: 1}) {
		t.Errorf("Stats() = %+v, %v, want two that wait, one claimed, one dead", got, err)
	}
}

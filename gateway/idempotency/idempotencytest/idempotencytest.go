// Package idempotencytest is what every idempotency.Store has to pass, and one in
// memory that does.
package idempotencytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"attune/gateway/execution"
	"attune/gateway/idempotency"
)

// Exercise runs all tests, each in parallel on an empty store of its own, which
// newStore closes by t.Cleanup.
func Exercise(t *testing.T, newStore func(*testing.T) idempotency.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, idempotency.Store){
		"FirstClaimWins": firstWins, "SameClaimAgain": sameAgain, "AnswerIsKeptByteForByte": keepsAnswers,
		"ReleaseFrees": releases, "OthersCanNotRelease": othersRelease, "OthersCanNotComplete": othersComplete,
		"CompleteWithoutItsClaim": completesLost, "ClaimLapses": lapses, "KeyExpires": expires,
		"AnswerIsKeptFromItsOwnTime": keptFromTheAnswer, "OneOfMany": oneOfMany, "CancelledContext": cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStore(t))
		})
	}
}

func claim(id, execution string) idempotency.Claim {
	return idempotency.Claim{ID: id, Fingerprint: "f", Execution: execution, Lease: time.Hour, Keep: 2 * time.Hour}
}

func answer(id string) idempotency.Answer {
	return idempotency.Answer{
		Status: 502, MediaType: "text/plain; charset=utf-8", Execution: id, Ended: execution.StatusFailed,
		Timing: execution.Timing{Queue: 0.25, Run: 1e9}, Location: "/x", Body: []byte{0, 0xff, '\n', '"'},
	}
}

func want(t *testing.T, s idempotency.Store, c idempotency.Claim, held *idempotency.Held) {
	t.Helper()
	got, err := s.Claim(t.Context(), c)
	if diff := gocmp.Diff(held, got); diff != "" || err != nil {
		t.Errorf("Claim(%s, %s), %v (-want +got):\n%s", c.ID, c.Execution, err, diff)
	}
}

func complete(t *testing.T, s idempotency.Store, c idempotency.Claim, a idempotency.Answer) {
	t.Helper()
	if err := s.Complete(t.Context(), c, a); err != nil {
		t.Errorf("Complete(%s, %s) error = %v", c.ID, c.Execution, err)
	}
}

func release(t *testing.T, s idempotency.Store, c idempotency.Claim) {
	t.Helper()
	if err := s.Release(t.Context(), c); err != nil {
		t.Errorf("Release(%s, %s) error = %v", c.ID, c.Execution, err)
	}
}

func firstWins(t *testing.T, s idempotency.Store) {
	want(t, s, claim("a", "1"), nil)
	other := claim("a", "2")
	other.Fingerprint = "g"
	want(t, s, other, &idempotency.Held{Fingerprint: "f", Execution: "1"})
	want(t, s, claim("b", "2"), nil)
}

// sameAgain: a reply was lost, and the client of the store repeats the command.
func sameAgain(t *testing.T, s idempotency.Store) {
	want(t, s, claim("a", "1"), nil)
	want(t, s, claim("a", "1"), nil)
	a := answer("1")
	complete(t, s, claim("a", "1"), a)
	complete(t, s, claim("a", "1"), a)
	release(t, s, claim("a", "1"))
	release(t, s, claim("b", "1"))
	got, err := s.Claim(t.Context(), claim("a", "1"))
	if err != nil || got == nil || got.Answer == nil {
		t.Errorf("Claim() after the answer = %+v, %v, want the answer", got, err)
	}
}

func keepsAnswers(t *testing.T, s idempotency.Store) {
	empty := idempotency.Answer{Status: 200, Execution: "2", Large: true}
	for i, a := range []idempotency.Answer{answer("1"), empty} {
		id, execution := fmt.Sprint("k", i), fmt.Sprint(i+1)
		want(t, s, claim(id, execution), nil)
		complete(t, s, claim(id, execution), a)
		got, err := s.Claim(t.Context(), claim(id, "other"))
		if err != nil || got == nil || got.Answer == nil {
			t.Fatalf("Claim() = %+v, %v, want an answer", got, err)
		}
		body := got.Answer.Body
		got.Answer.Body = a.Body
		if diff := gocmp.Diff(a, *got.Answer); diff != "" || !bytes.Equal(body, a.Body) || got.Execution != execution || got.Fingerprint != "f" {
			t.Errorf("answer %d of %s is %q (-want +got):\n%s", i, got.Execution, body, diff)
		}
	}
}

func releases(t *testing.T, s idempotency.Store) {
	want(t, s, claim("a", "1"), nil)
	release(t, s, claim("a", "1"))
	want(t, s, claim("a", "2"), nil)
}

func othersRelease(t *testing.T, s idempotency.Store) {
	want(t, s, claim("a", "1"), nil)
	release(t, s, claim("a", "2"))
	want(t, s, claim("a", "3"), &idempotency.Held{Fingerprint: "f", Execution: "1"})
}

func othersComplete(t *testing.T, s idempotency.Store) {
	want(t, s, claim("a", "1"), nil)
	if err := s.Complete(t.Context(), claim("a", "2"), answer("2")); !errors.Is(err, idempotency.ErrLost) {
		t.Errorf("Complete() of another error = %v, want ErrLost", err)
	}
	want(t, s, claim("a", "3"), &idempotency.Held{Fingerprint: "f", Execution: "1"})
}

// completesLost: a Redis that was restarted has forgotten the claim, and must not
// let the call run again.
func completesLost(t *testing.T, s idempotency.Store) {
	complete(t, s, claim("a", "1"), answer("1"))
	if got, err := s.Claim(t.Context(), claim("a", "2")); err != nil || got == nil || got.Answer == nil {
		t.Errorf("Claim() = %+v, %v, want the answer", got, err)
	}
}

func lapses(t *testing.T, s idempotency.Store) {
	short := claim("a", "1")
	short.Lease = 20 * time.Millisecond
	want(t, s, short, nil)
	until(t, func() bool {
		held, err := s.Claim(t.Context(), claim("a", "2"))
		return err == nil && held != nil && held.Execution == "1" && held.Lapsed
	})
	complete(t, s, short, answer("1")) // late, but nobody else has run
	if got, err := s.Claim(t.Context(), claim("a", "3")); err != nil || got == nil || got.Answer == nil {
		t.Errorf("Claim() = %+v, %v, want the late answer", got, err)
	}
}

func expires(t *testing.T, s idempotency.Store) {
	short := claim("a", "1")
	short.Lease, short.Keep = 10*time.Millisecond, 20*time.Millisecond
	want(t, s, short, nil)
	until(t, func() bool {
		held, err := s.Claim(t.Context(), claim("a", "2"))
		return err == nil && held == nil
	})
}

func keptFromTheAnswer(t *testing.T, s idempotency.Store) {
	short, other := claim("a", "1"), claim("b", "2")
	short.Lease, short.Keep = time.Millisecond, 20*time.Millisecond
	other.Lease, other.Keep = short.Lease, short.Keep
	want(t, s, short, nil)
	want(t, s, other, nil)
	short.Keep = time.Hour
	complete(t, s, short, answer("1"))
	until(t, func() bool { // the first life of both is over
		held, err := s.Claim(t.Context(), claim("b", "3"))
		return err == nil && held == nil
	})
	if got, err := s.Claim(t.Context(), claim("a", "4")); err != nil || got == nil || got.Answer == nil {
		t.Errorf("Claim() = %+v, %v, want the answer to be there yet", got, err)
	}
}

func oneOfMany(t *testing.T, s idempotency.Store) {
	var group sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for i := range 100 {
		group.Go(func() {
			held, err := s.Claim(t.Context(), claim("a", fmt.Sprint(i)))
			if err != nil {
				t.Errorf("Claim() error = %v", err)
			}
			if err == nil && held == nil {
				mu.Lock()
				defer mu.Unlock()
				winners++
			}
		})
	}
	group.Wait()
	if winners != 1 {
		t.Errorf("%d of 100 claims of one key won", winners)
	}
}

func cancelled(t *testing.T, s idempotency.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Claim(ctx, claim("a", "1")); err == nil {
		t.Error("Claim(cancelled) error = nil")
	}
	if err := s.Complete(ctx, claim("a", "1"), answer("1")); err == nil {
		t.Error("Complete(cancelled) error = nil")
	}
	if err := s.Release(ctx, claim("a", "1")); err == nil {
		t.Error("Release(cancelled) error = nil")
	}
}

// until waits for what time brings.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for limit := time.After(10 * time.Second); !done(); {
		select {
		case <-limit:
			t.Fatal("it has not happened within 10 s")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

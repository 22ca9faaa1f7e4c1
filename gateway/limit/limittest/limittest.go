// Package limittest is what every limit.Limiter has to pass.
package limittest

import (
	"crypto/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"attune/gateway/limit"
)

// Exercise runs all tests, each in parallel, on limiters that newLimiter makes.
// Rates are so slow that the time a test takes changes nothing, except where a
// test waits for time to pass.
func Exercise(t *testing.T, newLimiter func(*testing.T) limit.Limiter) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, limit.Limiter){
		"AllowsABurst": burst, "BurstIsTheLimit": wholeLimit, "NamesAreApart": apart, "RefusalsTakeNothing": refusals,
		"RetryAfterIsTrue": retryAfter, "ManyAtOnceGetNoMore": manyAtOnce, "AnotherRate": anotherRate, "OncePerMonth": slowest,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newLimiter(t))
		})
	}
}

func take(t *testing.T, l limit.Limiter, name string, rate limit.Rate) limit.State {
	t.Helper()
	state, err := l.Take(t.Context(), name, rate)
	if err != nil {
		t.Fatalf("Take(%s, %s) error = %v", name, rate, err)
	}
	return state
}

// drain takes what there is and returns how much it was, and the refusal.
func drain(t *testing.T, l limit.Limiter, name string, rate limit.Rate) (int, limit.State) {
	t.Helper()
	for n := 0; ; n++ {
		state := take(t, l, name, rate)
		if !state.Allowed {
			return n, state
		}
		if want := rate.Size() - n - 1; state.Remaining != want || state.RetryAfter != 0 || state.Reset <= 0 {
			t.Errorf("Take() %d of %s = %+v, want %d remaining", n+1, rate, state, want)
		}
	}
}

func burst(t *testing.T, l limit.Limiter) {
	rate := limit.Rate{Limit: 10, Per: 10 * time.Hour, Burst: 3}
	n, refusal := drain(t, l, "a", rate)
	if n != 3 || refusal.Remaining != 0 || refusal.RetryAfter <= 59*time.Minute || refusal.RetryAfter > time.Hour {
		t.Errorf("%d were allowed, then %+v; want 3, and an hour to wait", n, refusal)
	}
	if refusal.Reset <= 2*time.Hour+59*time.Minute || refusal.Reset > 3*time.Hour {
		t.Errorf("Reset = %v, want three hours", refusal.Reset)
	}
}

func wholeLimit(t *testing.T, l limit.Limiter) {
	if n, _ := drain(t, l, "a", limit.Rate{Limit: 7, Per: 24 * time.Hour}); n != 7 {
		t.Errorf("%d were allowed, want the limit, 7", n)
	}
}

func apart(t *testing.T, l limit.Limiter) {
	rate := limit.Rate{Limit: 1, Per: time.Hour}
	for _, name := range []string{"key:a", "key:b", "action:a.b", "attune:x", rand.Text()} {
		if n, _ := drain(t, l, name, rate); n != 1 {
			t.Errorf("%s: %d were allowed, want 1", name, n)
		}
	}
}

func refusals(t *testing.T, l limit.Limiter) {
	rate := limit.Rate{Limit: 1, Per: time.Hour}
	_, before := drain(t, l, "a", rate)
	for range 50 {
		if after := take(t, l, "a", rate); after.Allowed || after.RetryAfter > before.RetryAfter {
			t.Fatalf("Take() = %+v after %+v: a refusal has taken something", after, before)
		}
	}
}

// retryAfter: who waits as long as it says is allowed.
func retryAfter(t *testing.T, l limit.Limiter) {
	rate := limit.Rate{Limit: 20, Per: time.Second, Burst: 1}
	take(t, l, "a", rate)
	for range 5 {
		state := take(t, l, "a", rate)
		if state.Allowed { // the machine was slow: the bucket is full again
			continue
		}
		if state.RetryAfter <= 0 || state.RetryAfter > 50*time.Millisecond {
			t.Fatalf("RetryAfter = %v, want up to 50 ms", state.RetryAfter)
		}
		<-time.After(state.RetryAfter + time.Millisecond) // Redis' clock has microseconds
		if again := take(t, l, "a", rate); !again.Allowed {
			t.Fatalf("Take() after RetryAfter = %+v, want it allowed", again)
		}
	}
}

func manyAtOnce(t *testing.T, l limit.Limiter) {
	rate := limit.Rate{Limit: 20, Per: 24 * time.Hour}
	var allowed atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				if state, err := l.Take(t.Context(), "a", rate); err != nil {
					t.Errorf("Take() error = %v", err)
				} else if state.Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	group.Wait()
	if got := allowed.Load(); got != 20 {
		t.Errorf("%d of 80 were allowed, want 20", got)
	}
}

// anotherRate: an operator's change holds at once, and gives no fresh bucket.
func anotherRate(t *testing.T, l limit.Limiter) {
	drain(t, l, "a", limit.Rate{Limit: 2, Per: 2 * time.Hour})
	if state := take(t, l, "a", limit.Rate{Limit: 1, Per: time.Hour}); state.Allowed {
		t.Errorf("Take() of a smaller rate = %+v, want a refusal", state)
	}
	if state := take(t, l, "a", limit.Rate{Limit: 100, Per: time.Hour * 100}); !state.Allowed {
		t.Errorf("Take() of a larger rate = %+v, want it allowed", state)
	}
}

func slowest(t *testing.T, l limit.Limiter) {
	rate := limit.Rate{Limit: 1, Per: limit.MaxPer}
	if n, refusal := drain(t, l, "a", rate); n != 1 || refusal.RetryAfter < limit.MaxPer-time.Hour {
		t.Errorf("%d were allowed, then %+v", n, refusal)
	}
}

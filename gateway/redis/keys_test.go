package redis

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"attune/gateway/key"
	"attune/gateway/key/keytest"
	"attune/gateway/limit"
	"attune/gateway/limit/limittest"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	keytest.Exercise(t, func(t *testing.T) key.Store { return mustOpen(t).Keys() })
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	limittest.Exercise(t, func(t *testing.T) limit.Limiter { return mustOpen(t).Limiter() })
}

// Its keys are ours, and go by themselves.
func TestLimiterLeavesNothing(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	if _, err := c.Limiter().Take(t.Context(), "key:a", limit.Rate{Limit: 1, Per: time.Hour}); err != nil {
		t.Fatal(err)
	}
	found := keys(t, c)
	if len(found) != 1 || found[0] != c.prefix+"rate:key:a" {
		t.Errorf("keys = %q, want one below %q", found, c.prefix)
	}
	if left, err := c.redis.TTL(t.Context(), found[0]).Result(); err != nil || left <= 0 || left > time.Hour {
		t.Errorf("TTL = %v, %v, want up to an hour", left, err)
	}
}

// Two gateways share a bucket while Redis answers, and each has one of its own
// while it doesn't: no request fails for that.
func TestSharedLimiterWithoutRedis(t *testing.T) {
	t.Parallel()
	p, through := newProxy(t)
	c := mustOpenURL(t, through)
	c.prefix = mustOpen(t).prefix
	a, b := limit.NewShared(c.Limiter(), slog.New(slog.DiscardHandler)), limit.NewShared(c.Limiter(), slog.New(slog.DiscardHandler))
	rate := limit.Rate{Limit: 2, Per: time.Hour}
	allowed := func(takers ...*limit.Shared) (got []bool) {
		for _, l := range takers {
			state, err := l.Take(t.Context(), "key:a", rate)
			if err != nil {
				t.Fatalf("Take() error = %v", err)
			}
			got = append(got, state.Allowed)
		}
		return got
	}
	if got := allowed(a, b, a, b); !slices.Equal(got, []bool{true, true, false, false}) {
		t.Errorf("of two gateways that share two: %v", got)
	}
	p.set(func(p *proxy) { p.refuse = true })
	if _, err := c.Limiter().Take(t.Context(), "key:a", rate); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Take() without Redis error = %v, want ErrUnavailable", err)
	}
	if got := allowed(a, a, a, b); !slices.Equal(got, []bool{true, true, false, true}) {
		t.Errorf("of two gateways without Redis: %v", got)
	}
}

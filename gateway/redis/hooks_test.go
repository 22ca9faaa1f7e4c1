package redis

import (
	"testing"
	"time"

	"attune/gateway/hook"
	"attune/gateway/hook/hooktest"
)

func TestHooks(t *testing.T) {
	t.Parallel()
	hooktest.Exercise(t, func(t *testing.T) hook.Store { return mustOpen(t).Hooks() })
}

// Nothing of a hook stays that no time ends, but its address.
func TestHooksLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	c, now := mustOpen(t), time.Now()
	h := c.Hooks()
	if _, err := h.Claim(t.Context(), hook.Mark{Hook: "demo.push", ID: "d", Digest: "a", Execution: "E1", Pending: now}, now); err != nil {
		t.Fatal(err)
	}
	if err := h.Append(t.Context(), hook.Entry{ID: hook.FirstID(now), Hook: "demo.push", Body: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := h.Prune(t.Context(), now, now.Add(time.Hour), 10); err != nil {
		t.Fatal(err)
	}
	left := keys(t, c)
	if len(left) != 1 {
		t.Fatalf("keys = %q, want the mark alone", left)
	}
	ttl, err := c.redis.PTTL(t.Context(), left[0]).Result()
	if err != nil || ttl <= hook.MarkTTL-time.Minute || ttl > hook.MarkTTL {
		t.Errorf("the mark lives for %v, %v, want %v", ttl, err, hook.MarkTTL)
	}
}

package redis

import (
	"testing"
	"time"
)

const someDigest = "0123456789abcdef0123456789abcdef"

func mustHeld(t *testing.T, r *References, want bool) {
	t.Helper()
	held, err := r.Held(t.Context(), someDigest)
	if err != nil || held != want {
		t.Errorf("Held() = %v, %v, want %v", held, err, want)
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	one, other := c.References("one", time.Minute), c.References("other", time.Minute)
	mustHeld(t, other, false)
	if err := one.Hold(t.Context(), someDigest); err != nil {
		t.Fatal(err)
	}
	mustHeld(t, other, true)
	mustHeld(t, one, false) // its own is not another's
	if err := one.Heartbeat(t.Context(), []string{someDigest, "x"}); err != nil {
		t.Fatal(err)
	}
	mustHeld(t, other, true)
	if err := one.Heartbeat(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	mustHeld(t, other, false)
}

// What a gateway held that died is free after a while.
func TestReferencesExpire(t *testing.T) {
	t.Parallel()
	c := mustOpen(t)
	one, other := c.References("one", time.Minute), c.References("other", time.Minute)
	if err := one.Heartbeat(t.Context(), []string{someDigest}); err != nil {
		t.Fatal(err)
	}
	if ttl := c.redis.PTTL(t.Context(), one.key("one")).Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("ttl = %v", ttl)
	}
	if err := c.redis.PExpire(t.Context(), one.key("one"), time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	for held := true; held; {
		var err error
		if held, err = other.Held(t.Context(), someDigest); err != nil {
			t.Fatal(err)
		}
	}
}

// Who can't ask must not take it for a no.
func TestReferencesOfAServerThatIsAway(t *testing.T) {
	t.Parallel()
	c, err := New("redis://127.0.0.1:1/0?max_retries=-1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := c.References("one", time.Minute)
	if held, err := r.Held(t.Context(), someDigest); err == nil {
		t.Errorf("Held() = %v without an error", held)
	}
	if err := r.Hold(t.Context(), someDigest); err == nil {
		t.Error("Hold() gave no error")
	}
}

package redis

import (
	"errors"
	"testing"
	"time"

	"attune/gateway/idempotency"
	"attune/gateway/idempotency/idempotencytest"
)

func TestIdempotency(t *testing.T) {
	t.Parallel()
	idempotencytest.Exercise(t, func(t *testing.T) idempotency.Store { return mustOpen(t).Idempotency() })
}

// A claim whose reply was lost is repeated by the client, and still the
// execution's.
func TestClaimOverALostReply(t *testing.T) {
	t.Parallel()
	p, through := newProxy(t)
	c := mustOpenURL(t, through)
	c.prefix = mustOpen(t).prefix
	claim := idempotency.Claim{ID: "a", Execution: "1", Lease: time.Hour, Keep: time.Hour}
	if held, err := c.Idempotency().Claim(t.Context(), idempotency.Claim{ID: "b", Keep: time.Hour}); held != nil || err != nil { // loads the script
		t.Fatalf("Claim() = %+v, %v", held, err)
	}
	p.set(func(p *proxy) { p.cutNext = true })
	if held, err := c.Idempotency().Claim(t.Context(), claim); held != nil || err != nil {
		t.Errorf("Claim() over a lost reply = %+v, %v, want it to be ours", held, err)
	}
	p.set(func(p *proxy) { p.refuse = true })
	if _, err := c.Idempotency().Claim(t.Context(), claim); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Claim() without Redis error = %v, want ErrUnavailable", err)
	}
}

package idempotency_test

import (
	"errors"
	"testing"
	"time"

	"attune/gateway/idempotency"
	"attune/gateway/idempotency/idempotencytest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	idempotencytest.Exercise(t, func(*testing.T) idempotency.Store { return idempotencytest.NewMemory() })
}

func newKeys() *idempotency.Keys {
	return &idempotency.Keys{Store: idempotencytest.NewMemory(), Lease: time.Hour, Keep: time.Hour, Bytes: 4}
}

func TestKeysAreApartByCallerActionAndKey(t *testing.T) {
	t.Parallel()
	k := newKeys()
	seen := map[string]bool{}
	for _, parts := range [][3]string{
		{"", "demo.a", "k"}, {"1", "demo.a", "k"}, {"", "demo.b", "k"}, {"", "demo.a", "l"},
		{"ab", "c", "d"}, {"a", "bc", "d"}, {"a", "b", "cd"}, {"a", "b:1", "d"}, {"1:a", "b", "d"},
	} {
		c := k.Claim(parts[0], parts[1], parts[2], []byte("{}"), "x")
		if seen[c.ID] {
			t.Errorf("Claim(%q) has the ID of another", parts)
		}
		seen[c.ID] = true
		if again := k.Claim(parts[0], parts[1], parts[2], []byte("{}"), "y"); again.ID != c.ID || again.Fingerprint != c.Fingerprint {
			t.Errorf("Claim(%q) differs from itself", parts)
		}
	}
}

// Who reads the store knows no key, and so can't try parameters.
func TestFingerprintTakesTheKey(t *testing.T) {
	t.Parallel()
	k := newKeys()
	a, b := k.Claim("", "demo.a", "k", []byte(`{"pin":"1234"}`), "x"), k.Claim("", "demo.a", "l", []byte(`{"pin":"1234"}`), "x")
	if a.Fingerprint == b.Fingerprint {
		t.Error("equal parameters have equal fingerprints under two keys")
	}
}

func TestTake(t *testing.T) {
	t.Parallel()
	k := newKeys()
	first := k.Claim("", "demo.a", "k", []byte("{}"), "1")
	again := k.Claim("", "demo.a", "k", []byte("{}"), "2")
	other := k.Claim("", "demo.a", "k", []byte("[]"), "3")
	take := func(c idempotency.Claim, reason error) *idempotency.Answer {
		t.Helper()
		answer, err := k.Take(t.Context(), c)
		var taken *idempotency.Taken
		if !errors.Is(err, reason) || reason != nil && (!errors.As(err, &taken) || taken.Execution != "1") {
			t.Errorf("Take() error = %v, want %v of execution 1", err, reason)
		}
		return answer
	}
	take(first, nil)
	take(again, idempotency.ErrInProgress)
	take(other, idempotency.ErrReused)
	if err := k.Settle(t.Context(), first, idempotency.Answer{Status: 200, Body: []byte("1234")}); err != nil {
		t.Fatalf("Settle() error = %v", err)
	}
	if answer := take(again, nil); answer == nil || string(answer.Body) != "1234" {
		t.Errorf("Take() = %+v, want the answer", answer)
	}
	take(other, idempotency.ErrReused)
	if err := k.Settle(t.Context(), first, idempotency.Answer{Status: 200, Body: []byte("12345")}); err != nil {
		t.Fatalf("Settle() error = %v", err)
	}
	take(again, idempotency.ErrTooLarge)
}

func TestLapsedClaimIsNeverTakenOver(t *testing.T) {
	t.Parallel()
	k := newKeys()
	k.Lease = 0 // lapses at once, as if the gateway had died long ago
	if answer, err := k.Take(t.Context(), k.Claim("", "demo.a", "k", nil, "1")); answer != nil || err != nil {
		t.Fatalf("Take() = %v, %v", answer, err)
	}
	for range 2 {
		if _, err := k.Take(t.Context(), k.Claim("", "demo.a", "k", nil, "2")); !errors.Is(err, idempotency.ErrUnknown) {
			t.Errorf("Take() error = %v, want ErrUnknown", err)
		}
	}
}

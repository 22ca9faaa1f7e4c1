package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"attune/gateway/idempotency"
	"attune/gateway/idempotency/idempotencytest"
)

func TestIdempotency(t *testing.T) {
	t.Parallel()
	idempotencytest.Exercise(t, func(t *testing.T) idempotency.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "attune.db")).Idempotency()
	})
}

// Keys that nobody asks for again go with the claims of others.
func TestExpiredKeysAreRemoved(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, filepath.Join(t.TempDir(), "attune.db"))
	for _, id := range []string{"a", "b", "c"} {
		if _, err := s.Idempotency().Claim(t.Context(), idempotency.Claim{ID: id, Execution: id}); err != nil {
			t.Fatalf("Claim(%s) error = %v", id, err)
		}
	}
	if _, err := s.Idempotency().Claim(t.Context(), idempotency.Claim{ID: "d", Execution: "d", Keep: time.Hour}); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.reader.QueryRowContext(t.Context(), `SELECT count(*) FROM idempotency`).Scan(&left); err != nil || left != 1 {
		t.Errorf("%d keys are left, %v, want the newest alone", left, err)
	}
}

// The answer is there after a restart.
func TestIdempotencyOverARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "attune.db")
	claim := idempotency.Claim{ID: "a", Execution: "1", Lease: time.Hour, Keep: time.Hour}
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Idempotency().Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	claim.Execution = "2"
	if held, err := s.Idempotency().Claim(t.Context(), claim); err != nil || held == nil || held.Execution != "1" {
		t.Errorf("Claim() after a restart = %+v, %v, want execution 1's", held, err)
	}
}

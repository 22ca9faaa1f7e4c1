package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"attune/gateway/hook"
	"attune/gateway/hook/hooktest"
)

func TestHooks(t *testing.T) {
	t.Parallel()
	hooktest.Exercise(t, func(t *testing.T) hook.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "attune.db")).Hooks()
	})
}

// Addresses and marks are those of before the program was started again.
func TestHooksOutliveAProcess(t *testing.T) {
	t.Parallel()
	path, now := filepath.Join(t.TempDir(), "attune.db"), time.Now()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Hooks().Address(t.Context(), "demo.push", "K1", now); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Hooks().Claim(t.Context(), hook.Mark{Hook: "demo.push", ID: "d", Digest: "a", Execution: "E1", Pending: now.Add(time.Minute)}, now); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := mustOpen(t, path).Hooks()
	if a, err := again.Address(t.Context(), "demo.push", "K2", now); err != nil || a.Key != "K1" {
		t.Errorf("Address() = %+v, %v, want key K1", a, err)
	}
	if m, err := again.Claim(t.Context(), hook.Mark{Hook: "demo.push", ID: "d", Digest: "b", Execution: "E2"}, now); err != nil || m.Execution != "E1" {
		t.Errorf("Claim() = %+v, %v, want execution E1", m, err)
	}
}

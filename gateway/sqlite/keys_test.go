package sqlite

import (
	"path/filepath"
	"testing"
	"time"

	"attune/gateway/key"
	"attune/gateway/key/keytest"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	keytest.Exercise(t, func(t *testing.T) key.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "attune.db")).Keys()
	})
}

// A key of one process is one of another on the same file, and of the next one.
func TestKeysOutliveTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "attune.db")
	first := mustOpen(t, path)
	k, token, err := key.New(key.Order{Name: "ops", Scopes: []key.Scope{key.Admin}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Keys().Put(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	keys, err := mustOpen(t, path).Keys().Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := key.NewRing(keys...).Authenticate(token, time.Now()); err != nil || got.ID != k.ID {
		t.Errorf("Authenticate() = %v, %v", got, err)
	}
}

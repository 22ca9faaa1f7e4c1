package sqlite

import (
	"database/sql"
	"errors"
	"path/filepath"
	"testing"

	"attune/gateway/secret"
	"attune/gateway/secret/secrettest"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	secrettest.Exercise(t, func(t *testing.T) secret.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "attune.db")).Secrets()
	})
}

// A database of the schema before keeps its executions and takes secrets.
func TestSecretsInADatabaseOfBefore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "attune.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Save(t.Context(), sample(1)), s.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(`DROP TABLE secrets; DROP TABLE hook_addresses; DROP TABLE hook_marks; DROP TABLE hook_entries; PRAGMA user_version = 1`)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	if err := s.Secrets().Put(t.Context(), secret.Sealed{Pack: "demo", Name: "a", Box: []byte("x")}); err != nil {
		t.Errorf("Put() error = %v", err)
	}
	if _, err := s.Get(t.Context(), sample(1).ID); err != nil {
		t.Errorf("Get() error = %v", err)
	}
}

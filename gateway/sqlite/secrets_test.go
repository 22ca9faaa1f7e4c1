package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
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
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := migrations.ReadFile("schema/1.sql")
	if err != nil {
		t.Fatal(err)
	}
	row, err := rowOf(sample(1))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(string(first) + fmt.Sprintf(`; PRAGMA application_id = %d; PRAGMA user_version = 1`, applicationID))
	_, saved := db.Exec(saveSQL, row...)
	if err := errors.Join(err, saved, db.Close()); err != nil {
		t.Fatal(err)
	}
	s := mustOpen(t, path)
	if err := s.Secrets().Put(t.Context(), secret.Sealed{Pack: "demo", Name: "a", Box: []byte("x")}); err != nil {
		t.Errorf("Put() error = %v", err)
	}
	if _, err := s.Get(t.Context(), sample(1).ID); err != nil {
		t.Errorf("Get() error = %v", err)
	}
}

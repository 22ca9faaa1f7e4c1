package sqlite

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"attune/gateway/execution"
	"attune/gateway/execution/storetest"
)

func mustOpen(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatalf("Open(%s) error = %v", path, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	newStore := func(t *testing.T) execution.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "executions.db"))
	}
	storetest.Exercise(t, newStore, storetest.Options{
		Reopen: func(t *testing.T, s execution.Store) execution.Store {
			path := pathOf(t, s.(*Store))
			if err := s.Close(); err != nil {
				t.Fatalf("Close() error = %v", err)
			}
			return mustOpen(t, path)
		},
	})
}

func pathOf(t *testing.T, s *Store) (path string) {
	t.Helper()
	if err := s.reader.QueryRow(`SELECT file FROM pragma_database_list`).Scan(&path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPathMayHaveSignsOfAURI(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c#d%41&e.db")
	if got := pathOf(t, mustOpen(t, path)); got != path {
		t.Errorf("Open(%s) opened %s", path, got)
	}
}

func TestFileIsPrivate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "executions.db")
	s := mustOpen(t, path)
	if err := s.Save(t.Context(), sample(1)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("Stat(%s) = %v, %v, want mode 0600", suffix, info, err)
		}
	}
}

func TestConnectionsAreSetUp(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, filepath.Join(t.TempDir(), "executions.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "1", "busy_timeout": busyMS} {
		for name, db := range map[string]*sql.DB{"writer": s.writer, "reader": s.reader} {
			var got string
			if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s: PRAGMA %s = %q, %v, want %q", name, pragma, got, err, want)
			}
		}
	}
	if _, err := s.reader.Exec(`DELETE FROM executions`); err == nil {
		t.Error("a reader can write")
	}
}

// A process that was killed leaves its log behind; the next one reads it.
func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	killed := filepath.Join(t.TempDir(), "killed.db")
	s := mustOpen(t, killed)
	if err := s.Save(t.Context(), sample(1)); err != nil {
		t.Fatal(err)
	}
	found := filepath.Join(t.TempDir(), "found.db")
	for _, suffix := range []string{"", "-wal"} { // as they are on the disk at this moment
		content, err := os.ReadFile(killed + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(found+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := mustOpen(t, found).Get(t.Context(), sample(1).ID); err != nil {
		t.Errorf("Get() error = %v", err)
	}
}

// Each query has an index that also gives the order, so that a page costs the
// same however many executions there are.
func TestQueriesUseIndexes(t *testing.T) {
	t.Parallel()
	s := mustOpen(t, filepath.Join(t.TempDir(), "executions.db"))
	position, err := sample(1).Position()
	if err != nil {
		t.Fatal(err)
	}
	for index, query := range map[string]execution.Query{
		"executions_by_time":          {Since: sample(0).CreatedAt},
		"executions_by_action":        {Action: "pack.action"},
		"executions_by_status":        {Status: execution.StatusFailed, Since: sample(0).CreatedAt},
		"executions_by_action_status": {Action: "pack.action", Status: execution.StatusFailed},
	} {
		query.Cursor = position.Cursor()
		statement, arguments, err := selection(query)
		if err != nil {
			t.Fatal(err)
		}
		var plan string
		row := s.reader.QueryRow(`EXPLAIN QUERY PLAN `+statement, arguments...)
		if err := row.Scan(new(int), new(int), new(int), &plan); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(plan, "SEARCH executions USING INDEX "+index+" (") {
			t.Errorf("plan of %s: %s", statement, plan)
		}
		rows, err := s.reader.Query(`EXPLAIN QUERY PLAN `+statement, arguments...)
		if err != nil {
			t.Fatal(err)
		}
		steps := 0
		for rows.Next() {
			steps++
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || steps != 1 {
			t.Errorf("plan of %s: %d steps, %v; want one, without sorting", statement, steps, err)
		}
	}
}

package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestOpenRefusesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(t *testing.T, path string)
		want  error
	}{
		"text":               {overwrite(0, []byte(strings.Repeat("not a database\n", 1000))), ErrCorrupt},
		"zeroed header":      {overwrite(0, make([]byte, 100)), ErrCorrupt},
		"damaged page":       {overwrite(100, bytes.Repeat([]byte{0xff}, 4000)), ErrCorrupt},
		"newer schema":       {execute(fmt.Sprintf(`PRAGMA user_version = %d`, schemaVersion+1)), ErrNewerSchema},
		"other application":  {execute(`PRAGMA application_id = 7`), ErrForeign},
		"unknown tables":     {execute(`PRAGMA application_id = 0; PRAGMA user_version = 0`), ErrForeign},
		"impossible version": {execute(`PRAGMA user_version = -1`), ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "executions.db")
			s, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Save(t.Context(), sample(1)), s.Close()); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err = Open(path)
			if !errors.Is(err, test.want) {
				t.Errorf("Open() = %v, %v, want %v", s, err, test.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("Open changed what it refused (%v)", err)
			}
		})
	}
}

func overwrite(at int64, content []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteAt(content, at)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func execute(statements string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec(statements)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if s, err := Open(filepath.Join(dir, "missing", "executions.db")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in a missing directory = %v, %v", s, err)
	}
	if s, err := Open(dir); err == nil {
		t.Errorf("Open of a directory = %v", s)
	}
}

// Two gateways may start on one new file.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "executions.db")
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			s, err := Open(path)
			if err != nil {
				t.Errorf("Open() error = %v", err)
				return
			}
			if err := errors.Join(s.Save(t.Context(), sample(n)), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	s := mustOpen(t, path)
	for n := range 8 {
		if _, err := s.Get(t.Context(), sample(n).ID); err != nil {
			t.Errorf("Get(%d) error = %v", n, err)
		}
	}
}

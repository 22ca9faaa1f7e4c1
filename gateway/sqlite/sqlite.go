// Package sqlite keeps executions, jobs, sealed secrets and API keys in an embedded database, for a gateway that
// runs alone: one file, durable across restarts, no server.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"attune/gateway/execution"

	driver "modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"
)

// Store is an execution.Store in one file of SQLite, in WAL mode.
//
// A Save that returned survives the death of the process. The last ones may be
// lost when the machine itself dies, for a commit doesn't wait for the disk
// (synchronous=NORMAL); the file is never damaged by that.
type Store struct {
	writer *sql.DB // of one connection: SQLite has one writer at a time anyway
	reader *sql.DB
	save   *sql.Stmt
}

var _ execution.Store = (*Store)(nil)

// ErrCorrupt says that the file is damaged, or no database at all.
var ErrCorrupt = errors.New("not a usable database")

// ErrNewerSchema says that a newer version of the program wrote the file.
var ErrNewerSchema = errors.New("database was written by a newer version")

// ErrForeign says that the file is the database of another program.
var ErrForeign = errors.New("database belongs to another program")

// readers is how many listings can run at once; each is short and on one core.
const readers = 4

// busyMS is how long a statement waits for another process (a backup, a second
// gateway on the same file) to unlock, in milliseconds.
const busyMS = "5000"

// openTries bounds Open's patience with others that open or close the same
// file. They take milliseconds: SQLite itself refuses at once where it would
// wait, when a file becomes WAL and when its last user leaves, for waiting there
// could be a deadlock.
const openTries = 50

// Open opens the database at path, and makes it where there is none, readable
// by its owner only. The directory must exist. ErrCorrupt, ErrNewerSchema,
// ErrForeign.
func Open(path string) (*Store, error) {
	s, err := open(path)
	for try := 1; busy(err) && try < openTries; try++ {
		time.Sleep(time.Duration(rand.IntN(2*try)+1) * time.Millisecond)
		s, err = open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open executions %s: %w", path, classify(err))
	}
	return s, nil
}

func open(path string) (_ *Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	s := &Store{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.writer, err = connect(path, 1, "_txlock", "immediate"); err != nil {
		return nil, err
	}
	if err = prepare(s.writer); err != nil {
		return nil, err
	}
	if s.reader, err = connect(path, readers, "_query_only", "1"); err != nil {
		return nil, err
	}
	if s.save, err = s.writer.Prepare(saveSQL); err != nil {
		return nil, err
	}
	return s, nil
}

// create makes an empty file, which SQLite takes for a new database: what SQLite
// makes by itself has the permissions of the umask. The file gets its name only
// when it is closed, because closing any descriptor of a file frees the locks
// that this process holds on it (fcntl), SQLite's among them.
func create(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	if err := file.Close(); err != nil {
		return err
	}
	if err := os.Link(file.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// connect opens a pool; more is a further parameter of each connection.
func connect(path string, connections int, more ...string) (*sql.DB, error) {
	parameters := url.Values{
		"_busy_timeout": {busyMS},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"NORMAL"},
		more[0]:         {more[1]},
	}
	source := url.URL{Scheme: "file", Path: path, RawQuery: parameters.Encode()}
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Ping reports whether the database can be read.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.reader.QueryRowContext(ctx, `SELECT 1 FROM sqlite_schema LIMIT 1`).Scan(&one); err != nil {
		return fmt.Errorf("ping executions: %w", classify(err))
	}
	return nil
}

// Close closes the database. The last connection moves the log into the file.
func (s *Store) Close() error {
	var errs []error
	if s.save != nil {
		errs = append(errs, s.save.Close())
	}
	// Readers first: they can't write the log back.
	for _, db := range []*sql.DB{s.reader, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close executions: %w", err)
	}
	return nil
}

// busy: another process holds the file.
func busy(err error) bool {
	var from *driver.Error
	return errors.As(err, &from) && from.Code()&0xff == codes.SQLITE_BUSY
}

// classify adds ErrCorrupt to SQLite's words for it.
func classify(err error) error {
	var from *driver.Error
	if !errors.As(err, &from) {
		return err
	}
	switch from.Code() & 0xff { // without the extended part
	case codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// and joins the conditions of a WHERE.
func and(conditions []string) string {
	if len(conditions) == 0 {
		return "TRUE"
	}
	return strings.Join(conditions, " AND ")
}

// scanAll reads all rows and closes them.
func scanAll[T any](rows *sql.Rows, scan func(*sql.Rows) (T, error)) (found []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, rows.Err()
}

package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
)

// Migrations are schema/1.sql, 2.sql, …, each from the version before. A file
// that was released is never changed: the next change is the next file.
//
//go:embed schema/*.sql
var migrations embed.FS

// schemaVersion is the newest migration; the database has its own as
// user_version.
const schemaVersion = 7

// applicationID marks a database as ours in the file's header: "Attn".
const applicationID = 0x4174746e

// prepare checks whose database it is, and migrates it. All of it is one
// transaction, so that two processes may start on one file, and one that dies
// half-way leaves nothing.
func prepare(db *sql.DB) (err error) {
	ctx := context.Background() // bounded by the busy timeout
	if err := checkWAL(ctx, db); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if rollback := tx.Rollback(); !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, rollback)
		}
	}()
	version, err := identify(ctx, tx)
	if err != nil {
		return err
	}
	if err := migrate(ctx, tx, version); err != nil {
		return err
	}
	return tx.Commit()
}

// checkWAL: SQLite stays in another mode without an error where the file system
// can't share memory, and then readers and the writer would wait for each other.
func checkWAL(ctx context.Context, db *sql.DB) error {
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode`).Scan(&mode); err != nil {
		return err
	}
	if mode != "wal" {
		return fmt.Errorf("file system supports no write-ahead log (journal mode is %s)", mode)
	}
	return nil
}

// identify returns the schema's version; 0 is an empty database.
func identify(ctx context.Context, tx *sql.Tx) (version int, err error) {
	var application, tables int
	row := tx.QueryRowContext(ctx, `SELECT a.application_id, v.user_version, (SELECT count(*) FROM sqlite_schema)
		FROM pragma_application_id AS a, pragma_user_version AS v`)
	if err := row.Scan(&application, &version, &tables); err != nil {
		return 0, err
	}
	empty := application == 0 && version == 0 && tables == 0
	switch {
	case empty:
		return 0, nil
	case application != applicationID:
		return 0, ErrForeign
	case version > schemaVersion:
		return 0, fmt.Errorf("%w: schema %d, this one knows %d", ErrNewerSchema, version, schemaVersion)
	case version < 1 || tables == 0:
		return 0, fmt.Errorf("%w: schema %d with %d tables", ErrCorrupt, version, tables)
	}
	return version, nil
}

func migrate(ctx context.Context, tx *sql.Tx, from int) error {
	if from == schemaVersion {
		return nil
	}
	for version := from + 1; version <= schemaVersion; version++ {
		statements, err := migrations.ReadFile(fmt.Sprintf("schema/%d.sql", version))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, string(statements)); err != nil {
			return fmt.Errorf("migrate to schema %d: %w", version, err)
		}
	}
	// PRAGMA takes no parameters.
	header := fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA user_version = %d`, applicationID, schemaVersion)
	if _, err := tx.ExecContext(ctx, header); err != nil {
		return fmt.Errorf("mark schema %d: %w", schemaVersion, err)
	}
	return nil
}

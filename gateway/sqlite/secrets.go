package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"attune/gateway/secret"
)

// Secrets is a secret.Store in the database of a Store, which closes it.
type Secrets struct {
	store *Store
}

var _ secret.Store = (*Secrets)(nil)

// Secrets keeps sealed secrets in this database.
func (s *Store) Secrets() *Secrets { return &Secrets{store: s} }

// Put implements secret.Store.
func (s *Secrets) Put(ctx context.Context, sealed secret.Sealed) error {
	_, err := s.store.writer.ExecContext(ctx, `INSERT INTO secrets (pack, name, version, key, box) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (pack, name) DO UPDATE SET version = excluded.version, key = excluded.key, box = excluded.box`,
		sealed.Pack, sealed.Name, sealed.Version, sealed.Key, sealed.Box)
	if err != nil {
		return fmt.Errorf("put secret: %w", classify(err))
	}
	return nil
}

// Swap implements secret.Store.
func (s *Secrets) Swap(ctx context.Context, before int64, sealed secret.Sealed) (bool, error) {
	return s.changes(ctx, "swap", `UPDATE secrets SET version = ?, key = ?, box = ? WHERE pack = ? AND name = ? AND version = ?`,
		sealed.Version, sealed.Key, sealed.Box, sealed.Pack, sealed.Name, before)
}

// Delete implements secret.Store.
func (s *Secrets) Delete(ctx context.Context, pack, name string) error {
	found, err := s.changes(ctx, "delete", `DELETE FROM secrets WHERE pack = ? AND name = ?`, pack, name)
	if err == nil && !found {
		return secret.ErrNone
	}
	return err
}

// changes reports whether a statement has changed a row.
func (s *Secrets) changes(ctx context.Context, what, statement string, arguments ...any) (bool, error) {
	result, err := s.store.writer.ExecContext(ctx, statement, arguments...)
	if err != nil {
		return false, fmt.Errorf("%s secret: %w", what, classify(err))
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// Pack implements secret.Store.
func (s *Secrets) Pack(ctx context.Context, pack string) ([]secret.Sealed, error) {
	return list(ctx, s.store.reader, "secrets", func(rows *sql.Rows) (found secret.Sealed, err error) {
		err = rows.Scan(&found.Pack, &found.Name, &found.Version, &found.Key, &found.Box)
		return found, err
	}, `SELECT pack, name, version, key, box FROM secrets WHERE pack = ? ORDER BY name`, pack)
}

// Packs implements secret.Store.
func (s *Secrets) Packs(ctx context.Context) ([]string, error) {
	return list(ctx, s.store.reader, "secrets", func(rows *sql.Rows) (pack string, err error) {
		err = rows.Scan(&pack)
		return pack, err
	}, `SELECT DISTINCT pack FROM secrets ORDER BY pack`)
}

// list reads rows of what, each by scan.
func list[T any](ctx context.Context, db *sql.DB, what string, scan func(*sql.Rows) (T, error), query string, arguments ...any) (_ []T, err error) {
	rows, err := db.QueryContext(ctx, query, arguments...)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, classify(err))
	}
	found, err := scanAll(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", what, classify(err))
	}
	return found, nil
}

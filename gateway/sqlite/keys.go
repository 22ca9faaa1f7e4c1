package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"attune/gateway/key"
)

// Keys is a key.Store in the database of a Store, which closes it.
type Keys struct {
	store *Store
}

var _ key.Store = (*Keys)(nil)

// Keys keeps API keys in this database.
func (s *Store) Keys() *Keys { return &Keys{store: s} }

// Put implements key.Store.
func (s *Keys) Put(ctx context.Context, k key.Key) error {
	record, err := k.Encode()
	if err != nil {
		return fmt.Errorf("put API key: %w", err)
	}
	_, err = s.store.writer.ExecContext(ctx, `INSERT INTO api_keys (id, record) VALUES (?, ?)
		ON CONFLICT (id) DO UPDATE SET record = excluded.record`, k.ID, string(record))
	if err != nil {
		return fmt.Errorf("put API key: %w", classify(err))
	}
	return nil
}

// Keys implements key.Store.
func (s *Keys) Keys(ctx context.Context) ([]key.Key, error) {
	return list(ctx, s.store.reader, "API keys", func(rows *sql.Rows) (key.Key, error) {
		var record []byte
		if err := rows.Scan(&record); err != nil {
			return key.Key{}, err
		}
		return key.Decode(record)
	}, `SELECT record FROM api_keys ORDER BY id`)
}

// Delete implements key.Store.
func (s *Keys) Delete(ctx context.Context, id string) error {
	result, err := s.store.writer.ExecContext(ctx, `DELETE FROM api_keys WHERE id = ?`, id)
	if err != nil {
		return fmt.Errorf("delete API key: %w", classify(err))
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return key.ErrNone
	}
	return err
}

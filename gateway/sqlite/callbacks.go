package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"attune/gateway/callback"
)

// Callbacks is a callback.Store in the database of a Store, which closes it.
type Callbacks struct {
	store *Store
}

var _ callback.Store = (*Callbacks)(nil)

// Callbacks keeps deliveries in this database.
func (s *Store) Callbacks() *Callbacks { return &Callbacks{store: s} }

// Put implements callback.Store.
func (c *Callbacks) Put(ctx context.Context, d callback.Delivery) error {
	_, err := c.store.writer.ExecContext(ctx, `INSERT INTO callbacks (id, due_at, attempts, created_at, url, body)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		d.ID, time.Now().UnixMilli(), d.Attempts, d.Created.UnixMilli(), d.URL, append([]byte{}, d.Body...))
	if err != nil {
		return fmt.Errorf("put callback: %w", classify(err))
	}
	return nil
}

// Take implements callback.Store. It writes only where something is due.
func (c *Callbacks) Take(ctx context.Context, most int, lease time.Duration) ([]callback.Delivery, error) {
	now := time.Now()
	var due bool
	row := c.store.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM callbacks WHERE due_at <= ?)`, now.UnixMilli())
	if err := row.Scan(&due); err != nil {
		return nil, fmt.Errorf("take callbacks: %w", classify(err))
	}
	if !due || most < 1 {
		return nil, nil
	}
	var taken []callback.Delivery
	err := c.store.update(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `UPDATE callbacks SET due_at = ?, attempts = attempts + 1
			WHERE id IN (SELECT id FROM callbacks WHERE due_at <= ? ORDER BY due_at LIMIT ?)
			RETURNING id, attempts, created_at, url, body`, now.Add(lease).UnixMilli(), now.UnixMilli(), most)
		if err != nil {
			return err
		}
		taken, err = collectCallbacks(rows)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take callbacks: %w", classify(err))
	}
	return taken, nil
}

func collectCallbacks(rows *sql.Rows) (taken []callback.Delivery, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var d callback.Delivery
		var created int64
		if err := rows.Scan(&d.ID, &d.Attempts, &created, &d.URL, &d.Body); err != nil {
			return nil, err
		}
		d.Created = time.UnixMilli(created).UTC()
		taken = append(taken, d)
	}
	return taken, rows.Err()
}

// Later implements callback.Store.
func (c *Callbacks) Later(ctx context.Context, d callback.Delivery, after time.Duration) error {
	_, err := c.store.writer.ExecContext(ctx, `UPDATE callbacks SET due_at = ? WHERE id = ? AND attempts = ?`,
		time.Now().Add(after).UnixMilli(), d.ID, d.Attempts)
	if err != nil {
		return fmt.Errorf("put callback off: %w", classify(err))
	}
	return nil
}

// Done implements callback.Store.
func (c *Callbacks) Done(ctx context.Context, id string) error {
	if _, err := c.store.writer.ExecContext(ctx, `DELETE FROM callbacks WHERE id = ?`, id); err != nil {
		return fmt.Errorf("forget callback: %w", classify(err))
	}
	return nil
}

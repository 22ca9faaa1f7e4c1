package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"attune/gateway/idempotency"
)

// Idempotency is an idempotency.Store in the database of a Store, which closes
// it.
type Idempotency struct {
	store *Store
}

var _ idempotency.Store = (*Idempotency)(nil)

// Idempotency keeps the keys of calls in this database.
func (s *Store) Idempotency() *Idempotency { return &Idempotency{store: s} }

// expiredBatch is how many keys that are free again a claim removes at most: more
// than claims add, so that none are left for long.
const expiredBatch = 16

// Claim implements idempotency.Store.
func (i *Idempotency) Claim(ctx context.Context, claim idempotency.Claim) (held *idempotency.Held, err error) {
	err = i.store.update(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		_, err := tx.ExecContext(ctx, `DELETE FROM idempotency WHERE id = ?1 AND expires_at <= ?2 OR id IN
			(SELECT id FROM idempotency WHERE expires_at <= ?2 ORDER BY expires_at LIMIT ?3)`, claim.ID, now.UnixMilli(), expiredBatch)
		if err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO idempotency (id, fingerprint, execution, lapses_at, expires_at)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			claim.ID, claim.Fingerprint, claim.Execution, now.Add(claim.Lease).UnixMilli(), now.Add(claim.Keep).UnixMilli())
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return err
		}
		held, err = heldKey(ctx, tx, claim.ID, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim key: %w", classify(err))
	}
	if held != nil && held.Execution == claim.Execution && held.Answer == nil {
		return nil, nil // the same claim again
	}
	return held, nil
}

func heldKey(ctx context.Context, tx *sql.Tx, id string, now time.Time) (*idempotency.Held, error) {
	var held idempotency.Held
	var lapses int64
	var head, body []byte
	row := tx.QueryRowContext(ctx, `SELECT fingerprint, execution, lapses_at, answer, body FROM idempotency WHERE id = ?`, id)
	if err := row.Scan(&held.Fingerprint, &held.Execution, &lapses, &head, &body); err != nil {
		return nil, err
	}
	held.Lapsed = now.UnixMilli() >= lapses
	if head == nil {
		return &held, nil
	}
	var err error
	held.Answer, err = idempotency.ParseAnswer(head, body)
	return &held, err
}

// Complete implements idempotency.Store.
func (i *Idempotency) Complete(ctx context.Context, claim idempotency.Claim, answer idempotency.Answer) error {
	head, err := answer.Head()
	if err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	now := time.Now().UnixMilli()
	result, err := i.store.writer.ExecContext(ctx, `INSERT INTO idempotency (id, fingerprint, execution, lapses_at, expires_at, answer, body)
		VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at, answer = excluded.answer, body = excluded.body
		WHERE execution = excluded.execution`,
		claim.ID, claim.Fingerprint, claim.Execution, now, now+claim.Keep.Milliseconds(), string(head), answer.Body)
	if err != nil {
		return fmt.Errorf("keep answer: %w", classify(err))
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, idempotency.ErrLost)
	}
	return nil
}

// Release implements idempotency.Store.
func (i *Idempotency) Release(ctx context.Context, claim idempotency.Claim) error {
	_, err := i.store.writer.ExecContext(ctx, `DELETE FROM idempotency WHERE id = ? AND execution = ? AND answer IS NULL`,
		claim.ID, claim.Execution)
	if err != nil {
		return fmt.Errorf("release key: %w", classify(err))
	}
	return nil
}

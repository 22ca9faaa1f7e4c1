package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"attune/gateway/hook"
)

// Hooks is a hook.Store in the database of a Store, which closes it.
type Hooks struct {
	store *Store
}

var _ hook.Store = (*Hooks)(nil)

// Hooks keeps in this database what hooks must remember.
func (s *Store) Hooks() *Hooks { return &Hooks{store: s} }

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

const addressSQL = `SELECT key, created_at, coalesce(previous, ''), previous_until FROM hook_addresses WHERE hook = ?`

// Address implements hook.Addresses.
func (h *Hooks) Address(ctx context.Context, name, key string, now time.Time) (hook.Address, error) {
	address, err := h.address(ctx, name, now)
	if !errors.Is(err, sql.ErrNoRows) {
		return address, err
	}
	_, err = h.store.writer.ExecContext(ctx, `INSERT INTO hook_addresses (hook, key, created_at, previous_until) VALUES (?, ?, ?, 0)
		ON CONFLICT (hook) DO NOTHING`, name, key, milliseconds(now))
	if err != nil {
		return hook.Address{}, fmt.Errorf("give hook an address: %w", classify(err))
	}
	return h.address(ctx, name, now)
}

func (h *Hooks) address(ctx context.Context, name string, now time.Time) (hook.Address, error) {
	address := hook.Address{Hook: name}
	var created, until int64
	row := h.store.reader.QueryRowContext(ctx, addressSQL, name)
	if err := row.Scan(&address.Key, &created, &address.Previous, &until); err != nil {
		return hook.Address{}, fmt.Errorf("read address of hook: %w", classify(err))
	}
	address.CreatedAt = time.UnixMilli(created).UTC()
	if until > milliseconds(now) {
		address.PreviousUntil = time.UnixMilli(until).UTC()
	} else {
		address.Previous = ""
	}
	return address, nil
}

// Rotate implements hook.Addresses.
func (h *Hooks) Rotate(ctx context.Context, name, key string, now, until time.Time) (hook.Address, error) {
	if !until.After(now) {
		until = time.Time{}
	}
	_, err := h.store.writer.ExecContext(ctx, `INSERT INTO hook_addresses (hook, key, created_at, previous_until) VALUES (?1, ?2, ?3, 0)
		ON CONFLICT (hook) DO UPDATE SET previous = CASE WHEN ?4 > 0 THEN key END, previous_until = ?4,
		key = excluded.key, created_at = excluded.created_at`, name, key, milliseconds(now), milliseconds(until))
	if err != nil {
		return hook.Address{}, fmt.Errorf("rotate hook: %w", classify(err))
	}
	return h.address(ctx, name, now)
}

// Find implements hook.Addresses.
func (h *Hooks) Find(ctx context.Context, key string, now time.Time) (name string, err error) {
	row := h.store.reader.QueryRowContext(ctx, `SELECT hook FROM hook_addresses WHERE key = ?1
		UNION ALL SELECT hook FROM hook_addresses WHERE previous = ?1 AND previous_until > ?2`, key, milliseconds(now))
	err = row.Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", hook.ErrNone
	}
	if err != nil {
		return "", fmt.Errorf("find hook: %w", classify(err))
	}
	return name, nil
}

// claimSQL replaces a mark whose time is over, renews one whose owner died, and
// leaves others as they are. Its update always does something, so that the row
// comes back.
const claimSQL = `INSERT INTO hook_marks (hook, id, digest, execution, owner, pending, done, expires) VALUES (?1, ?2, ?3, ?4, ?4, ?5, 0, ?6)
	ON CONFLICT (hook, id) DO UPDATE SET
	  digest    = CASE WHEN expires <= ?7 OR done = 0 AND pending <= ?7 THEN excluded.digest ELSE digest END,
	  owner     = CASE WHEN expires <= ?7 OR done = 0 AND pending <= ?7 THEN excluded.owner ELSE owner END,
	  pending   = CASE WHEN expires <= ?7 OR done = 0 AND pending <= ?7 THEN excluded.pending ELSE pending END,
	  execution = CASE WHEN expires <= ?7 THEN excluded.execution ELSE execution END,
	  done      = CASE WHEN expires <= ?7 THEN 0 ELSE done END,
	  expires   = CASE WHEN expires <= ?7 THEN excluded.expires ELSE expires END
	RETURNING digest, execution, owner, pending, done`

// Claim implements hook.Marks.
func (h *Hooks) Claim(ctx context.Context, mark hook.Mark, now time.Time) (hook.Mark, error) {
	row := h.store.writer.QueryRowContext(ctx, claimSQL, mark.Hook, mark.ID, mark.Digest, mark.Execution,
		milliseconds(mark.Pending), milliseconds(now.Add(hook.MarkTTL)), milliseconds(now))
	there := hook.Mark{Hook: mark.Hook, ID: mark.ID}
	var pending int64
	if err := row.Scan(&there.Digest, &there.Execution, &there.Owner, &pending, &there.Done); err != nil {
		return hook.Mark{}, fmt.Errorf("mark delivery: %w", classify(err))
	}
	there.Pending = time.UnixMilli(pending).UTC()
	return there, nil
}

// Done implements hook.Marks.
func (h *Hooks) Done(ctx context.Context, name, id, execution string) error {
	return h.change(ctx, "complete mark", `UPDATE hook_marks SET done = 1 WHERE hook = ? AND id = ? AND execution = ?`, name, id, execution)
}

// Release implements hook.Marks.
func (h *Hooks) Release(ctx context.Context, name, id, execution string) error {
	return h.change(ctx, "release mark", `DELETE FROM hook_marks WHERE hook = ? AND id = ? AND execution = ? AND done = 0`, name, id, execution)
}

func (h *Hooks) change(ctx context.Context, what, statement string, arguments ...any) error {
	if _, err := h.store.writer.ExecContext(ctx, statement, arguments...); err != nil {
		return fmt.Errorf("%s: %w", what, classify(err))
	}
	return nil
}

// Append implements hook.Log.
func (h *Hooks) Append(ctx context.Context, entry hook.Entry) error {
	record, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("log delivery: %w", err)
	}
	return h.change(ctx, "log delivery", `INSERT INTO hook_entries (hook, id, record, body) VALUES (?, ?, ?, ?)
		ON CONFLICT (hook, id) DO UPDATE SET record = excluded.record, body = excluded.body`, entry.Hook, entry.ID, string(record), entry.Body)
}

// Entries implements hook.Log.
func (h *Hooks) Entries(ctx context.Context, name, before string, limit int) ([]hook.Entry, string, error) {
	found, err := list(ctx, h.store.reader, "deliveries", func(rows *sql.Rows) (entry hook.Entry, err error) {
		var record []byte
		if err := rows.Scan(&record); err != nil {
			return entry, err
		}
		return entry, json.Unmarshal(record, &entry)
	}, `SELECT record FROM hook_entries WHERE hook = ?1 AND (?2 = '' OR id < ?2) ORDER BY id DESC LIMIT ?3`, name, before, limit+1)
	if err != nil || len(found) <= limit {
		return found, "", err
	}
	return found[:limit], found[limit-1].ID, nil
}

// Entry implements hook.Log.
func (h *Hooks) Entry(ctx context.Context, name, id string) (entry hook.Entry, err error) {
	var record, body []byte
	err = h.store.reader.QueryRowContext(ctx, `SELECT record, body FROM hook_entries WHERE hook = ? AND id = ?`, name, id).Scan(&record, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return entry, hook.ErrNone
	}
	if err != nil {
		return entry, fmt.Errorf("read delivery: %w", classify(err))
	}
	if err := json.Unmarshal(record, &entry); err != nil {
		return entry, fmt.Errorf("read delivery: %w", err)
	}
	entry.Body = body
	return entry, nil
}

// Prune implements hook.Log.
func (h *Hooks) Prune(ctx context.Context, now, before time.Time, keep int) error {
	return errors.Join(
		h.change(ctx, "prune deliveries", `DELETE FROM hook_entries WHERE id < ?`, hook.FirstID(before)),
		h.change(ctx, "prune deliveries", `DELETE FROM hook_entries WHERE (hook, id) IN
			(SELECT hook, id FROM (SELECT hook, id, row_number() OVER (PARTITION BY hook ORDER BY id DESC) AS place FROM hook_entries) WHERE place > ?)`, keep),
		h.change(ctx, "prune marks", `DELETE FROM hook_marks WHERE expires <= ?`, milliseconds(now)),
		h.change(ctx, "prune keys", `UPDATE hook_addresses SET previous = NULL, previous_until = 0 WHERE previous IS NOT NULL AND previous_until <= ?`, milliseconds(now)),
	)
}

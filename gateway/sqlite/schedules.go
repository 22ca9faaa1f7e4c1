package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"attune/gateway/schedule"
)

// Schedules is a schedule.Store in the database of a Store, which closes it.
type Schedules struct {
	store *Store
}

var _ schedule.Store = (*Schedules)(nil)

// Schedules keeps schedules and their states in this database.
func (s *Store) Schedules() *Schedules { return &Schedules{store: s} }

// Load implements schedule.Store.
func (s *Schedules) Load(ctx context.Context) (stored []schedule.Stored, states map[string]schedule.State, err error) {
	err = s.each(ctx, `SELECT definition FROM schedules ORDER BY ref`, func(text string) error {
		var one schedule.Stored
		err := json.Unmarshal([]byte(text), &one)
		stored = append(stored, one)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	states = map[string]schedule.State{}
	err = s.each(ctx, `SELECT state FROM schedule_states`, func(text string) error {
		var one schedule.State
		err := json.Unmarshal([]byte(text), &one)
		states[one.Ref] = one
		return err
	})
	return stored, states, err
}

// each reads a column of text.
func (s *Schedules) each(ctx context.Context, query string, read func(text string) error) (err error) {
	rows, err := s.store.reader.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("load schedules: %w", classify(err))
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return fmt.Errorf("load schedules: %w", classify(err))
		}
		if err := read(text); err != nil {
			return fmt.Errorf("load schedules: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("load schedules: %w", classify(err))
	}
	return nil
}

// Create implements schedule.Store.
func (s *Schedules) Create(ctx context.Context, stored schedule.Stored) error {
	definition, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("create schedule: %w", err)
	}
	done, err := s.changes(s.store.writer.ExecContext(ctx,
		`INSERT INTO schedules (ref, definition) VALUES (?, ?) ON CONFLICT DO NOTHING`, stored.Spec.Ref, string(definition)))
	if err != nil {
		return fmt.Errorf("create schedule: %w", classify(err))
	}
	if !done {
		return schedule.ErrExists
	}
	return nil
}

// Delete implements schedule.Store.
func (s *Schedules) Delete(ctx context.Context, ref string) error {
	err := s.store.update(ctx, func(tx *sql.Tx) error {
		found, err := s.changes(tx.ExecContext(ctx, `DELETE FROM schedules WHERE ref = ?`, ref))
		if err != nil {
			return err
		}
		if !found {
			return schedule.ErrNone
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM schedule_states WHERE ref = ?`, ref)
		return err
	})
	if err != nil && !errors.Is(err, schedule.ErrNone) {
		return fmt.Errorf("delete schedule: %w", classify(err))
	}
	return err
}

// Swap implements schedule.Store.
func (s *Schedules) Swap(ctx context.Context, before int64, state schedule.State) (bool, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return false, fmt.Errorf("write schedule's state: %w", err)
	}
	var done bool
	if before == 0 {
		done, err = s.changes(s.store.writer.ExecContext(ctx, `INSERT INTO schedule_states (ref, version, state) VALUES (?1, ?2, ?3)
			ON CONFLICT DO UPDATE SET state = state WHERE state = ?3`, state.Ref, state.Version, string(text)))
	} else {
		done, err = s.changes(s.store.writer.ExecContext(ctx, `UPDATE schedule_states SET version = ?2, state = ?3
			WHERE ref = ?1 AND (version = ?4 OR state = ?3)`, state.Ref, state.Version, string(text), before))
	}
	if err != nil {
		return false, fmt.Errorf("write schedule's state: %w", classify(err))
	}
	return done, nil
}

// changes reports whether a statement has changed a row.
func (s *Schedules) changes(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

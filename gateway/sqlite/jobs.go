package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// Jobs is a queue.Store in the database of a Store, which closes it.
type Jobs struct {
	store *Store
}

var _ queue.Store = (*Jobs)(nil)

// Jobs keeps jobs in this database.
func (s *Store) Jobs() *Jobs { return &Jobs{store: s} }

// States of a job.
const (
	stateDelayed = iota
	stateInLine
	stateClaimed
	stateDead
)

func nowMS() int64 { return time.Now().UnixMilli() }

// Add implements queue.Store.
func (j *Jobs) Add(ctx context.Context, a queue.Addition) (added bool, err error) {
	entry, err := a.Encode()
	if err != nil {
		return false, err
	}
	row, err := rowOf(a.Execution)
	if err != nil {
		return false, fmt.Errorf("add job: %w", err)
	}
	err = j.store.update(ctx, func(tx *sql.Tx) error {
		var known, backlog int
		err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM jobs WHERE id = ?1) + EXISTS (SELECT 1 FROM executions WHERE id = ?1), jobs
			FROM backlog`, a.ID).Scan(&known, &backlog)
		switch {
		case err != nil || known > 0:
			return err
		case a.Most > 0 && backlog >= a.Most:
			return queue.ErrFull
		}
		if a.Instead != "" {
			if err := changed(tx.ExecContext(ctx, `DELETE FROM jobs WHERE id = ? AND state = ?`, a.Instead, stateDead)); err != nil {
				return err
			}
		}
		added = true
		start := a.Priority.HeadStart().Milliseconds()
		state, at := place(a.NotBefore.UnixMilli(), start)
		_, err = tx.ExecContext(ctx, `INSERT INTO jobs (id, lane, start, state, at, entry) VALUES (?, ?, ?, ?, ?, ?)`,
			a.ID, a.Lane(), start, state, at, string(entry))
		if err != nil {
			return err
		}
		return j.save(ctx, tx, row)
	})
	if err != nil {
		return false, fmt.Errorf("add job: %w", classify(err))
	}
	return added, nil
}

// place is where a job waits that is due at a time.
func place(due, start int64) (state int, at int64) {
	now := nowMS()
	if due > now {
		return stateDelayed, due
	}
	return stateInLine, now - start
}

// changed is queue.ErrNoJob where a statement has changed nothing.
func changed(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(queue.ErrNoJob, err)
	}
	return nil
}

func (j *Jobs) save(ctx context.Context, tx *sql.Tx, row []any) error {
	_, err := tx.StmtContext(ctx, j.store.save).ExecContext(ctx, row...)
	return err
}

// Renew implements queue.Store.
func (j *Jobs) Renew(ctx context.Context, lease time.Duration, claims ...queue.Claim) (standings []queue.Standing, err error) {
	err = j.store.update(ctx, func(tx *sql.Tx) error {
		till := nowMS() + lease.Milliseconds()
		for _, c := range claims {
			var standing queue.Standing
			err := tx.QueryRowContext(ctx, `UPDATE jobs SET at = ? WHERE id = ? AND state = ? AND owner = ? AND turn = ?
				RETURNING cancelled * ?`, till, c.ID, stateClaimed, c.Owner, c.Turn, queue.Cancelled).Scan(&standing)
			if errors.Is(err, sql.ErrNoRows) {
				standing, err = queue.Lost, nil
			}
			if err != nil {
				return err
			}
			standings = append(standings, standing)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("renew jobs: %w", classify(err))
	}
	return standings, nil
}

// held changes a claimed job, and saves the record with it.
func (j *Jobs) held(ctx context.Context, what string, c queue.Claim, x *execution.Execution, change func(tx *sql.Tx) error) error {
	row, err := rowOf(x)
	if err != nil {
		return fmt.Errorf("%s job: %w", what, err)
	}
	err = j.store.update(ctx, func(tx *sql.Tx) error {
		var mine int
		err := tx.QueryRowContext(ctx, `SELECT count(*) FROM jobs WHERE id = ? AND state = ? AND owner = ? AND turn = ?`,
			c.ID, stateClaimed, c.Owner, c.Turn).Scan(&mine)
		if err == nil && mine == 0 {
			err = queue.ErrLost
		}
		if err != nil {
			return err
		}
		return errors.Join(j.save(ctx, tx, row), change(tx))
	})
	if err != nil {
		return fmt.Errorf("%s job: %w", what, classify(err))
	}
	return nil
}

// Note implements queue.Store.
func (j *Jobs) Note(ctx context.Context, c queue.Claim, x *execution.Execution) error {
	return j.held(ctx, "note", c, x, func(tx *sql.Tx) error {
		if !x.Status.Ended() {
			return nil
		}
		_, err := tx.ExecContext(ctx, `UPDATE jobs SET ended = 1 WHERE id = ?`, c.ID)
		return err
	})
}

// Done implements queue.Store.
func (j *Jobs) Done(ctx context.Context, c queue.Claim, x *execution.Execution) error {
	return j.held(ctx, "end", c, x, func(tx *sql.Tx) error {
		if x.Status == execution.StatusDead {
			_, err := tx.ExecContext(ctx, `UPDATE jobs SET state = ?, letter = (SELECT record FROM executions WHERE executions.id = jobs.id)
				WHERE id = ?`, stateDead, c.ID)
			return err
		}
		return remove(ctx, tx, c.ID, x.Status != execution.StatusSucceeded)
	})
}

// remove removes a job; its entry may stay with its execution.
func remove(ctx context.Context, tx *sql.Tx, id string, keep bool) error {
	if keep {
		_, err := tx.ExecContext(ctx, `UPDATE executions SET job = (SELECT entry FROM jobs WHERE jobs.id = executions.id) WHERE id = ?`, id)
		if err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM jobs WHERE id = ?`, id)
	return err
}

// Again implements queue.Store.
func (j *Jobs) Again(ctx context.Context, c queue.Claim, x *execution.Execution, after time.Duration, uncounted bool) error {
	attempt := c.Attempt
	if uncounted {
		attempt--
	}
	return j.held(ctx, "put back", c, x, func(tx *sql.Tx) error {
		state, at := place(nowMS()+after.Milliseconds(), c.Priority.HeadStart().Milliseconds())
		_, err := tx.ExecContext(ctx, `UPDATE jobs SET state = ?, at = ?, attempt = ? WHERE id = ?`, state, at, attempt, c.ID)
		return err
	})
}

// Cancel implements queue.Store.
func (j *Jobs) Cancel(ctx context.Context, x *execution.Execution, keep bool) (ended bool, err error) {
	row, err := rowOf(x)
	if err != nil {
		return false, fmt.Errorf("cancel job: %w", err)
	}
	err = j.store.update(ctx, func(tx *sql.Tx) error {
		var state int
		err := tx.QueryRowContext(ctx, `SELECT state FROM jobs WHERE id = ? AND state <> ? AND NOT ended`, x.ID, stateDead).Scan(&state)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return queue.ErrNoJob
		case err != nil:
			return err
		case state == stateClaimed:
			_, err := tx.ExecContext(ctx, `UPDATE jobs SET cancelled = 1 WHERE id = ?`, x.ID)
			return err
		}
		ended = true
		if err := j.save(ctx, tx, row); err != nil {
			return err
		}
		if keep {
			_, err := tx.ExecContext(ctx, `UPDATE jobs SET ended = 1, state = ?, at = ? WHERE id = ?`, stateInLine, nowMS(), x.ID)
			return err
		}
		return remove(ctx, tx, x.ID, true)
	})
	if err != nil {
		return false, fmt.Errorf("cancel job: %w", classify(err))
	}
	return ended, nil
}

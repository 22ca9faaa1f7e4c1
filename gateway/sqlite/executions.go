package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"

	"attune/gateway/execution"
)

const saveSQL = `INSERT INTO executions (id, created_at, action, status, record, stdout, stderr, result)
	VALUES (?, ?, ?, ?, ?, ?, ?, ?)
	ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at, action = excluded.action, status = excluded.status,
	record = excluded.record, stdout = excluded.stdout, stderr = excluded.stderr, result = excluded.result`

// Save implements execution.Store: all of them in one transaction, or none.
func (s *Store) Save(ctx context.Context, executions ...*execution.Execution) error {
	rows := make([][]any, len(executions))
	for i, e := range executions {
		var err error
		if rows[i], err = rowOf(e); err != nil {
			return fmt.Errorf("save executions: %w", err)
		}
	}
	if err := s.insert(ctx, rows); err != nil {
		return fmt.Errorf("save executions: %w", classify(err))
	}
	return nil
}

// rowOf are the parameters of saveSQL.
func rowOf(e *execution.Execution) ([]any, error) {
	packed, err := e.Stored()
	if err != nil {
		return nil, err
	}
	return []any{
		e.ID, packed.Position.CreatedAt, e.Action, e.Status,
		string(packed.Record), []byte(packed.Stdout), []byte(packed.Stderr), text(packed.Result),
	}, nil
}

func (s *Store) insert(ctx context.Context, rows [][]any) error {
	if len(rows) == 0 {
		return nil
	}
	if len(rows) == 1 { // a statement is a transaction
		_, err := s.save.ExecContext(ctx, rows[0]...)
		return err
	}
	return s.update(ctx, func(tx *sql.Tx) error {
		save := tx.StmtContext(ctx, s.save)
		for _, row := range rows {
			if _, err := save.ExecContext(ctx, row...); err != nil {
				return err
			}
		}
		return nil
	})
}

// update runs change in a transaction of the writer.
func (s *Store) update(ctx context.Context, change func(*sql.Tx) error) error {
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := change(tx); err != nil {
		if rollback := tx.Rollback(); !errors.Is(rollback, sql.ErrTxDone) { // done: ctx ended it
			err = errors.Join(err, rollback)
		}
		return err
	}
	return tx.Commit()
}

// text is NULL for nil.
func text(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// Get implements execution.Store.
func (s *Store) Get(ctx context.Context, id string) (*execution.Execution, error) {
	var stored execution.Stored
	row := s.reader.QueryRowContext(ctx, `SELECT record, stdout, stderr, result FROM executions WHERE id = ?`, id)
	err := row.Scan(&stored.Record, &stored.Stdout, &stored.Stderr, &stored.Result)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, execution.ErrNoExecution
	}
	if err != nil {
		return nil, fmt.Errorf("get execution: %w", classify(err))
	}
	return stored.Execution()
}

// List implements execution.Store.
func (s *Store) List(ctx context.Context, query execution.Query) (execution.Page, error) {
	statement, arguments, err := selection(query)
	if err != nil {
		return execution.Page{}, err
	}
	rows, err := s.reader.QueryContext(ctx, statement, arguments...)
	if err != nil {
		return execution.Page{}, fmt.Errorf("list executions: %w", classify(err))
	}
	found, err := collect(rows)
	if err != nil {
		return execution.Page{}, fmt.Errorf("list executions: %w", classify(err))
	}
	return execution.NewPage(query, found)
}

// selection is the statement for a query: a page and one more, by which one
// knows whether it is the last.
func selection(query execution.Query) (statement string, arguments []any, err error) {
	var where []string
	filter := func(condition string, values ...any) {
		where = append(where, condition)
		arguments = append(arguments, values...)
	}
	if query.Action != "" {
		filter(`action = ?`, query.Action)
	}
	if query.Status != "" {
		filter(`status = ?`, query.Status)
	}
	if !query.Since.IsZero() {
		filter(`created_at >= ?`, execution.UnixNano(query.Since))
	}
	if query.Cursor != "" {
		after, err := execution.ParseCursor(query.Cursor)
		if err != nil {
			return "", nil, err
		}
		filter(`(created_at, id) < (?, ?)`, after.CreatedAt, after.ID)
	}
	statement = `SELECT record FROM executions WHERE ` + and(where) + ` ORDER BY created_at DESC, id DESC LIMIT ?`
	return statement, append(arguments, query.PageSize()+1), nil
}

func collect(rows *sql.Rows) (_ []*execution.Execution, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	found := []*execution.Execution{}
	for rows.Next() {
		var stored execution.Stored
		if err := rows.Scan(&stored.Record); err != nil {
			return nil, err
		}
		e, err := stored.Execution()
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	return found, rows.Err()
}

// pruneBatch is how many a transaction of Prune deletes at most, so that a Save
// never waits for long.
const pruneBatch = 500

// Prune implements execution.Store, oldest first.
func (s *Store) Prune(ctx context.Context, before time.Time, keep int) (removed int, err error) {
	// The newest that has to go for its age, then the one for the count.
	last := execution.Position{CreatedAt: math.MinInt64}
	if !before.IsZero() {
		last.CreatedAt = execution.UnixNano(before) // no ID: before all of that moment
	}
	if keep >= 0 {
		row := s.reader.QueryRowContext(ctx, `SELECT created_at, id FROM executions WHERE (created_at, id) > (?, ?)
			ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET ?`, last.CreatedAt, last.ID, keep)
		err := row.Scan(&last.CreatedAt, &last.ID)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, fmt.Errorf("prune executions: %w", classify(err))
		}
	}
	for {
		result, err := s.writer.ExecContext(ctx, `DELETE FROM executions WHERE rowid IN (SELECT rowid FROM executions
			WHERE (created_at, id) <= (?, ?) ORDER BY created_at, id LIMIT ?)`, last.CreatedAt, last.ID, pruneBatch)
		if err != nil {
			return removed, fmt.Errorf("prune executions: %w", classify(err))
		}
		n, err := result.RowsAffected()
		removed += int(n)
		if err != nil || n < pruneBatch {
			return removed, err
		}
	}
}

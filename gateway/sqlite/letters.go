package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// Find implements queue.Store.
func (j *Jobs) Find(ctx context.Context, id string) (queue.Entry, error) {
	var encoded sql.NullString
	err := j.store.reader.QueryRowContext(ctx, `SELECT coalesce((SELECT entry FROM jobs WHERE id = ?1), (SELECT job FROM executions WHERE id = ?1))`, id).
		Scan(&encoded)
	if err != nil {
		return queue.Entry{}, fmt.Errorf("find job: %w", classify(err))
	}
	if !encoded.Valid {
		return queue.Entry{}, queue.ErrNoJob
	}
	return queue.DecodeEntry([]byte(encoded.String))
}

// Dead implements queue.Store.
func (j *Jobs) Dead(ctx context.Context, after string, limit int) (letters []queue.Letter, next string, err error) {
	if after == "" {
		after = "~" // behind every ID
	}
	rows, err := j.store.reader.QueryContext(ctx, `SELECT entry, letter FROM jobs WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?`,
		stateDead, after, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list dead jobs: %w", classify(err))
	}
	letters, err = scanAll(rows, func(rows *sql.Rows) (queue.Letter, error) { return scanLetter(rows) })
	if err != nil {
		return nil, "", fmt.Errorf("list dead jobs: %w", classify(err))
	}
	if len(letters) > limit {
		letters = letters[:limit]
		next = letters[limit-1].ID
	}
	return letters, next, nil
}

// Letter implements queue.Store.
func (j *Jobs) Letter(ctx context.Context, id string) (queue.Letter, error) {
	letter, err := scanLetter(j.store.reader.QueryRowContext(ctx, `SELECT entry, letter FROM jobs WHERE id = ? AND state = ?`, id, stateDead))
	if errors.Is(err, sql.ErrNoRows) {
		return letter, queue.ErrNoJob
	}
	if err != nil {
		return letter, fmt.Errorf("show dead job: %w", classify(err))
	}
	return letter, nil
}

func scanLetter(row interface{ Scan(...any) error }) (letter queue.Letter, err error) {
	var entry, record string
	if err := row.Scan(&entry, &record); err != nil {
		return letter, err
	}
	if letter.Entry, err = queue.DecodeEntry([]byte(entry)); err != nil {
		return letter, err
	}
	letter.Execution, err = (execution.Stored{Record: []byte(record)}).Execution()
	return letter, err
}

// Discard implements queue.Store.
func (j *Jobs) Discard(ctx context.Context, id string) error {
	err := changed(j.store.writer.ExecContext(ctx, `DELETE FROM jobs WHERE id = ? AND state = ?`, id, stateDead))
	if err != nil && !errors.Is(err, queue.ErrNoJob) {
		return fmt.Errorf("discard job: %w", classify(err))
	}
	return err
}

// Stats implements queue.Store.
func (j *Jobs) Stats(ctx context.Context) (s queue.Stats, err error) {
	err = j.store.reader.QueryRowContext(ctx, `SELECT jobs, (SELECT count(*) FROM jobs WHERE state = ?), (SELECT count(*) FROM jobs WHERE state = ?)
		FROM backlog`, stateClaimed, stateDead).Scan(&s.Waiting, &s.Claimed, &s.Dead)
	if err != nil {
		return s, fmt.Errorf("count jobs: %w", classify(err))
	}
	s.Waiting -= s.Claimed
	return s, nil
}

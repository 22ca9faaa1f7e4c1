package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"attune/gateway/queue"
)

// Claim implements queue.Store. Looking for nothing writes nothing.
func (j *Jobs) Claim(ctx context.Context, ask queue.Ask) (claims []queue.Claim, err error) {
	now := nowMS()
	var something bool
	err = j.store.reader.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM jobs WHERE state IN (?, ?) AND at <= ?)
		OR EXISTS (SELECT 1 FROM jobs WHERE state = ?)`, stateDelayed, stateClaimed, now, stateInLine).Scan(&something)
	if err == nil && something {
		err = j.store.update(ctx, func(tx *sql.Tx) error {
			claims, err = j.claim(ctx, tx, ask, now)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("claim jobs: %w", classify(err))
	}
	return claims, nil
}

func (j *Jobs) claim(ctx context.Context, tx *sql.Tx, ask queue.Ask, now int64) ([]queue.Claim, error) {
	// What is due, and what nobody renews.
	_, err := tx.ExecContext(ctx, `UPDATE jobs SET at = CASE state WHEN ?1 THEN at ELSE ?4 END - start, state = ?2
		WHERE state IN (?1, ?3) AND at <= ?4`, stateDelayed, stateInLine, stateClaimed, now)
	if err != nil {
		return nil, err
	}
	running, err := runningClaims(ctx, tx)
	if err != nil {
		return nil, err
	}
	var claims []queue.Claim
	for len(claims) < ask.Most {
		lanes, err := lanesInTurn(ctx, tx)
		if err != nil {
			return nil, err
		}
		open := slices.IndexFunc(lanes, func(lane string) bool { return running.admit(ask, lane) })
		if open < 0 {
			return claims, nil
		}
		c, err := j.take(ctx, tx, ask, lanes[open], now)
		if err != nil {
			return nil, err
		}
		running.add(lanes[open], 1)
		claims = append(claims, c)
	}
	return claims, nil
}

// lanesInTurn are the lanes that have a job in line: those of the pack first
// that had its turn the longest time ago, and of one pack's, that whose first job
// has the lowest rank. It takes a step for each lane, not for each job.
func lanesInTurn(ctx context.Context, tx *sql.Tx) ([]string, error) {
	rows, err := tx.QueryContext(ctx, `WITH RECURSIVE lanes (lane) AS (
			SELECT min(lane) FROM jobs WHERE state = ?1
			UNION ALL
			SELECT (SELECT min(lane) FROM jobs WHERE state = ?1 AND lane > lanes.lane) FROM lanes WHERE lane IS NOT NULL
		)
		SELECT lane FROM lanes LEFT JOIN turns ON pack = substr(lane, 1, instr(lane, '.') - 1) WHERE lane IS NOT NULL
		ORDER BY turn, pack, (SELECT min(at) FROM jobs WHERE state = ?1 AND jobs.lane = lanes.lane)`, stateInLine)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, func(rows *sql.Rows) (lane string, err error) {
		err = rows.Scan(&lane)
		return lane, err
	})
}

// take claims the first job of a lane, and moves its pack behind the others.
func (j *Jobs) take(ctx context.Context, tx *sql.Tx, ask queue.Ask, lane string, now int64) (queue.Claim, error) {
	c := queue.Claim{Owner: ask.Owner}
	var encoded string
	err := tx.QueryRowContext(ctx, `UPDATE jobs SET state = ?, at = ?, owner = ?, turn = turn + 1, attempt = attempt + 1
		WHERE id = (SELECT id FROM jobs WHERE state = ? AND lane = ? ORDER BY at, id LIMIT 1)
		RETURNING entry, turn, attempt, ended, cancelled`,
		stateClaimed, now+ask.Lease.Milliseconds(), ask.Owner, stateInLine, lane).
		Scan(&encoded, &c.Turn, &c.Attempt, &c.Ended, &c.Cancelled)
	if err != nil {
		return c, err
	}
	if c.Entry, err = queue.DecodeEntry([]byte(encoded)); err != nil {
		return c, err
	}
	pack, _, _ := strings.Cut(lane, ".")
	_, err = tx.ExecContext(ctx, `INSERT INTO turns (pack, turn) SELECT ?, coalesce(max(turn), 0) + 1 FROM turns WHERE true
		ON CONFLICT (pack) DO UPDATE SET turn = excluded.turn`, pack)
	return c, err
}

// laneClaims counts the claims of actions and of API keys.
type laneClaims struct{ actions, keys map[string]int }

func runningClaims(ctx context.Context, tx *sql.Tx) (laneClaims, error) {
	counts := laneClaims{map[string]int{}, map[string]int{}}
	rows, err := tx.QueryContext(ctx, `SELECT lane, count(*) FROM jobs WHERE state = ? GROUP BY lane`, stateClaimed)
	if err != nil {
		return counts, err
	}
	_, err = scanAll(rows, func(rows *sql.Rows) (none struct{}, err error) {
		var lane string
		var n int
		err = rows.Scan(&lane, &n)
		counts.add(lane, n)
		return none, err
	})
	return counts, err
}

func (c laneClaims) add(lane string, n int) {
	action, caller, _ := strings.Cut(lane, "|")
	c.actions[action] += n
	if caller != "" {
		c.keys[caller] += n
	}
}

// admit tells whether one more job of a lane may run.
func (c laneClaims) admit(ask queue.Ask, lane string) bool {
	action, caller, _ := strings.Cut(lane, "|")
	if most, bounded := ask.Actions[action]; bounded && c.actions[action] >= most {
		return false
	}
	return ask.PerKey == 0 || caller == "" || c.keys[caller] < ask.PerKey
}

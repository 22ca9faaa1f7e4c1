package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// Jobs is a queue.Store in Redis, beside the executions.
//
//	attune:queue:job:<id>      hash: entry, lane, start, state (delayed, line, claimed, dead), attempt, turn, owner, ended, cancelled, letter
//	attune:queue:delayed       sorted set of ids by when they are due
//	attune:queue:lane:<lane>   … by rank, of jobs of one action and API key that are due
//	attune:queue:lanes:<pack>  … of lanes, by the rank of their first job
//	attune:queue:packs         … of packs that have a lane, by when they had their last turn
//	attune:queue:turn          the turns that packs have had
//	attune:queue:claims        sorted set of ids by when their claims end
//	attune:queue:dead          sorted set of ids, all of score 0
//	attune:queue:counts        hash: all = jobs that aren't dead, action:<action> and key:<id> = claims
//
// It is scripts of our own, as the leases are, and no library. What we promise
// needs one step over all of this: a claim that heeds the turns of packs and the
// claims of an action on all gateways, and an end that is one execution's only
// if its claim still holds. Of asynq's queues one names the set and its weights
// when a server starts, its handlers know of no bounds but the server's own, and
// its archive and our record of the execution would be two steps.
type Jobs struct {
	client *Client
}

var _ queue.Store = (*Jobs)(nil)

// Jobs keeps jobs in this Redis.
func (c *Client) Jobs() *Jobs { return &Jobs{client: c} }

// run runs a script with further arguments behind which those of an execution
// come, if there is one.
func (j *Jobs) run(ctx context.Context, what string, script *goredis.Script, x *execution.Execution, arguments ...any) (*goredis.Cmd, error) {
	if x != nil {
		stored, err := x.Stored()
		if err != nil {
			return nil, fmt.Errorf("%s job: %w", what, err)
		}
		arguments = append(arguments, recordArguments(x, stored)...)
	}
	command := script.Run(ctx, j.client.redis, []string{j.client.prefix}, arguments...)
	if err := command.Err(); err != nil {
		return nil, fmt.Errorf("%s job: %w", what, classify(err))
	}
	return command, nil
}

// Add implements queue.Store.
func (j *Jobs) Add(ctx context.Context, a queue.Addition) (bool, error) {
	entry, err := a.Encode()
	if err != nil {
		return false, err
	}
	due := int64(0)
	if !a.NotBefore.IsZero() {
		due = max(a.NotBefore.UnixMilli(), 1)
	}
	reply, err := j.run(ctx, "add", addScript, a.Execution,
		entry, a.Lane(), a.Priority.HeadStart().Milliseconds(), due, a.Most, a.Instead)
	if err != nil {
		return false, err
	}
	switch n, err := reply.Int(); n {
	case -1:
		return false, queue.ErrFull
	case -2:
		return false, queue.ErrNoJob
	default:
		return n == 1, err
	}
}

// Claim implements queue.Store.
func (j *Jobs) Claim(ctx context.Context, ask queue.Ask) ([]queue.Claim, error) {
	arguments := []any{ask.Owner, ask.Most, ask.Lease.Milliseconds(), ask.PerKey}
	for action, most := range ask.Actions {
		arguments = append(arguments, action, most)
	}
	reply, err := j.run(ctx, "claim", claimScript, nil, arguments...)
	if err != nil {
		return nil, err
	}
	rows, err := reply.Slice()
	if err != nil {
		return nil, fmt.Errorf("claim jobs: %w", err)
	}
	claims := make([]queue.Claim, len(rows))
	for i, row := range rows {
		if claims[i], err = claimOf(row, ask.Owner); err != nil {
			return nil, fmt.Errorf("claim jobs: %w", err)
		}
	}
	return claims, nil
}

func claimOf(row any, owner string) (queue.Claim, error) {
	fields, _ := row.([]any)
	if len(fields) != 5 {
		return queue.Claim{}, fmt.Errorf("the reply has %d fields", len(fields))
	}
	encoded, _ := fields[0].(string)
	entry, err := queue.DecodeEntry([]byte(encoded))
	if err != nil {
		return queue.Claim{}, err
	}
	var numbers [4]int64
	for i := range numbers {
		numbers[i], _ = fields[i+1].(int64)
	}
	return queue.Claim{
		Entry: entry, Owner: owner, Turn: numbers[0], Attempt: int(numbers[1]), Ended: numbers[2] == 1, Cancelled: numbers[3] == 1,
	}, nil
}

// Renew implements queue.Store.
func (j *Jobs) Renew(ctx context.Context, lease time.Duration, claims ...queue.Claim) ([]queue.Standing, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	arguments := []any{claims[0].Owner, lease.Milliseconds()}
	for _, c := range claims {
		arguments = append(arguments, c.ID, c.Turn)
	}
	reply, err := j.run(ctx, "renew", renewClaimsScript, nil, arguments...)
	if err != nil {
		return nil, err
	}
	numbers, err := reply.Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("renew jobs: %w", err)
	}
	standings := make([]queue.Standing, len(numbers))
	for i, n := range numbers {
		standings[i] = queue.Standing(n)
	}
	return standings, nil
}

// held runs a script that does something only while a claim holds.
func (j *Jobs) held(ctx context.Context, what string, script *goredis.Script, c queue.Claim, x *execution.Execution, more ...any) error {
	arguments := append([]any{c.Owner, strconv.FormatInt(c.Turn, 10)}, more...)
	reply, err := j.run(ctx, what, script, x, arguments...)
	if err != nil {
		return err
	}
	if n, err := reply.Int(); err != nil || n != 1 {
		return queue.ErrLost
	}
	return nil
}

// Note implements queue.Store.
func (j *Jobs) Note(ctx context.Context, c queue.Claim, x *execution.Execution) error {
	return j.held(ctx, "note", noteScript, c, x, flag(x.Status.Ended()))
}

// Done implements queue.Store.
func (j *Jobs) Done(ctx context.Context, c queue.Claim, x *execution.Execution) error {
	return j.held(ctx, "end", doneScript, c, x)
}

// Again implements queue.Store.
func (j *Jobs) Again(ctx context.Context, c queue.Claim, x *execution.Execution, after time.Duration, uncounted bool) error {
	return j.held(ctx, "put back", againScript, c, x, after.Milliseconds(), flag(uncounted))
}

// Cancel implements queue.Store.
func (j *Jobs) Cancel(ctx context.Context, x *execution.Execution, keep bool) (ended bool, err error) {
	reply, err := j.run(ctx, "cancel", cancelScript, x, flag(keep))
	if err != nil {
		return false, err
	}
	n, err := reply.Int()
	if err == nil && n == 0 {
		err = queue.ErrNoJob
	}
	return n == 1, err
}

func flag(is bool) int {
	if is {
		return 1
	}
	return 0
}

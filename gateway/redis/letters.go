package redis

import (
	"context"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/execution"
	"attune/gateway/queue"
)

// Find implements queue.Store.
func (j *Jobs) Find(ctx context.Context, id string) (queue.Entry, error) {
	for _, at := range []struct{ key, field string }{{jobName, "entry"}, {recordName, "job"}} {
		encoded, err := j.client.redis.HGet(ctx, j.client.prefix+at.key+id, at.field).Bytes()
		if errors.Is(err, goredis.Nil) {
			continue
		}
		if err != nil {
			return queue.Entry{}, fmt.Errorf("find job: %w", classify(err))
		}
		return queue.DecodeEntry(encoded)
	}
	return queue.Entry{}, queue.ErrNoJob
}

// letterScript reads dead letters.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  ID that they come after, with (; + for the first
//	ARGV[2]  how many
//	returns  for each: entry, record
var letterScript = goredis.NewScript(`
local q, letters = KEYS[1] .. '` + queueName + `', {}
for _, id in ipairs(redis.call('ZRANGE', q .. 'dead', ARGV[1], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[2])) do
  letters[#letters + 1] = redis.call('HMGET', KEYS[1] .. '` + jobName + `' .. id, 'entry', 'letter')
end
return letters
`)

// Dead implements queue.Store.
func (j *Jobs) Dead(ctx context.Context, after string, limit int) (letters []queue.Letter, next string, err error) {
	from := "+"
	if after != "" {
		from = "(" + after
	}
	reply, err := j.run(ctx, "list dead", letterScript, nil, from, limit+1)
	if err != nil {
		return nil, "", err
	}
	rows, err := reply.Slice()
	if err != nil {
		return nil, "", fmt.Errorf("list dead jobs: %w", err)
	}
	for _, row := range rows {
		if len(letters) == limit {
			return letters, letters[limit-1].ID, nil
		}
		fields, _ := row.([]any)
		letter, err := letterOf(fields)
		if err != nil {
			return nil, "", err
		}
		letters = append(letters, letter)
	}
	return letters, "", nil
}

// Letter implements queue.Store.
func (j *Jobs) Letter(ctx context.Context, id string) (queue.Letter, error) {
	fields, err := j.client.redis.HMGet(ctx, j.client.prefix+jobName+id, "entry", "letter").Result()
	if err != nil {
		return queue.Letter{}, fmt.Errorf("show dead job: %w", classify(err))
	}
	if fields[1] == nil {
		return queue.Letter{}, queue.ErrNoJob
	}
	return letterOf(fields)
}

func letterOf(fields []any) (queue.Letter, error) {
	if len(fields) != 2 {
		return queue.Letter{}, fmt.Errorf("decode dead job: the reply has %d fields", len(fields))
	}
	encoded, _ := fields[0].(string)
	record, _ := fields[1].(string)
	entry, err := queue.DecodeEntry([]byte(encoded))
	if err != nil {
		return queue.Letter{}, err
	}
	x, err := (execution.Stored{Record: []byte(record)}).Execution()
	return queue.Letter{Entry: entry, Execution: x}, err
}

// discardScript removes a dead letter.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  ID
//	returns  1 removed, 0 there is none
var discardScript = goredis.NewScript(`
if redis.call('ZREM', KEYS[1] .. '` + queueName + `dead', ARGV[1]) == 0 then return 0 end
return redis.call('DEL', KEYS[1] .. '` + jobName + `' .. ARGV[1])
`)

// Discard implements queue.Store.
func (j *Jobs) Discard(ctx context.Context, id string) error {
	reply, err := j.run(ctx, "discard", discardScript, nil, id)
	if err != nil {
		return err
	}
	if n, err := reply.Int(); err != nil || n == 0 {
		return queue.ErrNoJob
	}
	return nil
}

// Stats implements queue.Store.
func (j *Jobs) Stats(ctx context.Context) (queue.Stats, error) {
	prefix := j.client.prefix + queueName
	pipe := j.client.redis.TxPipeline()
	all, claimed, dead := pipe.HGet(ctx, prefix+"counts", "all"), pipe.ZCard(ctx, prefix+"claims"), pipe.ZCard(ctx, prefix+"dead")
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return queue.Stats{}, fmt.Errorf("count jobs: %w", classify(err))
	}
	n, err := all.Int()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return queue.Stats{}, fmt.Errorf("count jobs: %w", err)
	}
	return queue.Stats{Waiting: n - int(claimed.Val()), Claimed: int(claimed.Val()), Dead: int(dead.Val())}, nil
}

package redis

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/idempotency"
)

// Idempotency is an idempotency.Store in Redis: attune:idempotency:<id> is a hash
// of what stands under a key, and expires. Times are those of Redis, for gateways
// may not agree on one.
type Idempotency struct {
	client *Client
}

var _ idempotency.Store = (*Idempotency)(nil)

// Idempotency keeps the keys of calls in this Redis.
func (c *Client) Idempotency() *Idempotency { return &Idempotency{client: c} }

const idempotencyName = "idempotency:"

func (i *Idempotency) keys(claim idempotency.Claim) []string {
	return []string{i.client.prefix + idempotencyName + claim.ID}
}

// claimKeyScript claims a key.
//
//	KEYS[1]  the key
//	ARGV[1]  fingerprint
//	ARGV[2]  execution
//	ARGV[3]  lease in milliseconds
//	ARGV[4]  how long to keep it, in milliseconds
//	returns  nothing if it is the execution's; otherwise fingerprint, execution,
//	         1 if the claim has lapsed or 0, and, where there is one, answer and body
var claimKeyScript = goredis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'fingerprint', 'execution', 'lapses', 'answer', 'body')
if not held[2] then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'execution', ARGV[2], 'lapses', string.format('%.0f', now + ARGV[3]))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return {}
end
if held[2] == ARGV[2] and not held[4] then return {} end
local lapsed = '0'
if now >= tonumber(held[3]) then lapsed = '1' end
if held[4] then return {held[1], held[2], lapsed, held[4], held[5]} end
return {held[1], held[2], lapsed}
`)

// Claim implements idempotency.Store.
func (i *Idempotency) Claim(ctx context.Context, claim idempotency.Claim) (*idempotency.Held, error) {
	found, err := claimKeyScript.Run(ctx, i.client.redis, i.keys(claim),
		claim.Fingerprint, claim.Execution, claim.Lease.Milliseconds(), claim.Keep.Milliseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("claim key: %w", classify(err))
	}
	if len(found) < 3 {
		return nil, nil
	}
	held := &idempotency.Held{Fingerprint: found[0], Execution: found[1], Lapsed: found[2] == "1"}
	if len(found) == 5 {
		if held.Answer, err = idempotency.ParseAnswer([]byte(found[3]), []byte(found[4])); err != nil {
			return nil, fmt.Errorf("claim key: %w", err)
		}
	}
	return held, nil
}

// completeKeyScript puts an answer in the place of a claim.
//
//	KEYS[1]  the key
//	ARGV[1]  fingerprint
//	ARGV[2]  execution
//	ARGV[3]  how long to keep it, in milliseconds
//	ARGV[4]  answer
//	ARGV[5]  body
//	returns  1, or 0 if the key is another execution's
var completeKeyScript = goredis.NewScript(`
local execution = redis.call('HGET', KEYS[1], 'execution')
if execution and execution ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'execution', ARGV[2], 'lapses', '0', 'answer', ARGV[4], 'body', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`)

// Complete implements idempotency.Store.
func (i *Idempotency) Complete(ctx context.Context, claim idempotency.Claim, answer idempotency.Answer) error {
	head, err := answer.Head()
	if err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	body := answer.Body
	if body == nil {
		body = []byte{}
	}
	done, err := completeKeyScript.Run(ctx, i.client.redis, i.keys(claim),
		claim.Fingerprint, claim.Execution, claim.Keep.Milliseconds(), head, body).Int()
	if err != nil {
		return fmt.Errorf("keep answer: %w", classify(err))
	}
	if done == 0 {
		return idempotency.ErrLost
	}
	return nil
}

// releaseKeyScript frees a key that has no answer.
//
//	KEYS[1]  the key
//	ARGV[1]  the execution whose it must be
//	returns  how many keys were freed
var releaseKeyScript = goredis.NewScript(`
local held = redis.call('HMGET', KEYS[1], 'execution', 'answer')
if held[1] ~= ARGV[1] or held[2] then return 0 end
return redis.call('DEL', KEYS[1])
`)

// Release implements idempotency.Store.
func (i *Idempotency) Release(ctx context.Context, claim idempotency.Claim) error {
	if err := releaseKeyScript.Run(ctx, i.client.redis, i.keys(claim), claim.Execution).Err(); err != nil {
		return fmt.Errorf("release key: %w", classify(err))
	}
	return nil
}

package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/callback"
)

// Callbacks is a callback.Store in Redis: attune:callbacks has the IDs by when
// they are due, attune:callback:<id> is a hash of the rest. Nothing expires. Times
// are those of Redis, in milliseconds.
type Callbacks struct {
	client *Client
}

var _ callback.Store = (*Callbacks)(nil)

// Callbacks keeps deliveries in this Redis.
func (c *Client) Callbacks() *Callbacks { return &Callbacks{client: c} }

const (
	callbacksName = "callbacks"
	callbackName  = "callback:"
)

// keys are the index, and the hash of one delivery; for an empty ID what all
// hashes begin with.
func (c *Callbacks) keys(id string) []string {
	return []string{c.client.prefix + callbacksName, c.client.prefix + callbackName + id}
}

// redisNow is the beginning of scripts that need the time.
const redisNow = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

// putCallbackScript stores a delivery unless it is there.
//
//	KEYS[1]  the index
//	KEYS[2]  the delivery's hash
//	ARGV[1]  id
//	ARGV[2]  url
//	ARGV[3]  body
//	ARGV[4]  when it was made
//	ARGV[5]  attempts
//	returns  1 if it was stored
var putCallbackScript = goredis.NewScript(redisNow + `
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[2], 'url', ARGV[2], 'body', ARGV[3], 'created', ARGV[4], 'attempts', ARGV[5])
redis.call('ZADD', KEYS[1], now, ARGV[1])
return 1
`)

// Put implements callback.Store.
func (c *Callbacks) Put(ctx context.Context, d callback.Delivery) error {
	err := putCallbackScript.Run(ctx, c.client.redis, c.keys(d.ID),
		d.ID, d.URL, append([]byte{}, d.Body...), d.Created.UnixMilli(), d.Attempts).Err()
	if err != nil {
		return fmt.Errorf("put callback: %w", classify(err))
	}
	return nil
}

// takeCallbacksScript gives out what is due.
//
//	KEYS[1]  the index
//	KEYS[2]  what the key of a delivery is without its id
//	ARGV[1]  how many at most
//	ARGV[2]  lease in milliseconds
//	returns  for each: id, url, body, when it was made, attempts
var takeCallbacksScript = goredis.NewScript(redisNow + `
local taken = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])) do
  local key = KEYS[2] .. id
  local is = redis.call('HMGET', key, 'url', 'body', 'created')
  if is[1] then
    redis.call('ZADD', KEYS[1], now + ARGV[2], id)
    local attempts = redis.call('HINCRBY', key, 'attempts', 1)
    for _, value in ipairs({id, is[1], is[2], is[3], tostring(attempts)}) do taken[#taken + 1] = value end
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return taken
`)

// Take implements callback.Store.
func (c *Callbacks) Take(ctx context.Context, most int, lease time.Duration) ([]callback.Delivery, error) {
	if most < 1 {
		return nil, nil
	}
	values, err := takeCallbacksScript.Run(ctx, c.client.redis, c.keys(""), most, lease.Milliseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("take callbacks: %w", classify(err))
	}
	var taken []callback.Delivery
	for ; len(values) >= 5; values = values[5:] {
		created, wrong := strconv.ParseInt(values[3], 10, 64)
		attempts, bad := strconv.Atoi(values[4])
		if wrong != nil || bad != nil {
			return nil, fmt.Errorf("take callbacks: callback of execution %s is damaged", values[0])
		}
		taken = append(taken, callback.Delivery{
			ID: values[0], URL: values[1], Body: []byte(values[2]), Created: time.UnixMilli(created).UTC(), Attempts: attempts,
		})
	}
	return taken, nil
}

// laterCallbackScript puts a delivery off.
//
//	KEYS[1]  the index
//	KEYS[2]  the delivery's hash
//	ARGV[1]  id
//	ARGV[2]  attempts that it must have
//	ARGV[3]  how long, in milliseconds
//	returns  1 if it was put off
var laterCallbackScript = goredis.NewScript(redisNow + `
if redis.call('HGET', KEYS[2], 'attempts') ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
return 1
`)

// Later implements callback.Store.
func (c *Callbacks) Later(ctx context.Context, d callback.Delivery, after time.Duration) error {
	err := laterCallbackScript.Run(ctx, c.client.redis, c.keys(d.ID), d.ID, d.Attempts, after.Milliseconds()).Err()
	if err != nil {
		return fmt.Errorf("put callback off: %w", classify(err))
	}
	return nil
}

// doneCallbackScript forgets a delivery.
//
//	KEYS[1]  the index
//	KEYS[2]  the delivery's hash
//	ARGV[1]  id
//	returns  how many were forgotten
var doneCallbackScript = goredis.NewScript(`
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
`)

// Done implements callback.Store.
func (c *Callbacks) Done(ctx context.Context, id string) error {
	if err := doneCallbackScript.Run(ctx, c.client.redis, c.keys(id), id).Err(); err != nil {
		return fmt.Errorf("forget callback: %w", classify(err))
	}
	return nil
}

package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/hook"
)

// Hooks is a hook.Store in Redis.
//
//	attune:hook:<hook>             hash: key, created, previous, until
//	attune:hook-key:<key>          the hook whose key it is; of one before, until its time is over
//	attune:hook-mark:<hook>:<id>   hash: digest, execution, owner, pending, done, expires
//	attune:hook-log:<hook>         sorted set of the entries' IDs
//	attune:hook-entry:<hook>:<id>  hash: record, body
//	attune:hook-logs               set of the hooks that have entries
//
// Times are milliseconds since 1970. A hook's ref has no colon.
type Hooks struct {
	client *Client
}

var _ hook.Store = (*Hooks)(nil)

// Hooks keeps in this Redis what hooks must remember.
func (c *Client) Hooks() *Hooks { return &Hooks{client: c} }

// Names behind the prefix.
const (
	hookName      = "hook:"
	hookKeyName   = "hook-key:"
	hookMarkName  = "hook-mark:"
	hookLogName   = "hook-log:"
	hookEntryName = "hook-entry:"
	hookLogsName  = "hook-logs"
)

func milliseconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// addressScript gives a hook an address, unless it has one.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  hook
//	ARGV[2]  the key that it gets
//	ARGV[3]  now
//	returns  key, created, previous (empty: none), until
var addressScript = goredis.NewScript(`
local address = KEYS[1] .. '` + hookName + `' .. ARGV[1]
if redis.call('EXISTS', address) == 0 then
  redis.call('HSET', address, 'key', ARGV[2], 'created', ARGV[3], 'previous', '', 'until', '0')
  redis.call('SET', KEYS[1] .. '` + hookKeyName + `' .. ARGV[2], ARGV[1])
end
return redis.call('HMGET', address, 'key', 'created', 'previous', 'until')
`)

// rotateScript gives a hook another key.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  hook
//	ARGV[2]  the new key
//	ARGV[3]  now
//	ARGV[4]  until when the key before is valid; 0: it is not
//	returns  key, created, previous (empty: none), until
var rotateScript = goredis.NewScript(`
local address, keys = KEYS[1] .. '` + hookName + `' .. ARGV[1], KEYS[1] .. '` + hookKeyName + `'
local old = redis.call('HMGET', address, 'key', 'previous')
local previous = ''
if old[2] and old[2] ~= '' then redis.call('DEL', keys .. old[2]) end
if old[1] then
  if ARGV[4] == '0' then
    redis.call('DEL', keys .. old[1])
  else
    previous = old[1]
    redis.call('PEXPIRE', keys .. previous, tonumber(ARGV[4]) - tonumber(ARGV[3]))
  end
end
redis.call('HSET', address, 'key', ARGV[2], 'created', ARGV[3], 'previous', previous, 'until', ARGV[4])
redis.call('SET', keys .. ARGV[2], ARGV[1])
return redis.call('HMGET', address, 'key', 'created', 'previous', 'until')
`)

// Address implements hook.Addresses.
func (h *Hooks) Address(ctx context.Context, name, key string, now time.Time) (hook.Address, error) {
	return h.address(ctx, addressScript, name, now, key, milliseconds(now))
}

// Rotate implements hook.Addresses.
func (h *Hooks) Rotate(ctx context.Context, name, key string, now, until time.Time) (hook.Address, error) {
	if !until.After(now) {
		until = time.Time{}
	}
	return h.address(ctx, rotateScript, name, now, key, milliseconds(now), milliseconds(until))
}

func (h *Hooks) address(ctx context.Context, script *goredis.Script, name string, now time.Time, arguments ...any) (hook.Address, error) {
	answer, err := script.Run(ctx, h.client.redis, []string{h.client.prefix}, append([]any{name}, arguments...)...).StringSlice()
	if err != nil {
		return hook.Address{}, fmt.Errorf("address of hook: %w", classify(err))
	}
	address := hook.Address{Hook: name, Key: answer[0]}
	created, err := parseMilliseconds(answer[1])
	until, wrong := parseMilliseconds(answer[3])
	if err := errors.Join(err, wrong); err != nil {
		return hook.Address{}, fmt.Errorf("address of hook %s: %w", name, err)
	}
	address.CreatedAt = created
	if until.After(now) {
		address.Previous, address.PreviousUntil = answer[2], until
	}
	return address, nil
}

func parseMilliseconds(text string) (time.Time, error) {
	var n int64
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return time.Time{}, errors.New("a stored time is damaged")
	}
	return time.UnixMilli(n).UTC(), nil
}

// Find implements hook.Addresses.
func (h *Hooks) Find(ctx context.Context, key string, now time.Time) (string, error) {
	name, err := h.client.redis.Get(ctx, h.client.prefix+hookKeyName+key).Result()
	if errors.Is(err, goredis.Nil) {
		return "", hook.ErrNone
	}
	if err != nil {
		return "", fmt.Errorf("find hook: %w", classify(err))
	}
	// Redis' clock lets keys expire, and ours says whether one is valid.
	address, err := h.client.redis.HMGet(ctx, h.client.prefix+hookName+name, "key", "previous", "until").Result()
	if err != nil {
		return "", fmt.Errorf("find hook: %w", classify(err))
	}
	if address[0] == key {
		return name, nil
	}
	text, _ := address[2].(string)
	if until, err := parseMilliseconds(text); err != nil || address[1] != key || !until.After(now) {
		return "", hook.ErrNone
	}
	return name, nil
}

// claimMarkScript stores a mark, unless one is there.
//
//	KEYS[1]  the mark
//	ARGV[1]  digest
//	ARGV[2]  execution
//	ARGV[3]  until when it is pending
//	ARGV[4]  now
//	ARGV[5]  how long it lives
//	returns  digest, execution, owner, pending, done of the mark that is there now
var claimMarkScript = goredis.NewScript(`
local there = redis.call('HMGET', KEYS[1], 'execution', 'pending', 'done', 'expires')
local now, ttl = tonumber(ARGV[4]), tonumber(ARGV[5])
if not there[1] or tonumber(there[4]) <= now then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'execution', ARGV[2], 'owner', ARGV[2],
    'pending', ARGV[3], 'done', '0', 'expires', now + ttl)
  redis.call('PEXPIRE', KEYS[1], ttl)
elseif there[3] == '0' and tonumber(there[2]) <= now then
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'owner', ARGV[2], 'pending', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'digest', 'execution', 'owner', 'pending', 'done')
`)

func (h *Hooks) mark(name, id string) string {
	return h.client.prefix + hookMarkName + name + ":" + id
}

// Claim implements hook.Marks.
func (h *Hooks) Claim(ctx context.Context, mark hook.Mark, now time.Time) (hook.Mark, error) {
	answer, err := claimMarkScript.Run(ctx, h.client.redis, []string{h.mark(mark.Hook, mark.ID)},
		mark.Digest, mark.Execution, milliseconds(mark.Pending), milliseconds(now), hook.MarkTTL.Milliseconds()).StringSlice()
	if err != nil {
		return hook.Mark{}, fmt.Errorf("mark delivery: %w", classify(err))
	}
	pending, err := parseMilliseconds(answer[3])
	if err != nil {
		return hook.Mark{}, fmt.Errorf("mark delivery: %w", err)
	}
	return hook.Mark{Hook: mark.Hook, ID: mark.ID, Digest: answer[0], Execution: answer[1], Owner: answer[2], Pending: pending, Done: answer[4] == "1"}, nil
}

// settleMarkScript completes or removes a mark.
//
//	KEYS[1]  the mark
//	ARGV[1]  its execution
//	ARGV[2]  "done", or "release", which a mark that is done withstands
var settleMarkScript = goredis.NewScript(`
local there = redis.call('HMGET', KEYS[1], 'execution', 'done')
if there[1] ~= ARGV[1] then return 0 end
if ARGV[2] == 'done' then
  redis.call('HSET', KEYS[1], 'done', '1')
elseif there[2] == '0' then
  redis.call('DEL', KEYS[1])
end
return 1
`)

// Done implements hook.Marks.
func (h *Hooks) Done(ctx context.Context, name, id, execution string) error {
	return h.settle(ctx, name, id, execution, "done")
}

// Release implements hook.Marks.
func (h *Hooks) Release(ctx context.Context, name, id, execution string) error {
	return h.settle(ctx, name, id, execution, "release")
}

func (h *Hooks) settle(ctx context.Context, name, id, execution, how string) error {
	if err := settleMarkScript.Run(ctx, h.client.redis, []string{h.mark(name, id)}, execution, how).Err(); err != nil {
		return fmt.Errorf("%s mark: %w", how, classify(err))
	}
	return nil
}

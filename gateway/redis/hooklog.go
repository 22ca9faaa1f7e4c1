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

func (h *Hooks) log(name string) string { return h.client.prefix + hookLogName + name }

func (h *Hooks) entry(name, id string) string {
	return h.client.prefix + hookEntryName + name + ":" + id
}

// Append implements hook.Log.
func (h *Hooks) Append(ctx context.Context, entry hook.Entry) error {
	record, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("log delivery: %w", err)
	}
	_, err = h.client.redis.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		p.HSet(ctx, h.entry(entry.Hook, entry.ID), "record", record, "body", entry.Body)
		p.ZAdd(ctx, h.log(entry.Hook), goredis.Z{Member: entry.ID})
		p.SAdd(ctx, h.client.prefix+hookLogsName, entry.Hook)
		return nil
	})
	if err != nil {
		return fmt.Errorf("log delivery: %w", classify(err))
	}
	return nil
}

// entriesScript reads records, newest first. IDs whose entry Redis has evicted
// are left out.
//
//	KEYS[1]  the log
//	KEYS[2]  what an entry's key is without its ID
//	ARGV[1]  the ID, with (, that all are before; +: the newest
//	ARGV[2]  how many at most
//	returns  IDs and records, by turns
var entriesScript = goredis.NewScript(`
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[1], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[2])) do
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[2] .. id, 'record') or ''
end
return found
`)

// Entries implements hook.Log.
func (h *Hooks) Entries(ctx context.Context, name, before string, limit int) ([]hook.Entry, string, error) {
	newest := "+"
	if before != "" {
		newest = "(" + before
	}
	answer, err := entriesScript.Run(ctx, h.client.redis, []string{h.log(name), h.entry(name, "")}, newest, limit+1).StringSlice()
	if err != nil {
		return nil, "", fmt.Errorf("list deliveries: %w", classify(err))
	}
	next := ""
	if len(answer) > 2*limit {
		answer = answer[:2*limit]
		next = answer[len(answer)-2]
	}
	var found []hook.Entry
	for i := 0; i < len(answer); i += 2 {
		if answer[i+1] == "" {
			continue
		}
		var entry hook.Entry
		if err := json.Unmarshal([]byte(answer[i+1]), &entry); err != nil {
			return nil, "", fmt.Errorf("list deliveries: %w", err)
		}
		found = append(found, entry)
	}
	return found, next, nil
}

// Entry implements hook.Log.
func (h *Hooks) Entry(ctx context.Context, name, id string) (entry hook.Entry, err error) {
	if !hook.IsEntryID(id) {
		return entry, hook.ErrNone
	}
	fields, err := h.client.redis.HMGet(ctx, h.entry(name, id), "record", "body").Result()
	if err != nil {
		return entry, fmt.Errorf("read delivery: %w", classify(err))
	}
	record, there := fields[0].(string)
	if !there {
		return entry, hook.ErrNone
	}
	if err := json.Unmarshal([]byte(record), &entry); err != nil {
		return entry, fmt.Errorf("read delivery: %w", err)
	}
	if body, _ := fields[1].(string); body != "" {
		entry.Body = []byte(body)
	}
	return entry, nil
}

// pruneLogScript removes the oldest entries of a log. Marks and keys expire by
// themselves.
//
//	KEYS[1]  the log
//	KEYS[2]  what an entry's key is without its ID
//	ARGV[1]  the ID, with (, that none may come before; -: any
//	ARGV[2]  how many may stay
//	ARGV[3]  how many to remove at most
//	returns  how many it removed
var pruneLogScript = goredis.NewScript(`
local old = 0
if ARGV[1] ~= '-' then old = redis.call('ZLEXCOUNT', KEYS[1], '-', ARGV[1]) end
local count = math.min(math.max(old, redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[2])), tonumber(ARGV[3]))
if count <= 0 then return 0 end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, count - 1)) do
  redis.call('DEL', KEYS[2] .. id)
  redis.call('ZREM', KEYS[1], id)
end
return count
`)

// forgetLogScript takes a hook without entries off the list of logs.
//
//	KEYS[1]  the log
//	KEYS[2]  the set of hooks that have entries
//	ARGV[1]  the hook
var forgetLogScript = goredis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return redis.call('SREM', KEYS[2], ARGV[1]) end
return 0
`)

// Prune implements hook.Log.
func (h *Hooks) Prune(ctx context.Context, _, before time.Time, keep int) error {
	logs := h.client.prefix + hookLogsName
	names, err := h.client.redis.SMembers(ctx, logs).Result()
	if err != nil {
		return fmt.Errorf("prune deliveries: %w", classify(err))
	}
	oldest := "-"
	if id := hook.FirstID(before); id != "" {
		oldest = "(" + id
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, h.pruneLog(ctx, name, oldest, keep))
		if err := forgetLogScript.Run(ctx, h.client.redis, []string{h.log(name), logs}, name).Err(); err != nil {
			errs = append(errs, fmt.Errorf("prune deliveries: %w", classify(err)))
		}
	}
	return errors.Join(errs...)
}

func (h *Hooks) pruneLog(ctx context.Context, name, oldest string, keep int) error {
	for {
		n, err := pruneLogScript.Run(ctx, h.client.redis, []string{h.log(name), h.entry(name, "")}, oldest, keep, pruneBatch).Int()
		if err != nil {
			return fmt.Errorf("prune deliveries: %w", classify(err))
		}
		if n < pruneBatch {
			return nil
		}
	}
}

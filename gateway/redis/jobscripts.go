package redis

import (
	"strconv"

	goredis "github.com/redis/go-redis/v9"
)

// jobName and what else keys of jobs begin with, behind the prefix.
const (
	queueName = "queue:"
	jobName   = queueName + "job:"
)

// moved bounds how many jobs one claim lets come due or takes over, because Redis
// does nothing else meanwhile.
const moved = 500

// jobs is the beginning of scripts that change jobs; see Jobs for the keys.
//
//	now()               milliseconds since 1970, by Redis' clock: all gateways' are one
//	line(id, at)        lets a job stand in line, with its rank of a due time
//	leave(id, lane)     takes it out of the line
//	unclaim(id, lane)   ends its claim
//	mine(id, owner, n)  tells whether a claim holds
//	put(id, after)      lets a job without a place wait for some milliseconds
var jobs = indexes + `
local q = prefix .. '` + queueName + `'
local function job(id) return prefix .. '` + jobName + `' .. id end
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function count(name, by)
  if redis.call('HINCRBY', q .. 'counts', name, by) <= 0 then redis.call('HDEL', q .. 'counts', name) end
end
local function head(lane)
  local pack = string.match(lane, '^[^.]+')
  local lanes, first = q .. 'lanes:' .. pack, redis.call('ZRANGE', q .. 'lane:' .. lane, 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', lanes, first[2], lane)
    redis.call('ZADD', q .. 'packs', 'NX', redis.call('GET', q .. 'turn') or 0, pack)
    return
  end
  redis.call('ZREM', lanes, lane)
  if redis.call('EXISTS', lanes) == 0 then redis.call('ZREM', q .. 'packs', pack) end
end
local function line(id, at)
  local is = redis.call('HMGET', job(id), 'lane', 'start')
  if not is[1] then return end
  redis.call('HSET', job(id), 'state', 'line')
  redis.call('ZADD', q .. 'lane:' .. is[1], at - is[2], id)
  head(is[1])
end
local function leave(id, lane)
  redis.call('ZREM', q .. 'delayed', id)
  redis.call('ZREM', q .. 'lane:' .. lane, id)
  head(lane)
end
local function bounds(lane)
  local action, caller = string.match(lane, '^(.*)|(.*)$')
  return action, caller
end
local function unclaim(id, lane)
  local action, caller = bounds(lane)
  redis.call('ZREM', q .. 'claims', id)
  count('action:' .. action, -1)
  if caller ~= '' then count('key:' .. caller, -1) end
end
local function mine(id, owner, turn)
  local is = redis.call('HMGET', job(id), 'state', 'owner', 'turn', 'lane')
  if is[1] == 'claimed' and is[2] == owner and is[3] == turn then return is[4] end
end
local function put(id, after)
  if after > 0 then
    redis.call('HSET', job(id), 'state', 'delayed')
    redis.call('ZADD', q .. 'delayed', now() + after, id)
  else
    line(id, now())
  end
end
`

// addScript stores a job.
//
//	KEYS[1]   prefix of all keys
//	ARGV[1]   entry
//	ARGV[2]   lane
//	ARGV[3]   how many milliseconds earlier it counts as due
//	ARGV[4]   when it is due, in milliseconds; 0 = now
//	ARGV[5]   how many jobs there may be; 0 = any number
//	ARGV[6]   the dead letter that it replaces; empty = none
//	ARGV[7…]  of save
//	returns   1 stored, 0 was there, -1 full, -2 no such letter
var addScript = goredis.NewScript(jobs + `
local id, most, instead = ARGV[7], tonumber(ARGV[5]), ARGV[6]
if redis.call('EXISTS', job(id)) == 1 or redis.call('EXISTS', prefix .. '` + recordName + `' .. id) == 1 then return 0 end
if most > 0 and tonumber(redis.call('HGET', q .. 'counts', 'all') or 0) >= most then return -1 end
if instead ~= '' then
  if redis.call('ZREM', q .. 'dead', instead) == 0 then return -2 end
  redis.call('DEL', job(instead))
end
save(7)
redis.call('HSET', job(id), 'entry', ARGV[1], 'lane', ARGV[2], 'start', ARGV[3], 'attempt', 0, 'turn', 0)
count('all', 1)
local due = tonumber(ARGV[4])
if due > 0 then due = math.max(due - now(), 0) end
put(id, due)
return 1
`)

// claimScript takes jobs; first it takes over those whose claims are over, and
// lets come due what is.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  owner
//	ARGV[2]  how many
//	ARGV[3]  milliseconds of the claims
//	ARGV[4]  claims of one key that there may be; 0 = any number
//	ARGV[5…] for some actions: action, claims that there may be
//	returns  for each: entry, turn, attempt, ended, cancelled
var claimScript = goredis.NewScript(jobs + `
local t, most, perkey, bound = now(), tonumber(ARGV[2]), tonumber(ARGV[4]), {}
for i = 5, #ARGV, 2 do bound[ARGV[i]] = tonumber(ARGV[i+1]) end
for _, id in ipairs(redis.call('ZRANGE', q .. 'claims', '-inf', t, 'BYSCORE', 'LIMIT', 0, ` + strconv.Itoa(moved) + `)) do
  local lane = redis.call('HGET', job(id), 'lane')
  if lane then unclaim(id, lane) else redis.call('ZREM', q .. 'claims', id) end
  line(id, t)
end
for _, id in ipairs(redis.call('ZRANGE', q .. 'delayed', '-inf', t, 'BYSCORE', 'LIMIT', 0, ` + strconv.Itoa(moved) + `)) do
  line(id, redis.call('ZSCORE', q .. 'delayed', id))
  redis.call('ZREM', q .. 'delayed', id)
end
local function claims(name) return tonumber(redis.call('HGET', q .. 'counts', name) or 0) end
local function open(lane)
  local action, caller = bounds(lane)
  if bound[action] and claims('action:' .. action) >= bound[action] then return false end
  return perkey == 0 or caller == '' or claims('key:' .. caller) < perkey
end
local function pick()
  for _, pack in ipairs(redis.call('ZRANGE', q .. 'packs', 0, -1)) do
    for _, lane in ipairs(redis.call('ZRANGE', q .. 'lanes:' .. pack, 0, -1)) do
      if open(lane) then return pack, lane end
    end
  end
end
local taken = {}
while #taken < most do
  local pack, lane = pick()
  if not lane then break end
  local id = redis.call('ZRANGE', q .. 'lane:' .. lane, 0, 0)[1]
  leave(id, lane)
  redis.call('ZADD', q .. 'packs', 'XX', redis.call('INCR', q .. 'turn'), pack)
  local action, caller = bounds(lane)
  count('action:' .. action, 1)
  if caller ~= '' then count('key:' .. caller, 1) end
  redis.call('ZADD', q .. 'claims', t + ARGV[3], id)
  redis.call('HSET', job(id), 'state', 'claimed', 'owner', ARGV[1])
  local turn, attempt = redis.call('HINCRBY', job(id), 'turn', 1), redis.call('HINCRBY', job(id), 'attempt', 1)
  local is = redis.call('HMGET', job(id), 'entry', 'ended', 'cancelled')
  taken[#taken + 1] = {is[1], turn, attempt, is[2] and 1 or 0, is[3] and 1 or 0}
end
return taken
`)

// renewClaimsScript prolongs claims.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  owner
//	ARGV[2]  milliseconds
//	ARGV[3…] for each: id, turn
//	returns  for each 0 held, 1 lost, 2 held and cancelled
var renewClaimsScript = goredis.NewScript(jobs + `
local standings, till = {}, now() + ARGV[2]
for i = 3, #ARGV, 2 do
  local standing = 1
  if mine(ARGV[i], ARGV[1], ARGV[i+1]) then
    redis.call('ZADD', q .. 'claims', till, ARGV[i])
    standing = redis.call('HEXISTS', job(ARGV[i]), 'cancelled') * 2
  end
  standings[#standings + 1] = standing
end
return standings
`)

// noteScript saves the record of a claimed job.
//
//	KEYS[1]   prefix of all keys
//	ARGV[1]   owner
//	ARGV[2]   turn
//	ARGV[3]   1: it has ended
//	ARGV[4…]  of save
//	returns   1 saved, 0 lost
var noteScript = goredis.NewScript(jobs + `
if not mine(ARGV[4], ARGV[1], ARGV[2]) then return 0 end
save(4)
if ARGV[3] == '1' then redis.call('HSET', job(ARGV[4]), 'ended', 1) end
return 1
`)

// doneScript removes a claimed job. The entry of one that has failed stays with
// its execution, for another try.
//
//	KEYS[1]   prefix of all keys
//	ARGV[1]   owner
//	ARGV[2]   turn
//	ARGV[3…]  of save
//	returns   1 removed, 0 lost
var doneScript = goredis.NewScript(jobs + `
local id, status, lane = ARGV[3], ARGV[6], mine(ARGV[3], ARGV[1], ARGV[2])
if not lane then return 0 end
save(3)
unclaim(id, lane)
count('all', -1)
if status == 'dead' then
  redis.call('HSET', job(id), 'state', 'dead', 'letter', ARGV[7])
  redis.call('ZADD', q .. 'dead', 0, id)
  return 1
end
if status ~= 'succeeded' then
  redis.call('HSET', prefix .. '` + recordName + `' .. id, 'job', redis.call('HGET', job(id), 'entry'))
end
redis.call('DEL', job(id))
return 1
`)

// againScript puts a claimed job back.
//
//	KEYS[1]   prefix of all keys
//	ARGV[1]   owner
//	ARGV[2]   turn
//	ARGV[3]   after how many milliseconds it can be claimed
//	ARGV[4]   1: the claim was no attempt
//	ARGV[5…]  of save
//	returns   1 put back, 0 lost
var againScript = goredis.NewScript(jobs + `
local id, lane = ARGV[5], mine(ARGV[5], ARGV[1], ARGV[2])
if not lane then return 0 end
save(5)
unclaim(id, lane)
if ARGV[4] == '1' then redis.call('HINCRBY', job(id), 'attempt', -1) end
put(id, tonumber(ARGV[3]))
return 1
`)

// cancelScript ends a job that waits, and marks one that is claimed.
//
//	KEYS[1]   prefix of all keys
//	ARGV[1]   1: the ended job stays in line
//	ARGV[2…]  of save
//	returns   1 ended, 2 marked, 0 there is none
var cancelScript = goredis.NewScript(jobs + `
local id = ARGV[2]
local is = redis.call('HMGET', job(id), 'state', 'lane', 'ended', 'entry')
if not is[1] or is[1] == 'dead' or is[3] then return 0 end
if is[1] == 'claimed' then
  redis.call('HSET', job(id), 'cancelled', 1)
  return 2
end
save(2)
leave(id, is[2])
if ARGV[1] == '1' then
  redis.call('HSET', job(id), 'ended', 1)
  line(id, now())
  return 1
end
count('all', -1)
redis.call('HSET', prefix .. '` + recordName + `' .. id, 'job', is[4])
redis.call('DEL', job(id))
return 1
`)

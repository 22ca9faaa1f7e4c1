package redis

import (
	"strconv"

	goredis "github.com/redis/go-redis/v9"
)

// saveArguments is how many arguments saveScript takes for each execution.
const saveArguments = 8

// indexes is the beginning of scripts that change executions.
//
//	indexes(action, status)  keys of the indexes that hold such an execution;
//	                         the length keeps names with colons apart
//	unindex(id)              removes an execution from those that its hash says
//	save(i)                  writes the execution of the arguments from ARGV[i]
//	                         on: id, place, action, status, record, stdout,
//	                         stderr, result (empty: none)
const indexes = `
local prefix = KEYS[1]
local all = prefix .. '` + indexName + `'
local function indexes(action, status)
  return {all, all .. ':action:' .. action, all .. ':status:' .. status,
    all .. ':both:' .. #status .. ':' .. status .. ':' .. action}
end
local function unindex(id)
  local key = prefix .. '` + recordName + `' .. id
  local old = redis.call('HMGET', key, 'place', 'action', 'status')
  if not old[1] then return end
  for _, index in ipairs(indexes(old[2], old[3])) do redis.call('ZREM', index, old[1]) end
end
local function save(i)
  local id, place, action, status = ARGV[i], ARGV[i+1], ARGV[i+2], ARGV[i+3]
  unindex(id)
  redis.call('HSET', prefix .. '` + recordName + `' .. id, 'place', place, 'action', action, 'status', status,
    'record', ARGV[i+4], 'stdout', ARGV[i+5], 'stderr', ARGV[i+6], 'result', ARGV[i+7])
  for _, index in ipairs(indexes(action, status)) do redis.call('ZADD', index, 0, place) end
end
`

// saveScript writes executions, in place of those of the same ID.
//
//	KEYS[1]  prefix of all keys
//	ARGV     for each, those of save
//	returns  how many
var saveScript = goredis.NewScript(indexes + `
for i = 1, #ARGV, ` + strconv.Itoa(saveArguments) + ` do save(i) end
return #ARGV / ` + strconv.Itoa(saveArguments) + `
`)

// listScript reads a range of an index, newest first. It also removes from the
// index what isn't there any more, or not as the index says: Redis evicted it, and
// perhaps it was saved again.
//
//	KEYS[1]  the index
//	KEYS[2]  what the key of a record is without its id
//	ARGV[1]  newest place, ( before it or [ from it on; + for all
//	ARGV[2]  oldest place, likewise; - for all
//	ARGV[3]  how many at most
//	ARGV[4]  action that the index is of; empty: all
//	ARGV[5]  status that the index is of; empty: all
//	returns  their records
var listScript = goredis.NewScript(`
local records, newest, limit = {}, ARGV[1], tonumber(ARGV[3])
while #records < limit do
  local wanted = limit - #records
  local places = redis.call('ZRANGE', KEYS[1], newest, ARGV[2], 'BYLEX', 'REV', 'LIMIT', 0, wanted)
  for _, place in ipairs(places) do
    local key = KEYS[2] .. string.sub(place, ` + strconv.Itoa(placeTimeBytes+1) + `)
    local is = redis.call('HMGET', key, 'record', 'place', 'action', 'status')
    if is[1] and is[2] == place and (ARGV[4] == '' or ARGV[4] == is[3]) and (ARGV[5] == '' or ARGV[5] == is[4]) then
      records[#records + 1] = is[1]
    else
      redis.call('ZREM', KEYS[1], place)
    end
  end
  if #places < wanted then break end
  newest = '(' .. places[#places]
end
return records
`)

// pruneScript removes the oldest executions.
//
//	KEYS[1]  prefix of all keys
//	ARGV[1]  the place, with (, that none may come before
//	ARGV[2]  how many may stay in all; negative: any number
//	ARGV[3]  how many to remove at most
//	returns  how many it removed; as many as ARGV[3]: there may be more
var pruneScript = goredis.NewScript(indexes + `
local keep, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local excess = 0
if keep >= 0 then excess = redis.call('ZCARD', all) - keep end
local old = redis.call('ZLEXCOUNT', all, '-', ARGV[1])
local count = math.min(math.max(excess, old), limit)
if count <= 0 then return 0 end
local places = redis.call('ZRANGE', all, 0, count - 1)
for _, place in ipairs(places) do
  local id = string.sub(place, ` + strconv.Itoa(placeTimeBytes+1) + `)
  unindex(id)
  redis.call('DEL', prefix .. '` + recordName + `' .. id)
  redis.call('ZREM', all, place)
end
return #places
`)

package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/schedule"
)

// Schedules is a schedule.Store in Redis: attune:schedules is a hash of stored
// schedules by ref, attune:schedule-states one of states. Values are JSON.
// Nothing expires.
type Schedules struct {
	client *Client
}

var _ schedule.Store = (*Schedules)(nil)

// Schedules keeps schedules and their states in this Redis.
func (c *Client) Schedules() *Schedules { return &Schedules{client: c} }

// keys are those of the definitions and of the states.
func (s *Schedules) keys() []string {
	return []string{s.client.prefix + "schedules", s.client.prefix + "schedule-states"}
}

// Load implements schedule.Store.
func (s *Schedules) Load(ctx context.Context) ([]schedule.Stored, map[string]schedule.State, error) {
	pipe := s.client.redis.TxPipeline()
	definitions, rows := pipe.HGetAll(ctx, s.keys()[0]), pipe.HGetAll(ctx, s.keys()[1])
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, nil, fmt.Errorf("load schedules: %w", classify(err))
	}
	var stored []schedule.Stored
	for _, ref := range slices.Sorted(maps.Keys(definitions.Val())) {
		var one schedule.Stored
		if err := json.Unmarshal([]byte(definitions.Val()[ref]), &one); err != nil {
			return nil, nil, fmt.Errorf("load schedules: stored schedule %s is damaged", ref)
		}
		stored = append(stored, one)
	}
	states := map[string]schedule.State{}
	for ref, text := range rows.Val() {
		var one schedule.State
		if err := json.Unmarshal([]byte(text), &one); err != nil {
			return nil, nil, fmt.Errorf("load schedules: state of schedule %s is damaged", ref)
		}
		states[ref] = one
	}
	return stored, states, nil
}

// createScheduleScript stores a schedule. The same again is the retry of one
// whose answer was lost.
//
//	KEYS[1]  the schedules
//	ARGV[1]  ref
//	ARGV[2]  the definition
//	returns  1 if it is stored, 0 if there is another one
var createScheduleScript = goredis.NewScript(`
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then return 1 end
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return 1 end
return 0
`)

// Create implements schedule.Store.
func (s *Schedules) Create(ctx context.Context, stored schedule.Stored) error {
	definition, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("create schedule: %w", err)
	}
	done, err := createScheduleScript.Run(ctx, s.client.redis, s.keys()[:1], stored.Spec.Ref, definition).Int()
	if err != nil {
		return fmt.Errorf("create schedule: %w", classify(err))
	}
	if done == 0 {
		return schedule.ErrExists
	}
	return nil
}

// deleteScheduleScript forgets a schedule and its state.
//
//	KEYS[1]  the schedules
//	KEYS[2]  the states
//	ARGV[1]  ref
//	returns  1 if it was there, 0 if not; then the state stays
var deleteScheduleScript = goredis.NewScript(`
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
`)

// Delete implements schedule.Store.
func (s *Schedules) Delete(ctx context.Context, ref string) error {
	done, err := deleteScheduleScript.Run(ctx, s.client.redis, s.keys(), ref).Int()
	if err != nil {
		return fmt.Errorf("delete schedule: %w", classify(err))
	}
	if done == 0 {
		return schedule.ErrNone
	}
	return nil
}

// swapScheduleScript replaces a state whose version is known. The same state
// again is the retry of one whose answer was lost.
//
//	KEYS[1]  the states
//	ARGV[1]  ref
//	ARGV[2]  the version that must be there; 0: none may be
//	ARGV[3]  the new state
//	returns  1 if it was, 0 if not
var swapScheduleScript = goredis.NewScript(`
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old == ARGV[3] then return 1 end
local version = old and cjson.decode(old).version or 0
if version ~= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
`)

// Swap implements schedule.Store.
func (s *Schedules) Swap(ctx context.Context, before int64, state schedule.State) (bool, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return false, fmt.Errorf("write schedule's state: %w", err)
	}
	done, err := swapScheduleScript.Run(ctx, s.client.redis, s.keys()[1:], state.Ref, strconv.FormatInt(before, 10), text).Int()
	if err != nil {
		return false, fmt.Errorf("write schedule's state: %w", classify(err))
	}
	return done == 1, nil
}

package redis

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"attune/gateway/execution"
)

// Store is an execution.Store in Redis.
//
//	attune:execution:<id>                        hash: place, action, status, record, stdout, stderr, result
//	attune:executions                            index of all
//	attune:executions:action:<action>            … of an action
//	attune:executions:status:<status>            … of a status
//	attune:executions:both:<n>:<status>:<action> … of both; n: length of status
//
// An index is a sorted set whose members all have score 0, so that they sort by
// their bytes, which are the places in the listing: a score is a float64, which
// holds no nanoseconds. So each query is one range of one index.
//
// Nothing expires by itself: Prune decides. Executions that Redis evicted
// disappear from the listing when it meets them.
type Store struct {
	client *Client
}

var _ execution.Store = (*Store)(nil)

// Store keeps executions in this Redis.
func (c *Client) Store() *Store { return &Store{client: c} }

// Names behind the prefix; the scripts are given the prefix and add them.
const (
	recordName = "execution:"
	indexName  = "executions"
)

// place is a position as the member of an index: time in hexadecimal, of fixed
// width and with the sign turned, so that bytes sort like times; then the ID.
func place(p execution.Position) string {
	return timePlace(p.CreatedAt) + p.ID
}

func timePlace(nanoseconds int64) string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(nanoseconds)^(1<<63))
	return hex.EncodeToString(raw[:])
}

// placeTimeBytes is the length of a place's time; the ID is the rest.
const placeTimeBytes = 16

// batchBytes and batchCount bound what one script call writes, because Redis
// does nothing else meanwhile.
const (
	batchBytes = 4 << 20
	batchCount = 200
)

// Save implements execution.Store. Up to 200 executions or 4 MiB are saved
// together or not at all; of a larger batch the first part may be saved when the
// second fails.
func (s *Store) Save(ctx context.Context, executions ...*execution.Execution) error {
	stored := make([]execution.Stored, len(executions))
	for i, e := range executions { // all before any is written
		var err error
		if stored[i], err = e.Stored(); err != nil {
			return fmt.Errorf("save executions: %w", err)
		}
	}
	var arguments []any
	bytes := 0
	for i, e := range stored {
		arguments = append(arguments, recordArguments(executions[i], e)...)
		bytes += len(e.Record) + len(e.Stdout) + len(e.Stderr) + len(e.Result)
		if i < len(stored)-1 && bytes < batchBytes && len(arguments) < batchCount*saveArguments {
			continue
		}
		if err := saveScript.Run(ctx, s.client.redis, []string{s.client.prefix}, arguments...).Err(); err != nil {
			return fmt.Errorf("save executions: %w", classify(err))
		}
		arguments, bytes = nil, 0
	}
	return nil
}

// recordArguments are those of save in the scripts.
func recordArguments(x *execution.Execution, e execution.Stored) []any {
	return []any{
		e.Position.ID, place(e.Position), x.Action, string(x.Status), e.Record, e.Stdout, e.Stderr, resultArgument(e.Result),
	}
}

// resultArgument is empty for none: a result is JSON, which is never empty.
func resultArgument(result []byte) []byte {
	if result == nil {
		return []byte{}
	}
	return result
}

// Get implements execution.Store.
func (s *Store) Get(ctx context.Context, id string) (*execution.Execution, error) {
	key := s.client.prefix + recordName + id
	fields, err := s.client.redis.HMGet(ctx, key, "record", "stdout", "stderr", "result").Result()
	if err != nil {
		return nil, fmt.Errorf("get execution: %w", classify(err))
	}
	text := make([]string, len(fields))
	for i, field := range fields {
		text[i], _ = field.(string) // nil: no such field
	}
	if text[0] == "" {
		return nil, execution.ErrNoExecution
	}
	stored := execution.Stored{Record: []byte(text[0]), Stdout: text[1], Stderr: text[2]}
	if text[3] != "" {
		stored.Result = []byte(text[3])
	}
	return stored.Execution()
}

// List implements execution.Store.
func (s *Store) List(ctx context.Context, query execution.Query) (execution.Page, error) {
	newest, oldest := "+", "-"
	if query.Cursor != "" {
		after, err := execution.ParseCursor(query.Cursor)
		if err != nil {
			return execution.Page{}, err
		}
		newest = "(" + place(after)
	}
	if !query.Since.IsZero() {
		oldest = "[" + timePlace(execution.UnixNano(query.Since))
	}
	keys := []string{s.client.prefix + index(query), s.client.prefix + recordName}
	records, err := listScript.Run(ctx, s.client.redis, keys, newest, oldest,
		query.PageSize()+1, query.Action, string(query.Status)).StringSlice()
	if err != nil {
		return execution.Page{}, fmt.Errorf("list executions: %w", classify(err))
	}
	found := make([]*execution.Execution, len(records))
	for i, record := range records {
		if found[i], err = (execution.Stored{Record: []byte(record)}).Execution(); err != nil {
			return execution.Page{}, fmt.Errorf("list executions: %w", err)
		}
	}
	return execution.NewPage(query, found)
}

// index is the one that holds what a query selects.
func index(query execution.Query) string {
	switch {
	case query.Action == "" && query.Status == "":
		return indexName
	case query.Status == "":
		return indexName + ":action:" + query.Action
	case query.Action == "":
		return indexName + ":status:" + string(query.Status)
	}
	return fmt.Sprintf("%s:both:%d:%s:%s", indexName, len(query.Status), query.Status, query.Action)
}

// pruneBatch is how many one script call removes at most.
const pruneBatch = 500

// Prune implements execution.Store, oldest first.
func (s *Store) Prune(ctx context.Context, before time.Time, keep int) (removed int, err error) {
	oldest := timePlace(math.MinInt64)
	if !before.IsZero() {
		oldest = timePlace(execution.UnixNano(before))
	}
	for {
		n, err := pruneScript.Run(ctx, s.client.redis, []string{s.client.prefix}, "("+oldest, keep, pruneBatch).Int()
		if err != nil {
			return removed, fmt.Errorf("prune executions: %w", classify(err))
		}
		removed += n
		if n < pruneBatch {
			return removed, nil
		}
	}
}

// Ping implements execution.Store.
func (s *Store) Ping(ctx context.Context) error { return s.client.Ping(ctx) }

// Close implements execution.Store. There is nothing to flush, and the
// connections are the Client's.
func (s *Store) Close() error { return nil }

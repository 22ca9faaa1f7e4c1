package redis

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"attune/gateway/key"
)

// Keys is a key.Store in Redis: attune:keys is a hash of IDs, whose values are
// JSON with the hash of the secret. Nothing expires by itself: a key that has
// expired is still one that is needed.
type Keys struct {
	client *Client
}

var _ key.Store = (*Keys)(nil)

// Keys keeps API keys in this Redis.
func (c *Client) Keys() *Keys { return &Keys{client: c} }

func (s *Keys) name() string { return s.client.prefix + "keys" }

// Put implements key.Store.
func (s *Keys) Put(ctx context.Context, k key.Key) error {
	record, err := k.Encode()
	if err != nil {
		return fmt.Errorf("put API key: %w", err)
	}
	if err := s.client.redis.HSet(ctx, s.name(), k.ID, record).Err(); err != nil {
		return fmt.Errorf("put API key: %w", classify(err))
	}
	return nil
}

// Keys implements key.Store.
func (s *Keys) Keys(ctx context.Context) ([]key.Key, error) {
	records, err := s.client.redis.HVals(ctx, s.name()).Result()
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", classify(err))
	}
	keys := make([]key.Key, len(records))
	for i, record := range records {
		if keys[i], err = key.Decode([]byte(record)); err != nil {
			return nil, fmt.Errorf("list API keys: %w", err)
		}
	}
	slices.SortFunc(keys, func(a, b key.Key) int { return cmp.Compare(a.ID, b.ID) })
	return keys, nil
}

// Delete implements key.Store.
func (s *Keys) Delete(ctx context.Context, id string) error {
	n, err := s.client.redis.HDel(ctx, s.name(), id).Result()
	if err != nil {
		return fmt.Errorf("delete API key: %w", classify(err))
	}
	if n == 0 {
		return key.ErrNone
	}
	return nil
}

package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/secret"
)

// Secrets is a secret.Store in Redis: attune:secrets:<pack> is a hash of names,
// whose values are JSON with an encrypted box. Nothing expires.
type Secrets struct {
	client *Client
}

var _ secret.Store = (*Secrets)(nil)

// Secrets keeps sealed secrets in this Redis.
func (c *Client) Secrets() *Secrets { return &Secrets{client: c} }

const secretsName = "secrets:"

func (s *Secrets) key(pack string) string { return s.client.prefix + secretsName + pack }

// secretRow is a sealed secret in its hash.
type secretRow struct {
	Version string `json:"version"` // decimal: Lua's numbers don't hold it
	Key     string `json:"key"`
	Box     []byte `json:"box"`
}

func encodeSecret(sealed secret.Sealed) ([]byte, error) {
	return json.Marshal(secretRow{Version: strconv.FormatInt(sealed.Version, 10), Key: sealed.Key, Box: sealed.Box})
}

// Put implements secret.Store.
func (s *Secrets) Put(ctx context.Context, sealed secret.Sealed) error {
	row, err := encodeSecret(sealed)
	if err != nil {
		return fmt.Errorf("put secret: %w", err)
	}
	if err := s.client.redis.HSet(ctx, s.key(sealed.Pack), sealed.Name, row).Err(); err != nil {
		return fmt.Errorf("put secret: %w", classify(err))
	}
	return nil
}

// swapSecretScript replaces a secret whose version is known.
//
//	KEYS[1]  the pack's secrets
//	ARGV[1]  name
//	ARGV[2]  the version that must be there
//	ARGV[3]  the new row
//	returns  1 if it was, 0 if not
var swapSecretScript = goredis.NewScript(`
local row = redis.call('HGET', KEYS[1], ARGV[1])
if not row or cjson.decode(row).version ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
`)

// Swap implements secret.Store.
func (s *Secrets) Swap(ctx context.Context, before int64, sealed secret.Sealed) (bool, error) {
	row, err := encodeSecret(sealed)
	if err != nil {
		return false, fmt.Errorf("swap secret: %w", err)
	}
	done, err := swapSecretScript.Run(ctx, s.client.redis, []string{s.key(sealed.Pack)},
		sealed.Name, strconv.FormatInt(before, 10), row).Int()
	if err != nil {
		return false, fmt.Errorf("swap secret: %w", classify(err))
	}
	return done == 1, nil
}

// Pack implements secret.Store.
func (s *Secrets) Pack(ctx context.Context, pack string) ([]secret.Sealed, error) {
	rows, err := s.client.redis.HGetAll(ctx, s.key(pack)).Result()
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", classify(err))
	}
	found := make([]secret.Sealed, 0, len(rows))
	for name, text := range rows {
		var row secretRow
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			return nil, fmt.Errorf("list secrets: stored secret %s of pack %s is damaged", name, pack)
		}
		version, err := strconv.ParseInt(row.Version, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("list secrets: stored secret %s of pack %s is damaged", name, pack)
		}
		found = append(found, secret.Sealed{Pack: pack, Name: name, Version: version, Key: row.Key, Box: row.Box})
	}
	slices.SortFunc(found, func(a, b secret.Sealed) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// Packs implements secret.Store.
func (s *Secrets) Packs(ctx context.Context) ([]string, error) {
	var packs []string
	keys := s.client.redis.Scan(ctx, 0, s.key("*"), 100).Iterator()
	for keys.Next(ctx) {
		packs = append(packs, strings.TrimPrefix(keys.Val(), s.key("")))
	}
	if err := keys.Err(); err != nil {
		return nil, fmt.Errorf("list secrets: %w", classify(err))
	}
	slices.Sort(packs)
	return slices.Compact(packs), nil // a scan may tell a key twice
}

// Delete implements secret.Store.
func (s *Secrets) Delete(ctx context.Context, pack, name string) error {
	n, err := s.client.redis.HDel(ctx, s.key(pack), name).Result()
	if err != nil {
		return fmt.Errorf("delete secret: %w", classify(err))
	}
	if n == 0 {
		return secret.ErrNone
	}
	return nil
}

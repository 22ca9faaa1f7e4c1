package redis

import (
	"context"
	"fmt"
	"strings"
	"time"

	"attune/envcache"

	goredis "github.com/redis/go-redis/v9"
)

// References tells gateways on other machines which environments are in use:
// attune:uses:<gateway> is the set of their digests, which expires with its
// gateway.
type References struct {
	client  *Client
	gateway string
	ttl     time.Duration
}

var _ envcache.References = (*References)(nil)

// References speaks for one gateway. What it says holds for ttl.
func (c *Client) References(gateway string, ttl time.Duration) *References {
	return &References{client: c, gateway: gateway, ttl: ttl}
}

const usesName = "uses:"

func (r *References) key(gateway string) string { return r.client.prefix + usesName + gateway }

// Hold implements envcache.References.
func (r *References) Hold(ctx context.Context, digest string) error {
	return r.say(ctx, func(p goredis.Pipeliner, key string) { p.SAdd(ctx, key, digest) })
}

// Heartbeat implements envcache.References.
func (r *References) Heartbeat(ctx context.Context, digests []string) error {
	return r.say(ctx, func(p goredis.Pipeliner, key string) {
		p.Del(ctx, key)
		if len(digests) > 0 {
			p.SAdd(ctx, key, digests)
		}
	})
}

func (r *References) say(ctx context.Context, what func(p goredis.Pipeliner, key string)) error {
	key := r.key(r.gateway)
	_, err := r.client.redis.TxPipelined(ctx, func(p goredis.Pipeliner) error {
		what(p, key)
		p.PExpire(ctx, key, r.ttl)
		return nil
	})
	if err != nil {
		return fmt.Errorf("say what is in use: %w", classify(err))
	}
	return nil
}

// Held implements envcache.References.
func (r *References) Held(ctx context.Context, digest string) (bool, error) {
	keys := r.client.redis.Scan(ctx, 0, r.key("*"), 100).Iterator()
	for keys.Next(ctx) {
		if strings.TrimPrefix(keys.Val(), r.key("")) == r.gateway {
			continue
		}
		used, err := r.client.redis.SIsMember(ctx, keys.Val(), digest).Result()
		if err != nil || used {
			return used, classify(err)
		}
	}
	if err := keys.Err(); err != nil {
		return false, fmt.Errorf("ask what is in use: %w", classify(err))
	}
	return false, nil
}

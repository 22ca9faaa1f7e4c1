package redis

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-redis/redis_rate/v10"
	goredis "github.com/redis/go-redis/v9"

	"attune/gateway/limit"
)

// Limiter is a limit.Limiter in Redis, whose buckets all gateways share:
// attune:rate:<name> is when the bucket is full again, and expires then.
type Limiter struct {
	buckets *redis_rate.Limiter
}

var _ limit.Limiter = (*Limiter)(nil)

// Limiter keeps buckets in this Redis.
func (c *Client) Limiter() *Limiter {
	return &Limiter{buckets: redis_rate.NewLimiter(prefixed{c.redis, c.prefix})}
}

// Take implements limit.Limiter. ErrUnavailable.
func (l *Limiter) Take(ctx context.Context, name string, rate limit.Rate) (limit.State, error) {
	taken, err := l.buckets.Allow(ctx, name, redis_rate.Limit{Rate: rate.Limit, Period: rate.Per, Burst: rate.Size()})
	if err != nil {
		return limit.State{}, fmt.Errorf("take from bucket: %w", classify(err))
	}
	state := limit.State{Allowed: taken.Allowed > 0, RetryAfter: max(taken.RetryAfter, 0), Reset: taken.ResetAfter}
	if state.Allowed {
		// The library rounds down what is a little less than whole: its times are floats.
		gone := taken.ResetAfter.Seconds() * float64(rate.Limit) / rate.Per.Seconds()
		state.Remaining = int(float64(rate.Size()) - gone + 1e-3)
	}
	return state, nil
}

// prefixed gives the library's keys, which are rate:<name>, our prefix.
type prefixed struct {
	*goredis.Client
	prefix string
}

// Eval is the client's, under our names.
func (p prefixed) Eval(ctx context.Context, script string, keys []string, args ...any) *goredis.Cmd {
	return p.Client.Eval(ctx, script, p.ours(keys), args...)
}

// EvalSha is the client's, under our names.
func (p prefixed) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *goredis.Cmd {
	return p.Client.EvalSha(ctx, sha, p.ours(keys), args...)
}

func (p prefixed) ours(keys []string) []string {
	ours := make([]string, len(keys))
	for i, key := range keys {
		ours[i] = p.prefix + strings.TrimPrefix(key, p.prefix)
	}
	return ours
}

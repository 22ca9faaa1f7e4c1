package redis

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"attune/envcache"

	goredis "github.com/redis/go-redis/v9"
)

// Leaser grants leases as keys that expire: attune:lease:<name> holds its
// owner. If a holder dies, others wait until its ttl is over. If Redis forgets
// the key, there may be two holders until the first one's next renewal.
type Leaser struct {
	client *Client
	// RenewFailed is told of each renewal that got no answer; nil = nobody asks.
	// Set before the first Acquire.
	RenewFailed func()
}

var _ envcache.Leaser = (*Leaser)(nil)

// Leaser grants leases in this Redis, to all that use the same one.
func (c *Client) Leaser() *Leaser { return &Leaser{client: c} }

// acquireScript takes a lease, or renews it where the owner has it already: so
// an acquire may be repeated when its reply was lost.
//
//	KEYS[1]  the lease
//	ARGV[1]  owner
//	ARGV[2]  ttl in milliseconds
//	returns  1 taken, 0 another's
var acquireScript = goredis.NewScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

// renewScript prolongs a lease that is still the owner's.
//
//	KEYS[1]  the lease
//	ARGV[1]  owner
//	ARGV[2]  ttl in milliseconds
//	returns  1 prolonged, 0 not the owner's any more
var renewScript = goredis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

// releaseScript gives up a lease that is still the owner's.
//
//	KEYS[1]  the lease
//	ARGV[1]  owner
//	returns  1 given up, 0 not the owner's any more
var releaseScript = goredis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)

const (
	// minTTL leaves a renewal time enough for a slow round trip.
	minTTL = 30 * time.Millisecond
	// acquireAttempts, each with the retries of a command inside.
	acquireAttempts = 2
	// abandonTimeout bounds the clean-up after an acquire whose outcome is
	// unknown; without it the lease would merely end by its ttl.
	abandonTimeout = 500 * time.Millisecond
)

// Acquire implements envcache.Leaser. A ttl counts in whole milliseconds, at
// least 30. ErrUnavailable where Redis doesn't answer.
func (l *Leaser) Acquire(ctx context.Context, name string, ttl time.Duration) (envcache.Lease, error) {
	if err := envcache.CheckLeaseName(name); err != nil {
		return nil, err
	}
	if ttl < minTTL {
		return nil, fmt.Errorf("acquire lease %s: ttl %v is less than %v", name, ttl, minTTL)
	}
	owner, err := newOwner()
	if err != nil {
		return nil, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	held := &lease{client: l.client, name: name, owner: owner, ttl: ttl.Truncate(time.Millisecond), renewFailed: l.RenewFailed}
	asked, err := held.acquire(ctx)
	switch {
	case errors.Is(err, envcache.ErrLeaseTaken):
		return nil, err
	case err != nil:
		held.abandon(ctx)
		return nil, fmt.Errorf("acquire lease %s: %w", name, err)
	}
	held.start(asked)
	return held, nil
}

// newOwner is 128 random bits, which nobody else has or guesses.
func newOwner() (string, error) {
	var owner [16]byte
	if _, err := rand.Read(owner[:]); err != nil {
		return "", err
	}
	return hex.EncodeToString(owner[:]), nil
}

// acquire returns when it asked: the lease holds for ttl from then at least.
func (l *lease) acquire(ctx context.Context) (asked time.Time, err error) {
	for range acquireAttempts {
		asked = time.Now()
		var mine bool
		mine, err = l.run(ctx, acquireScript, l.owner, l.ttl.Milliseconds())
		if err == nil && !mine {
			err = envcache.ErrLeaseTaken
		}
		if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			return asked, err
		}
	}
	return asked, err
}

// abandon gives up what an acquire without a reply may have taken.
func (l *lease) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonTimeout)
	defer cancel()
	// Best effort, and the acquire's own error is what the caller needs.
	_, _ = l.run(ctx, releaseScript, l.owner)
}

// run runs one of the three scripts.
func (l *lease) run(ctx context.Context, script *goredis.Script, arguments ...any) (mine bool, err error) {
	key := l.client.prefix + "lease:" + l.name
	mine, err = script.Run(ctx, l.client.redis, []string{key}, arguments...).Bool()
	return mine, classify(err)
}

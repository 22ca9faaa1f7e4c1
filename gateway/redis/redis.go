// Package redis lets replicas of the gateway be equal: they share their
// executions, their jobs and their leases in one Redis (or Valkey).
package redis

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Client is a pool of connections to one Redis. Safe for concurrent use.
type Client struct {
	redis  *goredis.Client
	prefix string // of every key
}

// keyPrefix is what all our keys begin with, so that a Redis can be shared.
const keyPrefix = "attune:"

// Redis answers within a millisecond or something is wrong. What a caller waits
// in all is bounded by its own context.
const (
	dialTimeout  = 2 * time.Second
	replyTimeout = 2 * time.Second // to write a command, and to read its reply
	maxRetries   = 2               // of a command; all of ours can be repeated
	maxBackoff   = 100 * time.Millisecond
)

// New makes a client and contacts nobody yet, so that a gateway can start while
// Redis is away. The url is redis://, rediss:// (TLS) or unix://, with
// [user:password@], a number of a database as path (redis) or ?db= (unix), and
// go-redis' options as parameters. Errors never quote it.
func New(rawURL string) (*Client, error) {
	options, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redis url: %w", err)
	}
	quieten()
	return &Client{redis: goredis.NewClient(options), prefix: keyPrefix}, nil
}

// Open is New, and a ping. ErrUnavailable.
func Open(ctx context.Context, rawURL string) (*Client, error) {
	c, err := New(rawURL)
	if err != nil {
		return nil, err
	}
	if err := c.Ping(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// parseURL drops the parser's own words, because they quote the URL, and with it
// a password.
func parseURL(rawURL string) (*goredis.Options, error) {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("malformed; signs like / and @ in a password must be percent-encoded")
	}
	switch parsed.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, errors.New("scheme is none of redis, rediss and unix")
	}
	options, err := goredis.ParseURL(rawURL)
	if err != nil {
		return nil, errors.New("host, number of the database or parameters are malformed")
	}
	parameters := parsed.Query()
	unset := func(name string) bool { return !parameters.Has(name) }
	setDefaults(options, unset)
	return options, nil
}

func setDefaults(options *goredis.Options, unset func(parameter string) bool) {
	if unset("dial_timeout") {
		options.DialTimeout = dialTimeout
	}
	if unset("read_timeout") {
		options.ReadTimeout = replyTimeout
	}
	if unset("write_timeout") {
		options.WriteTimeout = replyTimeout
	}
	if unset("max_retries") {
		options.MaxRetries = maxRetries
	}
	if unset("max_retry_backoff") {
		options.MaxRetryBackoff = maxBackoff
	}
	if unset("client_name") {
		options.ClientName = "attune"
	}
	options.DialerRetries = 1 // commands are retried already
	options.ContextTimeoutEnabled = true
	// Neither is known to every server that we work with.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// quieten turns off go-redis' own log: what goes wrong comes back as an error.
var quieten = sync.OnceFunc(func() { goredis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}

// Ping reports whether Redis answers. ErrUnavailable.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("ping redis: %w", classify(err))
	}
	return nil
}

// Close closes all connections. Its stores and leasers don't work after that,
// and leases that are still held get lost.
func (c *Client) Close() error {
	if err := c.redis.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

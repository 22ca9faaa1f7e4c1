package redis

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"attune/envcache"
	"attune/gateway/execution"
	"attune/gateway/redis/redistest"

	goredis "github.com/redis/go-redis/v9"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]goredis.Options{
		"redis://h":                            {Network: "tcp", Addr: "h:6379"},
		"redis://u:p%2F@h:1/3":                 {Network: "tcp", Addr: "h:1", Username: "u", Password: "p/", DB: 3},
		"rediss://h:1":                         {Network: "tcp", Addr: "h:1"},
		"unix://u:p@/run/redis.sock?db=2":      {Network: "unix", Addr: "/run/redis.sock", Username: "u", Password: "p", DB: 2},
		"redis://h?read_timeout=7s&protocol=2": {Network: "tcp", Addr: "h:6379", ReadTimeout: 7 * time.Second, Protocol: 2},
	} {
		got, err := parseURL(raw)
		if err != nil {
			t.Errorf("parseURL(%s) error = %v", raw, err)
			continue
		}
		if got.Network != want.Network || got.Addr != want.Addr || got.Username != want.Username ||
			got.Password != want.Password || got.DB != want.DB || got.Protocol != want.Protocol {
			t.Errorf("parseURL(%s) = %+v", raw, got)
		}
		if (got.TLSConfig != nil) != strings.HasPrefix(raw, "rediss:") {
			t.Errorf("parseURL(%s): TLS %v", raw, got.TLSConfig != nil)
		}
		if timeout := max(want.ReadTimeout, replyTimeout); got.ReadTimeout != timeout || !got.ContextTimeoutEnabled {
			t.Errorf("parseURL(%s): read timeout %v, of the context %v", raw, got.ReadTimeout, got.ContextTimeoutEnabled)
		}
	}
}

func TestErrorsOfURLsKeepThePassword(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "h:6379", "secret", "http://u:secret@h", "redis://u:sec/secret@h", "redis://u:%zzsecret@h", "redis://u:secret@h/x/y",
		"redis://u:secret@h/secret", "redis://h?secret=secret", "redis://u:secret@h?db=secret", "unix://secret", "redis://u:secret@h:secret",
	} {
		c, err := New(raw)
		if err == nil {
			t.Errorf("New(%s) = %v, want an error", raw, c)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("New(%s) error = %v", raw, err)
		}
	}
}

func TestWrongPasswordIsNotQuoted(t *testing.T) {
	t.Parallel()
	address, err := url.Parse(redistest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.UserPassword("nobody", "secret/@")
	c, err := Open(t.Context(), address.String())
	if err == nil {
		t.Fatalf("Open() with a wrong password = %v", c)
	}
	if errors.Is(err, ErrUnavailable) {
		t.Errorf("Open() with a wrong password: %v, want no ErrUnavailable, for no retry helps", err)
	}
	if text := err.Error(); strings.Contains(text, "secret") {
		t.Errorf("Open() error = %v", err)
	}
}

func TestPasswordAndDatabaseOfTheURL(t *testing.T) {
	t.Parallel()
	admin := mustOpen(t)
	const user = "attune-test"
	if err := admin.redis.Do(t.Context(), "ACL", "SETUSER", user, "on", ">p/@:%", "~*", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := admin.redis.Do(context.WithoutCancel(t.Context()), "ACL", "DELUSER", user).Err(); err != nil {
			t.Error(err)
		}
	})
	address, err := url.Parse(redistest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	address.User, address.Path = url.UserPassword(user, "p/@:%"), "/5"
	c := mustOpenURL(t, address.String())
	info, err := c.redis.ClientInfo(t.Context()).Result()
	if err != nil || info.DB != 5 || info.User != user || info.Name != "attune" {
		t.Errorf("the connection is %+v, %v", info, err)
	}
}

// Everything says ErrUnavailable when nobody listens, and says it soon.
func TestAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "redis://u:secret@" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	wantUnavailable(t, address)
	if c, err := Open(t.Context(), address); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Open() = %v, %v, want ErrUnavailable", c, err)
	}
}

// What a server says when it can't serve now is no different from being away.
func TestServerThatCannotServeNow(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{
		"LOADING Redis is loading the dataset in memory",
		"READONLY You can't write against a read only replica.",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"OOM command not allowed when used memory > 'maxmemory'.",
		"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
		"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
		"NOREPLICAS Not enough good replicas to write.",
		"ERR max number of clients reached",
	} {
		t.Run(reply, func(t *testing.T) {
			t.Parallel()
			wantUnavailable(t, grumpyServer(t, reply))
		})
	}
}

func wantUnavailable(t *testing.T, address string) {
	t.Helper()
	c, err := New(address)
	if err != nil {
		t.Fatalf("New() error = %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	start := time.Now()
	for call, err := range everyCall(t.Context(), c) {
		if !errors.Is(err, ErrUnavailable) || errors.Is(err, envcache.ErrLeaseTaken) {
			t.Errorf("%s error = %v, want ErrUnavailable", call, err)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s error = %v", call, err)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("to find out took %v", took)
	}
}

// everyCall makes each call once, with something secret in it.
func everyCall(ctx context.Context, c *Client) map[string]error {
	store := c.Store()
	e := &execution.Execution{ID: "a", CreatedAt: time.Now(), Stdout: "secret"}
	_, get := store.Get(ctx, "secret")
	_, list := store.List(ctx, execution.Query{Action: "secret"})
	_, prune := store.Prune(ctx, time.Now(), 1)
	_, acquire := c.Leaser().Acquire(ctx, "a", time.Second)
	return map[string]error{
		"Ping": c.Ping(ctx), "Save": store.Save(ctx, e), "Get": get, "List": list, "Prune": prune, "Acquire": acquire,
	}
}

// An error that no retry repairs is told apart, and quotes no argument.
func TestServerThatRefuses(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{
		"NOPERM this user has no permissions to run the 'evalsha' command",
		"ERR unknown command 'EVALSHA', with args beginning with: 'secret' 'secret' ",
		"WRONGTYPE Operation against a key holding the wrong kind of value",
	} {
		t.Run(reply, func(t *testing.T) {
			t.Parallel()
			c, err := New(grumpyServer(t, reply))
			if err != nil {
				t.Fatal(err)
			}
			for call, err := range everyCall(t.Context(), c) {
				if err == nil || errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "secret") {
					t.Errorf("%s error = %v", call, err)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

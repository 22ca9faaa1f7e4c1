package redis

import (
	"context"
	"crypto/rand"
	"os"
	"testing"

	"attune/envcache"
	"attune/envcache/leasetest"
	"attune/gateway/redis/redistest"
)

func TestMain(m *testing.M) {
	leasetest.Hold(func(url string) (envcache.Leaser, error) {
		client, err := Open(context.Background(), url)
		if err != nil {
			return nil, err
		}
		return client.Leaser(), nil
	})
	if url := os.Getenv(clockworkURL); url != "" {
		runClockwork(url) // until it is killed
	}
	os.Exit(redistest.Main(m))
}

// mustOpen opens the shared server with keys that no other test sees.
func mustOpen(t testing.TB) *Client {
	t.Helper()
	c := mustOpenURL(t, redistest.URL(t))
	c.prefix = "attune-test:" + rand.Text() + ":"
	t.Cleanup(func() { flush(t, c) })
	return c
}

func mustOpenURL(t testing.TB, url string) *Client {
	t.Helper()
	c, err := Open(t.Context(), url)
	if err != nil {
		t.Fatalf("Open() error = %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close() error = %v", err)
		}
	})
	return c
}

// keys are all that the client wrote.
func keys(t testing.TB, c *Client) (found []string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for each := c.redis.Scan(ctx, 0, c.prefix+"*", 1000).Iterator(); ; {
		if !each.Next(ctx) {
			if err := each.Err(); err != nil {
				t.Errorf("list keys: %v", err)
			}
			return found
		}
		found = append(found, each.Val())
	}
}

func flush(t testing.TB, c *Client) {
	t.Helper()
	if left := keys(t, c); len(left) > 0 {
		if err := c.redis.Unlink(context.WithoutCancel(t.Context()), left...).Err(); err != nil {
			t.Errorf("remove keys: %v", err)
		}
	}
}

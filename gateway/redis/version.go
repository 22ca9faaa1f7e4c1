package redis

import (
	"context"
	"fmt"
	"strings"
)

// Version asks the server for its name and version: "redis 7.0.15". ErrUnavailable.
func (c *Client) Version(ctx context.Context) (string, error) {
	text, err := c.redis.Info(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("ask redis for its version: %w", classify(err))
	}
	name, version := "redis", ""
	for line := range strings.SplitSeq(text, "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "server_name":
			name = value
		case "valkey_version":
			return "valkey " + value, nil
		case "redis_version":
			version = value
		}
	}
	return name + " " + version, nil
}

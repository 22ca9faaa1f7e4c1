package redis

import (
	"errors"
	"regexp"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	got, err := mustOpen(t).Version(t.Context())
	if err != nil || !regexp.MustCompile(`^(redis|valkey) [0-9]+\.[0-9]+\.[0-9]+`).MatchString(got) {
		t.Errorf("Version() = %q, %v", got, err)
	}
	away, err := New("redis://127.0.0.1:1/0?max_retries=-1")
	if err != nil {
		t.Fatal(err)
	}
	defer away.Close()
	if _, err := away.Version(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Version() of none = %v, want ErrUnavailable", err)
	}
}

package redis

import (
	"testing"

	"attune/gateway/callback"
	"attune/gateway/callback/callbacktest"
)

func TestCallbacks(t *testing.T) {
	t.Parallel()
	callbacktest.Exercise(t, func(t *testing.T) callback.Store { return mustOpen(t).Callbacks() })
}

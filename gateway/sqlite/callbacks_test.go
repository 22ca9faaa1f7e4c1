package sqlite

import (
	"path/filepath"
	"testing"

	"attune/gateway/callback"
	"attune/gateway/callback/callbacktest"
)

func TestCallbacks(t *testing.T) {
	t.Parallel()
	callbacktest.Exercise(t, func(t *testing.T) callback.Store {
		return mustOpen(t, filepath.Join(t.TempDir(), "attune.db")).Callbacks()
	})
}

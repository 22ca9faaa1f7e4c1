package hooktest

import (
	"testing"

	"attune/gateway/hook"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	Exercise(t, func(*testing.T) hook.Store { return NewMemory() })
}

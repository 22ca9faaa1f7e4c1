package redis

import (
	"testing"

	"attune/gateway/secret"
	"attune/gateway/secret/secrettest"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	secrettest.Exercise(t, func(t *testing.T) secret.Store { return mustOpen(t).Secrets() })
}

package main

import (
	"strings"
	"time"

	"attune/gateway/callback"
)

// IdempotencyConfig is about calls that are repeated under the same
// Idempotency-Key.
type IdempotencyConfig struct {
	// Keep is how long a key is remembered, and the answer under it. Default 24h.
	Keep Duration `yaml:"keep"`
	// AnswerBytes is the largest answer that is kept; the repetition of a call
	// with a larger one is told so, and does not run either. Default 1MiB.
	AnswerBytes Bytes `yaml:"answer_bytes"`
}

// CallbacksConfig is about results that are delivered to a Callback-Url.
type CallbacksConfig struct {
	// SecretFile holds the secrets that sign callbacks, one a line, written as
	// whsec_ and base64: each signs. Empty (the default) = none: calls with a
	// Callback-Url are refused.
	SecretFile string `yaml:"secret_file"`
	// Secret is the secrets themselves, separated by commas: only as the variable
	// ATTUNE__CALLBACKS__SECRET, in place of SecretFile.
	Secret string `yaml:"secret" secret:"all"`
	// Allow lists networks, like 10.1.0.0/16, that callbacks may reach although
	// they are not public, by http, too. Default none: public addresses by https.
	Allow []string `yaml:"allow"`
}

func defaultIdempotency() IdempotencyConfig {
	return IdempotencyConfig{Keep: Duration(24 * time.Hour), AnswerBytes: MiB}
}

// calls checks what is about ways to call an action.
func (k *configCheck) calls() {
	c := k.config
	k.duration("idempotency.keep", c.Idempotency.Keep, time.Minute, 30*24*time.Hour)
	k.size("idempotency.answer_bytes", c.Idempotency.AnswerBytes, 0, 64*MiB)
	k.callbacks()
}

// callbacks never shows a secret.
func (k *configCheck) callbacks() {
	c := k.config.Callbacks
	for _, network := range c.Allow {
		if _, err := callback.ParseAllow([]string{network}); err != nil {
			k.fault("callbacks.allow", "%v", err)
		}
	}
	if c.Secret == "" {
		return
	}
	if !strings.HasPrefix(k.config.Origin("callbacks.secret"), variablePrefix) {
		k.fault("callbacks.secret", "stands in a file that is no place for it: put it into one of its own, and name that in callbacks.secret_file; or into the variable ATTUNE__CALLBACKS__SECRET")
	}
	if c.SecretFile != "" {
		k.fault("callbacks.secret", "is set beside callbacks.secret_file: keep one of them")
	}
	if _, err := callback.ParseSecrets(c.Secret); err != nil {
		k.fault("callbacks.secret", "can't be used: %v", err)
	}
}

package main

import "time"

// IdempotencyConfig is about calls that are repeated under the same
// Idempotency-Key.
type IdempotencyConfig struct {
	// Keep is how long a key is remembered, and the answer under it. Default 24h.
	Keep Duration `yaml:"keep"`
	// AnswerBytes is the largest answer that is kept; the repetition of a call
	// with a larger one is told so, and does not run either. Default 1MiB.
	AnswerBytes Bytes `yaml:"answer_bytes"`
}

func defaultIdempotency() IdempotencyConfig {
	return IdempotencyConfig{Keep: Duration(24 * time.Hour), AnswerBytes: MiB}
}

// calls checks what is about ways to call an action.
func (k *configCheck) calls() {
	c := k.config
	k.duration("idempotency.keep", c.Idempotency.Keep, time.Minute, 30*24*time.Hour)
	k.size("idempotency.answer_bytes", c.Idempotency.AnswerBytes, 0, 64*MiB)
}

// Package idempotency lets a caller repeat a call without the action running
// again: under the same key the first call's answer is given once more.
//
// A key goes through three states. A call claims it, and no other call runs while
// the claim lasts, for as long as the execution can run. When the execution has
// ended, its answer takes the claim's place and stays for a day. A claim that
// lapses without an answer belonged to a gateway that died: nobody knows what the
// action did, so it is never run again under that key, and the caller is told
// which execution it was.
package idempotency

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"attune/gateway/execution"
)

// Refusals of a key; each but ErrLost comes as a *Taken.
var (
	// ErrReused says that the key stands for a call with other parameters.
	ErrReused = errors.New("the key was used with other parameters")
	// ErrInProgress says that the call of that key has not ended.
	ErrInProgress = errors.New("the call of that key has not ended")
	// ErrUnknown says that the gateway died which ran the call of that key.
	ErrUnknown = errors.New("the end of that key's call is not known")
	// ErrTooLarge says that the answer was too large to be kept.
	ErrTooLarge = errors.New("the answer of that key's call was not kept")
	// ErrLost says that a key isn't the execution's any more.
	ErrLost = errors.New("the key is another execution's")
)

// Taken is why a key can't be claimed.
type Taken struct {
	Reason    error
	Execution string // ID of the one that the key stands for
}

// Error implements error.
func (t *Taken) Error() string { return t.Reason.Error() }

// Unwrap returns the reason.
func (t *Taken) Unwrap() error { return t.Reason }

// Claim asks for a key for one execution.
type Claim struct {
	ID          string        // of the key: a hash, because keys are the callers' own
	Fingerprint string        // of the parameters
	Execution   string        // the ID that the execution will have; no two claims have the same
	Lease       time.Duration // after it the execution can't run any more
	Keep        time.Duration // how long the key is remembered, from the claim and again from the answer
}

// Held is what stands under a key that was claimed before.
type Held struct {
	Fingerprint string
	Execution   string
	Lapsed      bool    // the claim's time is over
	Answer      *Answer // nil = none yet
}

// Store keeps keys. Every method is atomic, and may be repeated with the same
// arguments: a network may lose a reply. Safe for concurrent use.
type Store interface {
	// Claim gives the key to the claim's execution, and returns nil; or what
	// stands there already. A key that was kept for long enough is free.
	Claim(ctx context.Context, claim Claim) (*Held, error)
	// Complete puts the answer in the place of the claim, also where the store has
	// lost it. ErrLost.
	Complete(ctx context.Context, claim Claim, answer Answer) error
	// Release makes the key free again if it is the execution's, and has no
	// answer. It is no error if not.
	Release(ctx context.Context, claim Claim) error
}

// Answer is what a call was answered.
type Answer struct {
	Status    int              // of HTTP
	MediaType string           // of the body
	Execution string           // ID
	Ended     execution.Status // what became of the execution; empty = it goes on by itself
	Timing    execution.Timing
	Location  string // of an execution that nobody waits for; empty = none
	Large     bool   // the body was too large to be kept
	Body      []byte `json:"-"`
}

// Head is all but the body, as stores keep it.
func (a Answer) Head() ([]byte, error) { return json.Marshal(a) }

// ParseAnswer is Head's inverse.
func ParseAnswer(head, body []byte) (*Answer, error) {
	var a Answer
	if err := json.Unmarshal(head, &a); err != nil {
		return nil, errors.New("the answer under a key is damaged")
	}
	a.Body = body
	return &a, nil
}

// Keys are the keys of calls, by the operator's rules.
type Keys struct {
	Store Store
	Lease time.Duration // the longest time that an execution may run, and be killed
	Keep  time.Duration
	Bytes int // the largest body that is kept
}

// Claim makes the claim of a call. What identifies the key is the caller (empty =
// none), the action and the key itself. Both are stored as hashes, and that of the
// parameters takes the key to compute: a secret among them can't be guessed by who
// reads the store.
func (k *Keys) Claim(caller, action, key string, parameters []byte, id string) Claim {
	name := sha256.New()
	for _, part := range []string{caller, action, key} {
		fmt.Fprintf(name, "%d:%s", len(part), part)
	}
	print := hmac.New(sha256.New, []byte(key))
	print.Write(parameters)
	return Claim{
		ID: hex.EncodeToString(name.Sum(nil)), Fingerprint: hex.EncodeToString(print.Sum(nil)),
		Execution: id, Lease: k.Lease, Keep: max(k.Keep, k.Lease),
	}
}

// Take claims a key. Nil and no error: the call may run, and Settle or Release
// follows. An answer is that of the first call. The error is a *Taken, or the
// store's own, after which nothing may run.
func (k *Keys) Take(ctx context.Context, claim Claim) (*Answer, error) {
	held, err := k.Store.Claim(ctx, claim)
	if err != nil || held == nil {
		return nil, err
	}
	taken := &Taken{Execution: held.Execution}
	switch {
	case subtle.ConstantTimeCompare([]byte(held.Fingerprint), []byte(claim.Fingerprint)) != 1:
		taken.Reason = ErrReused
	case held.Answer != nil && held.Answer.Large:
		taken.Reason = ErrTooLarge
	case held.Answer != nil:
		return held.Answer, nil
	case held.Lapsed:
		taken.Reason = ErrUnknown
	default:
		taken.Reason = ErrInProgress
	}
	return nil, taken
}

// Settle keeps the answer of a claimed call.
func (k *Keys) Settle(ctx context.Context, claim Claim, answer Answer) error {
	if len(answer.Body) > k.Bytes {
		answer.Body, answer.Large = nil, true
	}
	return k.Store.Complete(ctx, claim, answer)
}

// Release frees the key of a call of which nothing ran.
func (k *Keys) Release(ctx context.Context, claim Claim) error { return k.Store.Release(ctx, claim) }

// Package key says who may do what: API keys with scopes.
//
// A key is a random secret that is shown once. Only its hash is kept: the secret
// has 256 bits, so that a plain SHA-256 can't be tried out.
package key

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// Errors of Authenticate. They say the same to the outside: which of them it is
// is for the audit log.
var (
	ErrUnknown = errors.New("the API key is not known")
	ErrExpired = errors.New("the API key has expired")
)

// Key is an API key, without its secret.
type Key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"` // for people
	Scopes    []Scope   `json:"scopes"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero = never
	Hash      []byte    `json:"-"`                   // SHA-256 of the secret
}

// prefix makes a leaked key findable by scanners of secrets.
const prefix = "attune_"

// secretBytes is 256 bits.
const secretBytes = 32

var encoding = base64.RawURLEncoding.Strict()

// maxName bounds a key's name, in bytes.
const maxName = 100

// New makes a key and its token, "attune_<id>_<secret>", which nobody can make
// again.
func New(name string, scopes []Scope, now, expires time.Time) (k Key, token string, err error) {
	switch {
	case name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Key{}, "", fmt.Errorf("a key's name has 1 to %d characters, without control characters", maxName)
	case len(scopes) == 0:
		return Key{}, "", errors.New("a key without a scope may do nothing")
	case !expires.IsZero() && !expires.After(now):
		return Key{}, "", errors.New("a key can't expire in the past")
	}
	for _, scope := range scopes {
		if _, err := ParseScope(string(scope)); err != nil {
			return Key{}, "", err
		}
	}
	var secret [secretBytes]byte
	rand.Read(secret[:]) // never fails: it crashes the program instead
	hash := sha256.Sum256(secret[:])
	k = Key{
		ID: ulid.Make().String(), Name: name, Scopes: slices.Clone(scopes),
		CreatedAt: now.UTC(), ExpiresAt: expires, Hash: hash[:],
	}
	return k, prefix + k.ID + "_" + encoding.EncodeToString(secret[:]), nil
}

// parse takes a token apart, without knowing whether there is such a key.
func parse(token string) (id string, hash [sha256.Size]byte, ok bool) {
	rest, found := strings.CutPrefix(token, prefix)
	id, text, cut := strings.Cut(rest, "_")
	if !found || !cut || len(id) != ulid.EncodedSize || encoding.DecodedLen(len(text)) != secretBytes {
		return "", hash, false
	}
	secret, err := encoding.DecodeString(text)
	if err != nil {
		return "", hash, false
	}
	return id, sha256.Sum256(secret), true
}

// Ring is what authenticates: an immutable set of keys. Replacing it is how a
// key comes and goes.
type Ring struct{ keys map[string]Key }

// NewRing holds keys.
func NewRing(keys ...Key) *Ring {
	r := &Ring{keys: make(map[string]Key, len(keys))}
	for _, k := range keys {
		r.keys[k.ID] = k
	}
	return r
}

// Len is how many keys there are, expired ones too.
func (r *Ring) Len() int { return len(r.keys) }

// Authenticate finds the key of a token; ErrUnknown, ErrExpired. Whether an ID is
// known can be told from the time that it takes: an ID is no secret.
func (r *Ring) Authenticate(token string, now time.Time) (Key, error) {
	id, hash, ok := parse(token)
	if !ok {
		return Key{}, ErrUnknown
	}
	k, known := r.keys[id]
	if !known || subtle.ConstantTimeCompare(k.Hash, hash[:]) != 1 {
		return Key{}, ErrUnknown
	}
	if !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) {
		return Key{}, ErrExpired
	}
	return k, nil
}

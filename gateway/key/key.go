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
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"attune/gateway/limit"
)

// Errors of Authenticate. They say the same to the outside: which of them it is
// is for the audit log.
var (
	ErrUnknown = errors.New("the API key is not known")
	ErrExpired = errors.New("the API key has expired")
)

// Order is what a new key is to be.
type Order struct {
	Name      string
	Scopes    []Scope
	ExpiresAt time.Time // zero = never

	Rate, Quota   limit.Rate // zero = not bounded
	MaxConcurrent int        // 0 = not bounded
}

// Key is an API key, without its secret.
type Key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"` // for people
	Scopes    []Scope   `json:"scopes"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero = never

	Rate          limit.Rate `json:"rate,omitzero"`            // of requests; zero = not bounded
	Quota         limit.Rate `json:"quota,omitzero"`           // likewise, over a longer time
	MaxConcurrent int        `json:"max_concurrent,omitempty"` // calls of actions that run at once, on each gateway; 0 = not bounded

	Hash []byte `json:"-"` // SHA-256 of the secret
}

// Expired tells whether a key is no good any more.
func (k *Key) Expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// prefix makes a leaked key findable by scanners of secrets.
const prefix = "attune_"

// secretBytes is 256 bits.
const secretBytes = 32

var encoding = base64.RawURLEncoding.Strict()

// What a key may have.
const (
	maxName   = 100 // bytes
	maxScopes = 100
)

// maxConcurrent is the most that a key may be bounded to.
const maxConcurrent = 100_000

// New makes a key and its token, "attune_<id>_<secret>", which nobody can make
// again. The error is for whoever orders, and quotes the order.
func New(o Order, now time.Time) (k Key, token string, err error) {
	if err := o.check(now); err != nil {
		return Key{}, "", err
	}
	var secret [secretBytes]byte
	rand.Read(secret[:]) // never fails: it crashes the program instead
	hash := sha256.Sum256(secret[:])
	k = Key{
		ID: ulid.Make().String(), Name: o.Name, Scopes: slices.Clone(o.Scopes),
		CreatedAt: now.UTC().Truncate(time.Second), ExpiresAt: o.ExpiresAt.UTC(),
		Rate: o.Rate, Quota: o.Quota, MaxConcurrent: o.MaxConcurrent, Hash: hash[:],
	}
	return k, prefix + k.ID + "_" + encoding.EncodeToString(secret[:]), nil
}

func (o Order) check(now time.Time) error {
	switch {
	case o.Name == "" || len(o.Name) > maxName || !utf8.ValidString(o.Name) || strings.ContainsFunc(o.Name, unicode.IsControl):
		return fmt.Errorf("a key's name has 1 to %d bytes, without control characters", maxName)
	case len(o.Scopes) == 0:
		return errors.New("a key without a scope may do nothing")
	case len(o.Scopes) > maxScopes:
		return fmt.Errorf("a key has at most %d scopes", maxScopes)
	case !o.ExpiresAt.IsZero() && !o.ExpiresAt.After(now):
		return errors.New("a key can't expire in the past")
	case o.ExpiresAt.Year() > 9999:
		return errors.New("a key expires before the year 10000")
	case o.MaxConcurrent < 0 || o.MaxConcurrent > maxConcurrent:
		return fmt.Errorf("a key's calls at once are 1 to %d, or 0 for any number", maxConcurrent)
	}
	for _, scope := range o.Scopes {
		if _, err := ParseScope(string(scope)); err != nil {
			return err
		}
	}
	for _, rate := range []limit.Rate{o.Rate, o.Quota} {
		if err := rate.Check(); err != nil {
			return err
		}
	}
	return nil
}

// parse takes a token apart, without knowing whether there is such a key.
func parse(token string) (id string, hash [sha256.Size]byte, ok bool) {
	rest, found := strings.CutPrefix(token, prefix)
	id, text, cut := strings.Cut(rest, "_")
	if !found || !cut || len(id) != ulid.EncodedSize || encoding.DecodedLen(len(text)) != secretBytes {
		return "", hash, false
	}
	var secret [secretBytes]byte
	if n, err := encoding.Decode(secret[:], []byte(text)); err != nil || n != secretBytes {
		return "", hash, false
	}
	return id, sha256.Sum256(secret[:]), true
}

// Ring is what authenticates: an immutable set of keys. Replacing it is how a
// key comes and goes.
type Ring struct {
	keys map[string]*Key
	lost bool // there were keys, and nobody has revoked them
}

// NewRing holds keys.
func NewRing(keys ...Key) *Ring {
	r := &Ring{keys: make(map[string]*Key, len(keys))}
	for _, k := range keys {
		r.keys[k.ID] = &k
	}
	return r
}

// Len is how many keys there are, expired ones too.
func (r *Ring) Len() int { return len(r.keys) }

// Needed tells whether a key is needed: from the first one on, until the last one
// is revoked.
func (r *Ring) Needed() bool { return len(r.keys) > 0 || r.lost }

// Keys are all keys, oldest first.
func (r *Ring) Keys() []*Key {
	keys := slices.Collect(maps.Values(r.keys))
	slices.SortFunc(keys, func(a, b *Key) int { return strings.Compare(a.ID, b.ID) })
	return keys
}

// Authenticate finds the key of a token, which must not be changed; ErrUnknown,
// and ErrExpired with the key. Whether an ID is
// known can be told from the time that it takes: an ID is no secret.
func (r *Ring) Authenticate(token string, now time.Time) (*Key, error) {
	id, hash, ok := parse(token)
	if !ok {
		return nil, ErrUnknown
	}
	k, known := r.keys[id]
	if !known || subtle.ConstantTimeCompare(k.Hash, hash[:]) != 1 {
		return nil, ErrUnknown
	}
	if k.Expired(now) {
		return k, ErrExpired
	}
	return k, nil
}
